"""Who has how much of scratch, and how much of that is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHERS = "others"
"""Who holds what no reservation accounts for."""


class Keeper(Protocol):
    """Whoever gave a reservation, and hears what becomes of it."""

    def record_write(self, reservation: Reservation, size_bytes: int) -> None:
        """So many bytes more are written within the reservation; less, when negative."""

    def release(self, reservation: Reservation) -> None:
        """It is over, perhaps not for the first time."""


class Reservation:
    """A part of scratch that is its holder's until it is released, once or more often.

    What is written within it should be told, else it counts twice: as reserved, and as no longer free.
    """

    def __init__(self, keeper: Keeper, owner: str, size_bytes: int) -> None:
        self.owner = owner
        self.size_bytes = size_bytes
        self.written_bytes = 0
        self._keeper = keeper

    def wrote(self, size_bytes: int) -> None:
        """Tell that so many bytes were written; call it afterwards, so that nothing counts as free too early."""
        self._keeper.record_write(self, size_bytes)

    def freeing(self, size_bytes: int) -> None:
        """Tell that so many bytes are about to be removed; call it before, for the same reason."""
        self._keeper.record_write(self, -size_bytes)

    def release(self) -> None:
        self._keeper.release(self)

    @property
    def outstanding_bytes(self) -> int:
        """What may still be written."""
        return max(0, self.size_bytes - self.written_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Ledger:
    """The reservations there are. Its user holds a lock."""

    def __init__(self) -> None:
        self._held: dict[int, Reservation] = {}

    def __iter__(self) -> Iterator[Reservation]:
        return iter(self._held.values())

    def add(self, reservation: Reservation) -> None:
        self._held[id(reservation)] = reservation

    def remove(self, reservation: Reservation) -> int:
        """The bytes that were written within it and go with it; 0 when it is not held."""
        return reservation.written_bytes if self._held.pop(id(reservation), None) else 0

    def without(self, reservation: Reservation | None) -> Ledger:
        """The same reservations but for one."""
        others = Ledger()
        others._held = {key: each for key, each in self._held.items() if each is not reservation}
        return others

    def outstanding_bytes(self) -> int:
        """Reserved, and not yet written."""
        return sum(each.outstanding_bytes for each in self)

    def written_bytes(self) -> int:
        return sum(each.written_bytes for each in self)

    def by_owner(self) -> dict[str, int]:
        """Reserved bytes by owner."""
        held: dict[str, int] = {}
        for each in self:
            held[each.owner] = held.get(each.owner, 0) + each.size_bytes
        return held

    def used_by(self, used_bytes: int) -> dict[str, int]:
        """Bytes by holder: reserved or written, whichever is more; OTHERS have the rest of what is used."""
        held: dict[str, int] = {}
        for each in self:
            held[each.owner] = held.get(each.owner, 0) + max(each.size_bytes, each.written_bytes)
        return {**held, OTHERS: max(0, used_bytes - self.written_bytes())}
