from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from packager.errors import ExtractionError, ManifestError, OutOfTimeError, StoreError
from packager.model.trained import GivenManifest, TrainedArtifact
from packager.settings import Settings
from packager.stores import Stores
from telemetry.engine.testing import recorded
from tests import archives, models


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "trained.tar.gz"
    path.write_bytes(archives.trained_model())
    return path


class Failing:
    """A source that fails as it is told to before it can be read."""

    def __init__(self, path, *errors):
        self._source = Stores().source(str(path))
        self._errors = list(errors)
        self.opened = 0

    def __getattr__(self, name):
        return getattr(self._source, name)

    @contextmanager
    def open(self):
        self.opened += 1
        if self._errors:
            raise self._errors.pop(0)
        with self._source.open() as reader:
            yield reader


def reads(records):
    return [each.row for each in records].count("ReadArtifact")


def test_nothing_is_read_before_the_manifest_is_asked_for(path):
    with recorded() as records:
        trained = TrainedArtifact(Stores().source(str(path)), Settings())
        assert trained.failure is None
    assert records == []


def test_whoever_asks_in_whatever_thread_the_artifact_is_read_once(path):
    trained = TrainedArtifact(Stores().source(str(path)), Settings())
    together = threading.Barrier(8)

    def ask(_):
        together.wait()
        return trained.manifest, trained.model_file_name

    with recorded() as records, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert reads(records) == 1
    assert all(each == answers[0] for each in answers)
    assert answers[0][0]["dataset"] == {"image_width": 8, "image_height": 8}
    assert answers[0][1] == "model.pt"


def test_what_stands_for_the_manifest_is_the_identity_of_the_artifact(path, tmp_path):
    copy = tmp_path / "copy.tar.gz"
    copy.write_bytes(path.read_bytes())
    other = Path(models.trained(tmp_path / "other.tar.gz"))
    first, same, another = (
        TrainedArtifact(Stores().source(str(each)), Settings()).manifest_identity for each in (path, copy, other)
    )
    assert first == same != another


def test_a_failure_is_kept_and_nothing_is_read_again(path):
    path.write_bytes(archives.trained_model()[:-20])
    source = Failing(path)
    trained = TrainedArtifact(source, Settings())
    for _ in range(3):
        with pytest.raises(ExtractionError) as raised:
            _ = trained.manifest
        assert trained.failure is raised.value
    assert source.opened == 1


def test_a_failure_that_can_pass_is_shown_until_it_has_passed(path):
    source = Failing(path, StoreError("busy", code="SlowDown"), StoreError("busy", code="503"))
    trained = TrainedArtifact(source, Settings())
    for code in ("SlowDown", "503"):
        with pytest.raises(StoreError):
            _ = trained.manifest
        assert trained.failure.code == code
    assert trained.manifest
    assert trained.failure is None
    assert source.opened == 3


def test_being_told_to_stop_is_no_failure_of_the_artifact(path):
    left = [OutOfTimeError("No time is left.")]

    def report(_):
        if left:
            raise left.pop()

    trained = TrainedArtifact(Stores().source(str(path)), Settings(), report=report)
    with pytest.raises(OutOfTimeError):
        _ = trained.manifest
    assert trained.failure is None
    assert trained.manifest


def test_an_error_of_the_caller_passes_through_and_is_not_kept(path):
    left = [LookupError("enough")]

    def report(_):
        if left:
            raise left.pop()

    trained = TrainedArtifact(Stores().source(str(path)), Settings(), report=report)
    with pytest.raises(LookupError):
        _ = trained.manifest
    assert trained.failure is None
    assert trained.manifest


def test_progress_is_that_of_no_target_and_never_goes_back(tmp_path):
    path = models.trained(tmp_path / "trained.tar.gz", 3 << 20)
    states = []
    _ = TrainedArtifact(Stores().source(str(path)), Settings(), report=states.append).manifest
    done = [each.bytes_done for each in states]
    assert {(each.phase, each.target) for each in states} == {("reading_manifest", "")}
    assert done == sorted(done)
    assert {each.bytes_total for each in states} == {path.stat().st_size}


def test_reading_it_is_recorded_with_the_kind_of_model(path):
    with recorded() as records:
        _ = TrainedArtifact(Stores().source(str(path)), Settings(), model_type="pytorch").manifest
    [fields] = [each.fields for each in records if each.row == "CreateManifest"]
    assert (fields["model_type"], fields["members"], fields["source"]) == ("pytorch", 4, str(path))
    assert fields["bytes_read"] == path.stat().st_size


def test_what_is_missing_in_it_is_a_manifest_error(tmp_path):
    path = tmp_path / "trained.tar.gz"
    path.write_bytes(archives.gz(archives.tar([("config.yaml", b"dataset: {}")])))
    trained = TrainedArtifact(Stores().source(str(path)), Settings())
    with pytest.raises(ManifestError):
        _ = trained.manifest
    assert isinstance(trained.failure, ManifestError)


def test_a_given_manifest_is_its_own_identity_and_a_copy():
    manifest = {"model_graph": {}}
    given = GivenManifest(manifest)
    manifest["later"] = True
    assert given.manifest == given.manifest_identity == {"model_graph": {}}
    assert given.failure is None
