"""A component version published: its ZIP in S3, its recipe in Greengrass, deployable or an error that says why not."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from packager.deadline import pause, raise_if_late
from packager.device.check import sha256_of
from packager.device.recipe_check import get
from packager.device.recipe_template import digest_of
from packager.errors import ArtifactNotFoundError, PublishError, RequestError, printable
from packager.publishing.cloud import DEPLOYABLE, ENDED, CloudComponent, CloudState
from packager.publishing.finished import FinishedRecipe, Placing, copy_zip, finish_recipe
from packager.results import ProcessingState
from packager.stores import Stores
from telemetry import catalog, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packager.results import OnProgress
    from packager.settings import Settings
    from packager.stores import Source

_PREFIX = re.compile(r"(/[A-Za-z0-9!_.*'()-]+)*")
"""What S3 calls safe: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""

DEFAULT_WAIT_S = 300.0
_FIRST_LOOK_S = 0.25
_LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Publication:
    """What was done, or with `dry_run` would be.

    Attributes:
        finished: the recipe, with its artifact.
        arn: of the component version.
        state: of it in Greengrass; None while there is none.
        uploads: whether the ZIP was not there.
        creates: whether the version was not there.
    """

    finished: FinishedRecipe
    arn: str
    state: str | None
    uploads: bool
    creates: bool
    dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        artifact = self.finished.artifact
        return {
            "component": {"name": self.finished.name, "version": self.finished.version, "arn": self.arn},
            "state": self.state,
            "artifact": asdict(artifact),
            "uploads": self.uploads,
            "creates": self.creates,
            "dry_run": self.dry_run,
            "warnings": [asdict(each) for each in self.finished.findings],
            "recipe": self.finished.recipe,
        }


def publish_component(  # noqa: PLR0913  every choice of a call, by name
    recipe: str,
    artifact: str,
    bucket: str,
    *,
    dry_run: bool = False,
    wait_s: float = DEFAULT_WAIT_S,
    stores: Stores | None = None,
    settings: Settings | None = None,
    on_progress: OnProgress | None = None,
) -> Publication:
    """Upload the ZIP unless it is there, create the component version unless it is there, wait until it is deployable.

    Args:
        recipe: path or URI of a recipe or template, YAML or JSON.
        artifact: path or URI of the ZIP.
        bucket: its name, or s3://bucket/prefix. The ZIP lies at NAME/VERSION/FILE below it, unless the recipe names a
            place in this bucket, or the ZIP is in it already.
        dry_run: only look; nothing is written anywhere.
        wait_s: seconds to wait for Greengrass.
        stores: opens recipe, ZIP and bucket.
        settings: limits; default: from the environment.
        on_progress: told of phases `uploading` and `publishing`.

    RequestError, before AWS is asked, when the recipe breaks its reference or speaks of other bytes; and, before
    anything is written, when the version or the object exists with other bytes. PublishError when Greengrass refuses,
    fails, or takes longer; StoreError and its kinds.
    """
    stores = stores or Stores()
    zip_file = stores.source(artifact)
    with observe(catalog.PUBLISH_COMPONENT, source=zip_file.uri, bytes_out=0, created=0) as step:
        done = _published(recipe, zip_file, bucket, stores, settings, _Wait(wait_s, on_progress), dry_run=dry_run)
        artifact_out = done.finished.artifact
        step.add(sha256=artifact_out.sha256)
        if not dry_run:
            step.add(bytes_out=artifact_out.size_bytes if done.uploads else 0, created=int(done.creates))
    return done


@dataclass(frozen=True, slots=True)
class _Wait:
    """How long Greengrass is waited for, and who is told of it."""

    wait_s: float
    on_progress: OnProgress | None


def _published(  # noqa: PLR0913, PLR0917  as publish_component
    recipe: str,
    zip_file: Source,
    bucket: str,
    stores: Stores,
    settings: Settings | None,
    wait: _Wait,
    *,
    dry_run: bool,
) -> Publication:
    place = _place(bucket, zip_file.uri)
    finished = finish_recipe(stores.source(recipe), zip_file, place, settings)
    cloud = CloudComponent(finished.name, finished.version)
    there = cloud.recipe()
    if there is not None:
        _refuse_other_version(there, finished)
    uploads = not _is_uploaded(finished, stores)  # also where the version is there: its object may have been removed
    state = cloud.state() if there is not None else None
    if not dry_run:
        if uploads:
            _upload(zip_file, finished, stores, wait.on_progress)
        if there is None and not cloud.create(finished.recipe):
            _refuse_other_version(cloud.recipe() or {}, finished)
        state = _deployable(cloud, finished, wait)
    return Publication(finished, cloud.arn, state.name if state else None, uploads, there is None, dry_run)


def _place(bucket: str, artifact_uri: str) -> Callable[[Placing], str]:
    root = f"s3://{bucket.removeprefix('s3://').removesuffix('/')}"
    inside = f"s3://{root.removeprefix('s3://').partition('/')[0]}/"
    with suppress(RequestError):
        Stores().sink(root)
        if _PREFIX.fullmatch(root.removeprefix(inside.removesuffix("/"))):
            return _placing(inside, root, artifact_uri)
    raise RequestError(
        f"{printable(bucket)!r} is no bucket, with or without a prefix, that Greengrass takes in a URI.",
        next_step="Give BUCKET or s3://BUCKET/PREFIX, with a prefix of letters, digits and !-_.*'()/ .",
        field="bucket",
        found=printable(bucket),
    )


def _placing(inside: str, root: str, artifact_uri: str) -> Callable[[Placing], str]:
    def place(placing: Placing) -> str:
        if placing.named.startswith(inside):
            return placing.named
        if artifact_uri.startswith(inside) and not placing.named:
            return artifact_uri
        return f"{root}/{placing.name}/{placing.version}/{placing.file_name}"

    return place


def _bucket_and_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return f"s3://{bucket}", key


def _is_uploaded(finished: FinishedRecipe, stores: Stores) -> bool:
    """Whether the very ZIP lies where the recipe says. RequestError when something else does."""
    artifact = finished.artifact
    bucket, key = _bucket_and_key(artifact.uri)
    known = stores.sink(bucket).find(key)
    if known is not None:
        sha256, size_bytes = known.sha256, known.size_bytes
    else:
        source = stores.source(artifact.uri)
        try:
            size_bytes = source.size_bytes()
        except ArtifactNotFoundError:
            stores.check_bucket(bucket)  # S3 answers the same when the whole bucket is not there
            return False
        sha256 = sha256_of(source) if size_bytes == artifact.size_bytes else ""
    if (sha256, size_bytes) != (artifact.sha256, artifact.size_bytes):
        raise RequestError(
            f"Another file than the ZIP is at {printable(artifact.uri, 1000)}.",
            next_step="Raise ComponentVersion: what was published under a version never changes.",
            field="artifact",
            found=sha256 or size_bytes,
            uri=printable(artifact.uri, 1000),
        )
    return True


def _upload(zip_file: Source, finished: FinishedRecipe, stores: Stores, on_progress: OnProgress | None) -> None:
    artifact = finished.artifact
    bucket, key = _bucket_and_key(artifact.uri)
    done = 0
    with stores.sink(bucket).open(lambda: (key, artifact.sha256)) as upload:

        def send(data: memoryview) -> None:
            nonlocal done
            upload.write(data)
            done += len(data)
            _report(on_progress, ProcessingState("uploading", finished.label, done, artifact.size_bytes))

        copy_zip(zip_file, artifact, send)
        upload.commit()


def _report(on_progress: OnProgress | None, state: ProcessingState) -> None:
    if on_progress is not None:
        on_progress(state)


def _deployable(cloud: CloudComponent, finished: FinishedRecipe, wait: _Wait) -> CloudState:
    started, nap_s = time.monotonic(), _FIRST_LOOK_S
    while (state := cloud.state()).name not in ENDED:
        waited_s = time.monotonic() - started
        _report(wait.on_progress, ProcessingState("publishing", finished.label))
        if waited_s >= wait.wait_s:
            raise _not_deployable(
                cloud,
                finished,
                state,
                f"still {state.name} after {waited_s:.0f} s",
                "Run the same again: it goes on waiting.",
            )
        pause(min(nap_s, max(0.05, wait.wait_s - waited_s)), threading.Event())
        raise_if_late()
        nap_s = min(nap_s * 1.5, _LONGEST_PAUSE_S)
    if state.name != DEPLOYABLE:
        raise _not_deployable(
            cloud,
            finished,
            state,
            state.name,
            "Correct what Greengrass names, or try again later, with a higher ComponentVersion, or remove this one: "
            f"aws greengrassv2 delete-component --arn {cloud.arn}",
        )
    _report(wait.on_progress, ProcessingState("done", finished.label))
    return state


def _not_deployable(
    cloud: CloudComponent, finished: FinishedRecipe, state: CloudState, what: str, next_step: str
) -> PublishError:
    why = "; ".join([*([state.message] if state.message else []), *(f"{key}: {t}" for key, t in state.errors.items())])
    return PublishError(
        f"{finished.name} {finished.version} is {what}{f': {why}' if why else ''}.",
        next_step=next_step,
        arn=cloud.arn,
        state=state.name,
        errors=dict(state.errors),
    )


def _refuse_other_version(there: dict[str, Any], finished: FinishedRecipe) -> None:
    """RequestError when the version that Greengrass has is not this one: a version never changes."""
    changed = next(_differences(finished.recipe, there, ""), None)
    if changed is None:
        return
    is_bytes = digest_of(finished.artifact) not in _digests(there)
    what = "other bytes" if is_bytes else f"another recipe: {printable(changed, 200)} differs"
    raise RequestError(
        f"{finished.name} {finished.version} is published already, with {what}.",
        next_step="Raise ComponentVersion: a version that is published never changes.",
        field="ComponentVersion",
        found=finished.version,
        differs="artifact" if is_bytes else changed,
    )


def _digests(recipe: dict[str, Any]) -> set[str]:
    return {
        str(get(entry, "Digest"))
        for manifest in _list(get(recipe, "Manifests"))
        for entry in _list(get(manifest, "Artifacts"))
    }


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _differences(ours: Any, theirs: Any, where: str) -> Iterator[str]:  # noqa: ANN401  any plain value
    """Where the published recipe lacks what ours says. What Greengrass adds (defaults, empty keys) is no difference."""
    if isinstance(ours, dict):
        for key, value in ours.items():
            yield from _differences(value, get(theirs, key), f"{where}.{key}" if where else key)
    elif isinstance(ours, list):
        if not isinstance(theirs, list) or len(theirs) != len(ours):
            yield where
            return
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _differences(one, other, f"{where}[{number}]")
    elif ours is not None and str(ours).lower() != str(theirs).lower():
        yield where
