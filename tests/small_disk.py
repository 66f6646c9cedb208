"""A disk that is really small: work runs on a tmpfs of a few bytes, mounted where only its own thread can see it."""

from __future__ import annotations

import ctypes
import os
import shlex
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

CHECKOUT = Path(__file__).parents[1]
NOBODY = 65534
_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000
_MS_REC, _MS_PRIVATE = 1 << 14, 1 << 18
_MNT_DETACH = 2


def on_small_disk(work: Callable[[Path], T], size_bytes: int, inodes: int = 0) -> T:
    """What `work` returns, given the root of a new tmpfs of that many bytes (and inodes, when not 0).

    It runs in a thread of its own, in a private mount namespace; threads and processes that it starts see the disk
    too, nobody else does, and nothing is left of it afterwards. What `work` raises is raised here.
    """
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))

    def mounted() -> T:
        _check("unshare", _libc().unshare(_CLONE_FS | _CLONE_NEWNS))
        _mount(b"none", b"/", b"none", _MS_REC | _MS_PRIVATE, b"")
        limits = f"mode=1777,size={size_bytes}" + (f",nr_inodes={inodes}" if inodes else "")
        _mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, limits.encode())
        try:
            return work(folder)
        finally:
            _check("umount2", _libc().umount2(os.fsencode(folder), _MNT_DETACH))

    try:
        return _in_thread(mounted)
    finally:
        folder.rmdir()


def over_tmp(mount: str) -> list[str]:
    """Shell commands that mount something over /tmp, and keep this checkout in sight should it lie there.

    For a mount namespace of one's own only. `mount`: the arguments of that command but for the place.
    """
    covered = f"mount {mount} /tmp"
    if not CHECKOUT.is_relative_to("/tmp"):  # noqa: S108  nothing is made there
        return [covered]
    here = shlex.quote(str(CHECKOUT))
    return [f"mount --bind {here} /mnt", covered, f"mkdir -p {here}", f"mount --bind /mnt {here}"]


def left_in_tmp(names: Iterable[str]) -> list[str]:
    """Those names in such a /tmp that are not on the way to this checkout."""
    return [name for name in names if not CHECKOUT.is_relative_to(Path("/tmp", name))]  # noqa: S108  same


def mount_over(inside: Path) -> None:
    """Mount a tmpfs over a folder of the small disk; call it from `work` only."""
    _mount(b"tmpfs", os.fsencode(inside), b"tmpfs", 0, b"size=65536")


def as_nobody(work: Callable[[], T]) -> T:
    """What `work` returns, run in a thread that has nobody's rights on files; root would pass every mode."""

    def demoted() -> T:
        _libc().setfsgid(NOBODY)
        _libc().setfsuid(NOBODY)
        return work()

    return _in_thread(demoted)


def why_not() -> str:
    """Why there can be no small disk here; empty when there can."""
    if sys.platform != "linux":
        return "mount namespaces are Linux's"
    if os.geteuid() != 0:
        return "mounting needs root"
    try:
        on_small_disk(lambda _: None, 65536)
    except OSError as error:
        return f"mounting is not allowed here ({error})"
    return ""


def needs_root(test: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a test that needs a small disk; without the rights it is skipped, and the summary says why."""
    import pytest  # noqa: PLC0415  scripts use this module without pytest

    reason = why_not()
    return pytest.mark.needs_root(
        pytest.mark.skipif(bool(reason), reason=f"NOT TESTED on a small disk: {reason}")(test)
    )


def _in_thread(work: Callable[[], T]) -> T:
    done: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            raised.append(error)

    thread = threading.Thread(target=run, name="small-disk")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return done[0]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount(source: bytes, target: bytes, kind: bytes, flags: int, options: bytes) -> None:
    _check("mount", _libc().mount(source, target, kind, ctypes.c_ulong(flags), options))


def _check(call: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
