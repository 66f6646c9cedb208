"""A lock shows whether the process that took it lives."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from packager.locks import Lock, lock

HOLD = (
    "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "locked"
    path.touch()
    return path


def opened(path):
    return os.open(path, os.O_RDONLY)


def test_a_lock_is_taken_once_and_is_free_when_its_descriptor_is_closed(path):
    first, second = opened(path), opened(path)
    assert lock(first, path) is Lock.TAKEN
    assert lock(second, path) is Lock.LOST
    os.close(first)
    assert lock(second, path) is Lock.TAKEN
    os.close(second)


def test_a_folder_is_locked_as_a_file_is(path):
    first, second = opened(path.parent), opened(path.parent)
    assert [lock(each, path.parent) for each in (first, second)] == [Lock.TAKEN, Lock.LOST]
    os.close(first)
    os.close(second)


def test_a_process_that_is_killed_gives_its_lock_back(path):
    descriptor = opened(path)
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert lock(descriptor, path) is Lock.LOST
        other.kill()
    assert lock(descriptor, path) is Lock.TAKEN
    os.close(descriptor)


@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "removed"])
def test_a_file_that_is_no_longer_at_its_path_is_lost(path, replaced):
    descriptor = opened(path)
    path.unlink()
    if replaced:
        path.touch()
    assert lock(descriptor, path) is Lock.LOST
    os.close(descriptor)


def test_a_link_to_the_file_is_another_file(path):
    link = path.with_name("link")
    link.symlink_to(path)
    descriptor = opened(path)
    assert lock(descriptor, link) is Lock.LOST
    os.close(descriptor)


def test_where_the_file_system_knows_no_locks_nothing_is_known(path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    descriptor = opened(path)
    assert lock(descriptor, path) is Lock.UNKNOWN
    os.close(descriptor)
