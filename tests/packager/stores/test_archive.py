from __future__ import annotations

import pytest

from packager.errors import (
    ArtifactNotFoundError,
    ExtractionError,
    LimitExceededError,
    RequestError,
    StoreError,
    UnsafeArchiveError,
)
from packager.settings import Settings
from packager.stores import Stores
from packager.stores.archive import COMPILED, Archive, naming, patterns
from tests.archives import END, compiled_model, gz, member
from tests.packager.stores.test_formats import FORMATS


def opened(path, data=None, role=COMPILED, **limits):
    if data is not None:
        path.write_bytes(data)
    compiled = Archive(Stores().source(str(path)), role)
    with compiled.open(Settings(**limits)) as archive:
        return [each.path for each in archive.files()]


def test_an_error_names_the_artifact_once_by_role_and_uri(tmp_path):
    path = tmp_path / "a.tar.gz"
    with pytest.raises(UnsafeArchiveError) as caught:
        opened(path, gz(member(b"../evil") + END))
    told = caught.value.as_dict()
    assert (told["role"], told["uri"], told["member"]) == ("compiled artifact", str(path), "../evil")
    assert caught.value.message == f"The compiled artifact {path}: The member '../evil' climbs out of its folder."
    with pytest.raises(UnsafeArchiveError), naming(Stores().source("/elsewhere"), "archive"):
        raise caught.value
    assert str(caught.value).count(str(path)) == 1
    assert caught.value.role == "compiled artifact"


def test_an_error_of_the_store_has_the_role_beside_its_uri(tmp_path):
    with pytest.raises(ArtifactNotFoundError) as caught:
        opened(tmp_path / "nothing.tar.gz")
    assert (caught.value.role, caught.value.uri) == ("compiled artifact", str(tmp_path / "nothing.tar.gz"))
    assert str(caught.value).count("nothing.tar.gz") == 1


def test_an_error_of_another_store_is_left_alone(tmp_path):
    error = StoreError("No.", operation="write", uri="s3://other/key", code="AccessDenied")
    with pytest.raises(StoreError), naming(Stores().source(str(tmp_path / "a")), COMPILED):
        raise error
    assert "role" not in error.figures


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_no_tar_gz_is_an_error_that_says_what_it_is_and_what_to_do(tmp_path, name):
    with pytest.raises(ExtractionError) as caught:
        opened(tmp_path / "a.tar.gz", FORMATS[name])
    assert f"This is {name}" in caught.value.message
    assert caught.value.format.startswith(name)
    assert caught.value.next_step


@pytest.mark.parametrize("data", [b"\0" * 600, b"no known format", compiled_model()[:100], gz(b"x" * 2000)])
def test_what_is_not_known_keeps_its_own_error(tmp_path, data):
    with pytest.raises(ExtractionError) as caught:
        opened(tmp_path / "a.tar.gz", data)
    assert "This is" not in caught.value.message


def test_trailing_garbage_is_called_that(tmp_path):
    with pytest.raises(ExtractionError, match="trailing garbage"):
        opened(tmp_path / "a.tar.gz", compiled_model() + b"garbage behind it")


def test_a_limit_is_named_with_its_value_and_what_was_found(tmp_path):
    with pytest.raises(LimitExceededError, match=r"MAX_ARCHIVE_MEMBERS = 3 \(found 4\)") as caught:
        opened(tmp_path / "a.tar.gz", compiled_model(), max_members=3)
    assert caught.value.uri == str(tmp_path / "a.tar.gz")


def test_patterns_are_sorted_and_each_once():
    assert patterns(["b", "a", "b"]) == ("a", "b")


@pytest.mark.parametrize("exclude", ["*.txt", [""], [1], ["a" * 257], ["a"] * 101])
def test_what_is_no_list_of_patterns_is_refused(exclude):
    with pytest.raises(RequestError) as caught:
        patterns(exclude)
    assert caught.value.field == "exclude"
