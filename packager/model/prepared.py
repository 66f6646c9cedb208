"""Prepared manifests: the manifest of a trained artifact, kept beside its components, so that it is made once for all.

It is found as components are, by an identity that is known without reading the artifact. Whoever can replace it there
can replace the components too; even so, it is read as strictly as a manifest in an archive, and made again when it is
damaged.
"""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from packager.errors import ManifestError, PackagerError
from packager.model.identity import component_identity, manifest_key
from packager.model.manifest import bounded_manifest, checked, too_large
from packager.model.strict import read_json
from telemetry import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from packager.core.ports import Sink, Source
    from packager.model.trained import TrainedArtifact

_LAYOUT = "manifest"


class _Kept(NamedTuple):
    uri: str
    manifest: dict[str, Any]


class PreparedManifest:
    """The manifest of `model`: the one that is kept below `sink`, else the artifact's own, read from it.

    `open_kept` opens its URI. A component's key is made from the artifact's identity either way, so that key and bytes
    are the same with and without a kept manifest. One above MAX_MANIFEST_BYTES or MAX_MANIFEST_VALUES is neither
    kept nor used: it is made again each time. Memory: MAX_MANIFEST_BYTES.
    """

    def __init__(self, model: TrainedArtifact, sink: Sink, open_kept: Callable[[str], Source]) -> None:
        self._model = model
        self._sink = sink
        self._open_kept = open_kept
        self._settings = model.settings
        self._looking = threading.Lock()
        self._kept: _Kept | None = None

    @property
    def manifest(self) -> dict[str, Any]:
        with self._looking:
            self._kept = self._kept or self._found()
        return self._kept.manifest if self._kept else self._model.manifest

    @property
    def manifest_identity(self) -> Any:  # noqa: ANN401  JSON
        return self._model.manifest_identity

    @property
    def failure(self) -> PackagerError | None:
        return self._model.failure

    def keep(self) -> str | None:
        """Make the manifest unless it is kept already. Its URI; None when it cannot be kept.

        Errors as for the artifact's own manifest.
        """
        if found := self._found():
            return found.uri
        content = json.dumps(self._model.manifest, separators=(",", ":")).encode("ascii")
        try:
            bounded_manifest(content, self._settings, "The manifest to keep")
            with self._sink.open(self._name) as upload:
                upload.write(content)
                return upload.commit().uri
        except PackagerError as error:
            _warn("manifest not kept", error)
            return None

    def _name(self) -> tuple[str, str]:
        identity = component_identity([], self.manifest_identity, _LAYOUT)
        return manifest_key(identity), identity

    def _found(self) -> _Kept | None:
        key, identity = self._name()
        try:
            there = self._sink.find(key)
            if there is None or there.identity != identity:
                return None
            content = bounded_manifest(self._read(there.uri, there.sha256), self._settings, there.uri)
            return _Kept(there.uri, checked(read_json(content, there.uri), there.uri))
        except PackagerError as error:
            _warn("kept manifest not used", error)
            return None

    def _read(self, uri: str, sha256: str) -> bytes:
        source = self._open_kept(uri)
        # What was found may have been replaced by now; from here on the source holds on to what it sees.
        size_bytes = source.size_bytes()
        most_bytes = self._settings.max_manifest_bytes
        if size_bytes > most_bytes:
            raise too_large(uri, "MAX_MANIFEST_BYTES", most_bytes, size_bytes)
        content = source.read_range(0, size_bytes)
        if len(content) != size_bytes or hashlib.sha256(content).hexdigest() != sha256:
            raise ManifestError(
                f"{uri} is not what was written there.",
                next_step="Nothing: the trained artifact is read instead, and the next preparation writes it again.",
                file=uri,
            )
        return content


def _warn(event: str, error: PackagerError) -> None:
    log("warning", event, error_type=type(error).__name__, error=error.message, next_step=error.next_step)
