"""Making one component: members of an artifact in, a committed ZIP out, under a key that may be known only at the end.

What a component holds, what it is called and what a device takes are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Protocol, Self

from packager.core.members import LeftOut
from packager.core.pipeline import File, Lookahead, zip_parts
from packager.core.zip import ZipEncoder
from telemetry import add, carrying, catalog, current, observe

if TYPE_CHECKING:
    from packager.core.ports import Sink, Source, StoredComponent
    from telemetry import Step


class ArtifactFile(Protocol):
    """A file of an artifact, from a stream or from scratch."""

    @property
    def path(self) -> str: ...

    def as_file(self, name: str) -> File: ...


class Files(Protocol):
    """The files of an open artifact, with packed bytes read and members left out so far."""

    @property
    def packed_bytes(self) -> int: ...

    @property
    def left_out(self) -> LeftOut: ...

    def files(self) -> Iterator[ArtifactFile]:
        """Each with its content, once, in the artifact's order."""


Members = Callable[[], AbstractContextManager[Files]]
"""Opens an artifact."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a component, in this order.

    Attributes:
        head: entries that are in memory: name and content.
        files: turns the members of the artifact into the other entries.
    """

    head: Sequence[tuple[str, bytes]]
    files: Callable[[Iterator[ArtifactFile]], Iterator[File]]


class IdentityLookup:
    """The key and identity of a component, worked out in a thread while the component is already being made.

    Args:
        identify: gives key and identity; it may have to read and hash a whole file.
        sink: where the component may be already.
        at_hand: whether `identify` takes no time, so that the identity is waited for.
        look: whether to look for the component at all.
    """

    def __init__(self, identify: Callable[[], tuple[str, str]], sink: Sink, *, at_hand: bool, look: bool) -> None:
        self._sink = sink
        self._look = look
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="identity")
        self._identified: Future[tuple[str, str]] = self._pool.submit(carrying(identify))
        if at_hand:
            self._identified.exception()  # waits

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def resolve(self) -> tuple[str, str]:
        """Key and identity; waits for them."""
        return self._identified.result()

    def found(self) -> StoredComponent | None:
        """The very component, if it is there already. Looks once, as soon as the identity is known; never waits."""
        if not self._look or not self._identified.done():
            return None
        self._look = False
        key, identity = self.resolve()
        there = self._sink.find(key)
        return there if there and there.identity == identity else None


@dataclass(frozen=True, slots=True)
class Made:
    """A component that was made or found.

    Attributes:
        stored: where it is.
        new: whether it was written just now; else it was there.
        files: how many entries were written.
        read_bytes: packed bytes read for them.
        left_out: members of the artifact that are no part of it.
    """

    stored: StoredComponent
    new: bool = False
    files: int = 0
    read_bytes: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)


def make_component(  # noqa: PLR0913  what a run lends to each of its components, by name
    contents: Contents,
    name: IdentityLookup,
    sink: Sink,
    members: Members,
    *,
    source: Source | None = None,
    check: Callable[[str, ZipEncoder], None],
    report: Callable[[int, int], None],
    lookahead: Lookahead,
    measured: Callable[[Step | None], AbstractContextManager[None]],
) -> Made:
    """Write the component, or find half-way that it is there already. After an error nothing is left.

    Args:
        contents: what goes into it.
        name: its key and identity.
        sink: where it is written.
        members: the artifact that its files come from.
        source: where that artifact's bytes lie.
        check: called with the key and what was written, before that becomes visible; may raise to refuse it.
        report: called with packed bytes read and files done after every chunk; may raise to end the work.
        lookahead: how far the threads work ahead of each other.
        measured: wraps a step so that it records how much scratch was in use.
    """
    encoder, copied_bytes = ZipEncoder(), 0
    head = [File.of(entry, content) for entry, content in contents.head]
    with (
        members() as found,
        sink.open(name.resolve, source) as upload,
        measured(current()),
        observe(catalog.ZIP_COMPONENT) as step,
        measured(step),
    ):
        with closing(zip_parts(chain(head, contents.files(found.files())), encoder, lookahead)) as parts:
            for part in parts:
                upload.write(part.data, part.origin)
                copied_bytes += len(part.data) if part.origin >= 0 else 0
                if there := name.found():
                    return Made(there)
                report(found.packed_bytes, encoder.files)
        written = {"files": encoder.files, "bytes_in": encoder.bytes_in, "bytes_out": encoder.bytes_out}
        step.add(**written, copied_bytes=copied_bytes)
        check(name.resolve()[0], encoder)
        if there := name.found():  # by now the identity is known, however long it took beside a short artifact
            return Made(there)
        report(found.packed_bytes, encoder.files)
        stored = upload.commit()
        read_bytes = found.packed_bytes
    add(bytes_in=read_bytes, files=encoder.files, ratio=encoder.bytes_out / max(1, encoder.bytes_in))
    return Made(stored, new=True, files=encoder.files, read_bytes=read_bytes, left_out=found.left_out)
