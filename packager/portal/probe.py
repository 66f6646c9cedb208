"""The probe: a tiny model packaged through everything that the function may use, on a schedule, and removed again.

Nothing of it is anybody's: its objects lie below a prefix of their own, its record has an id of its own, and its entry
in the audit log expires after a day.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from packager.errors import PackagerError
from packager.portal.events import PackageArguments
from packager.portal.settings import PROBE_ID
from packager.portal.tables import Records, now_ms, retry_on_conflict
from packager.results import ALREADY_THERE, PACKAGED
from packager.stores.s3_client import calls_for
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from packager.portal.settings import PortalSettings
    from packager.results import ComponentResult, Finding, PackageResult
    from packager.stores.s3_calls import Calls
    from telemetry import Step

    Package = Callable[[PackageArguments], PackageResult]

_TARGET = "x86_64-cpu"
_MANIFEST = (
    b'{"model_graph": {"model_graph_type": "single_stage_model_graph", "stages": [{"type": "mochi", "input_shape":'
    b' [1, 3, 8, 8], "threshold": 0.5,'
    b' "image_width": 8, "image_height": 8, "image_range_scale": true, "normalize": {"mean": [0.5, 0.5, 0.5], "std":'
    b' [0.2, 0.2, 0.2]}}]}, "input_shape": [1, 3, 8, 8]}'
)
_TRAINED = {
    "config.yaml": b"dataset:\n  image_width: 8\n  image_height: 8\n",
    "mochi.pt": bytes(64),
    "export_artifacts/mochi.pt": bytes(64),
    "export_artifacts/manifest.json": _MANIFEST,
}
_COMPILED = {
    "compiled.meta": b"{}",
    "compiled.params": bytes(64),
    "compiled.so": b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + b"\x03\0\x3e\0" + bytes(44),
    "compiled_model.json": b'{"nodes": [], "heads": []}',
    "libdlr.so": b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + b"\x03\0\x3e\0" + bytes(44),
}
_ENTRY_S = 86_400


class ProbeFailedError(PackagerError):
    """Something that the function needs did not do what it has to; `part` of the probe's row says what."""


def probe(settings: PortalSettings, package: Package, run_id: str) -> dict[str, Any]:
    """Probe everything that the settings name, and return what was probed; raises what failed, once it is cleaned up.

    Requests are served without an audit log too, so that one which refuses is an answer (`audited`) and no failure: its
    own row tells of it. `run_id` keeps simultaneous probes apart.

    Errors: ProbeFailedError; SettingsError without a place to write to; whatever packaging, S3 and the tables raise.
    """
    with observe(catalog.PROBE, part="settings") as step:
        with _objects(calls_for(None), f"{settings.required_probe_place()}/{run_id}", step) as objects:
            sha256 = objects.package(package)
        tables = bool(settings.training_jobs_table)
        audited = _probe_tables(Records(settings), step) if tables else None
    return {"sha256": sha256, "tables": tables, "audited": audited}


class _Objects:
    """The objects of one probe below its prefix."""

    def __init__(self, calls: Calls, uri: str, step: Step) -> None:
        self._calls = calls
        self._bucket, _, self._prefix = uri.removeprefix("s3://").partition("/")
        self._uri = uri
        self._step = step

    def package(self, package: Package) -> str:
        """Write the artifacts, package them, find the component again, check and read it; its SHA-256."""
        from packager.device.check import check_component  # noqa: PLC0415  only a probe needs it

        self._step.add(part="write artifacts")
        trained = self._put("trained.tar.gz", artifact(_TRAINED))
        compiled = self._put("compiled.tar.gz", artifact(_COMPILED))
        arguments = PackageArguments(trained, {_TARGET: compiled}, self._uri)
        self._step.add(part="package")
        first = _component(package(arguments), PACKAGED)
        self._step.add(part="find again")
        again = _component(package(arguments), ALREADY_THERE)
        self._step.add(part="check")
        if first.uri is None or (again.uri, again.sha256) != (first.uri, first.sha256):
            raise ProbeFailedError("The second request found another component than the first one made.")
        _refuse(check_component(first.uri, target=_TARGET))
        return str(first.sha256)

    def remove(self) -> None:
        """Remove every object below the prefix."""
        for key in self._keys():
            self._call("DeleteObject", key, partial(self._calls.client.delete_object, Bucket=self._bucket, Key=key))

    def _keys(self) -> list[str]:
        answer: Any = self._call(
            "ListObjectsV2",
            "",
            lambda: self._calls.client.list_objects_v2(Bucket=self._bucket, Prefix=f"{self._prefix}/"),
        )
        return [each["Key"] for each in answer.get("Contents", [])]

    def _put(self, name: str, body: bytes) -> str:
        key = f"{self._prefix}/{name}"
        self._call("PutObject", key, lambda: self._calls.client.put_object(Bucket=self._bucket, Key=key, Body=body))
        return f"s3://{self._bucket}/{key}"

    def _call(self, operation: str, key: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401  as boto3 answers
        return self._calls.make(operation, f"s3://{self._bucket}/{key}", call, cleans_up=operation == "DeleteObject")


def artifact(files: dict[str, bytes]) -> bytes:
    """A tar.gz of the files: the same bytes every time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), mtime=0)


@contextmanager
def _objects(calls: Calls, uri: str, step: Step) -> Iterator[_Objects]:
    """The objects of a probe, removed whatever happens; a failed removal does not hide what failed before it."""
    objects = _Objects(calls, uri, step)
    try:
        yield objects
    except BaseException:
        with suppress(PackagerError):
            objects.remove()
        raise
    step.add(part="clean up")
    objects.remove()


def _component(result: PackageResult, wanted: str) -> ComponentResult:
    if result.error is not None:
        raise result.error
    (component,) = result.components
    if component.error is not None:
        raise component.error
    if component.status != wanted:
        raise ProbeFailedError(f"The component was to be {wanted}, and is {component.status}.", status=component.status)
    _refuse(component.warnings)
    return component


def _refuse(findings: Sequence[Finding]) -> None:
    """Raise for a component that is not as every probe's is."""
    if findings:
        raise ProbeFailedError(
            "The component breaks rules of the device, which the same one did not before.",
            next_step="Look at what the newest version of the function changed.",
            rules=[each.rule for each in findings],
        )


def _probe_tables(records: Records, step: Step) -> bool:
    """Read all tables, write a record that is nobody's under a condition, read and remove it; whether it is audited."""
    step.add(part="read tables")
    records.get("usecases", {"usecase_id": PROBE_ID})
    records.get("user_roles", {"user_id": PROBE_ID, "usecase_id": PROBE_ID})
    step.add(part="write record")
    key = {"training_id": PROBE_ID}
    try:
        written = retry_on_conflict("training_jobs", lambda: _write(records, key))
        if (records.get("training_jobs", key) or {}).get("probed_at", 0) < written["probed_at"]:
            raise ProbeFailedError("A record that was just written is not read.")
    finally:
        records.delete("training_jobs", key)
    step.add(part="audit")
    try:
        retry_on_conflict("audit_log", lambda: records.put_new("audit_log", _entry(now_ms()), "event_id"))
    except PackagerError:
        return False
    return True


def _write(records: Records, key: dict[str, str]) -> dict[str, Any]:
    condition = "attribute_not_exists(#probed_at) OR #probed_at <= :now"
    return records.update("training_jobs", key, "SET #probed_at = :now", condition, now=now_ms())


def _entry(at_ms: int) -> dict[str, Any]:
    return {
        "event_id": f"{PROBE_ID}_{at_ms}",
        "timestamp": at_ms,
        "user_id": PROBE_ID,
        "action": "probe",
        "resource_type": "function",
        "resource_id": PROBE_ID,
        "result": "success",
        "ttl": at_ms // 1000 + _ENTRY_S,
    }
