import pytest

from packager import errors
from packager.errors import PackagerError, StoreError
from packager.portal import aws, replies, service
from packager.portal.replies import http_failure, status_of

WHOSE = {
    "artifact": {
        "ArtifactChangedError", "CompressionError", "ComponentRefusedError", "ExtractionError", "LimitExceededError",
        "ManifestError", "UnsafeArchiveError",
    },
    "request": {"ArtifactNotFoundError", "ForbiddenError", "RequestError", "StagingNeededError"},
    "service": {
        "AccessDeniedError", "AwsRefusedError", "CleanupFailedError", "InsufficientStorageError", "NotRecordedError",
        "OperationAbortedError", "OutOfTimeError", "PackagerError", "PublishError", "SettingsError", "StoreError",
    },
}  # fmt: skip
MODULES = (errors, aws, replies, service)


def kinds():
    found = {each for module in MODULES for each in vars(module).values() if isinstance(each, type)}
    return sorted((each for each in found if issubclass(each, PackagerError)), key=lambda kind: kind.__name__)


def made(kind):
    if kind is errors.InsufficientStorageError:
        return kind("It", required_bytes=2, available_bytes=1, path="/")
    if kind is errors.LimitExceededError:
        return kind("MAX_ARCHIVE_MEMBERS", 1, 2)
    return kind([]) if kind is errors.CleanupFailedError else kind("It is so.")


def test_every_type_of_failure_says_whose_it_is():
    found = {fault: {kind.__name__ for kind in kinds() if kind.fault == fault} for fault in WHOSE}
    assert found == WHOSE


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_the_status_of_a_reply_agrees_with_whose_failure_it_is(kind):
    error = made(kind)
    status, body = http_failure(error, "request-1")
    assert (status >= 500) == (error.fault == "service")
    assert body.get("fault", error.fault) == error.fault
    assert (status_of(error) in {400, 403, 404}) or error.fault == "service"
    assert error.as_dict()["fault"] == error.fault


@pytest.mark.parametrize(("code", "fault"), [("EISDIR", "request"), ("EIO", "service"), ("SlowDown", "service")])
def test_a_path_that_names_no_file_is_the_callers_failure(code, fault):
    assert StoreError("It is so.", code=code).fault == fault
