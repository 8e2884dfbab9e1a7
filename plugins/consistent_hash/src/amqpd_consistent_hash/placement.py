"""Where a key goes: destinations with weights, by rendezvous hashing.

1. A key falls into one of ``SLOTS`` slots, by its hash. A slot belongs to the destination that bids most for it: the
   bid depends on nothing but the slot, the destination's name and its weight.
2. So the same bindings place the same keys alike, in whatever order they were made, after a restart too. A destination
   that comes takes slots from the others, in proportion to their weights; one that goes leaves its own to them. No
   other slot moves.
3. Bids are made when a slot is first asked for, and kept until a weight changes.
"""

from __future__ import annotations

from hashlib import blake2b
from math import log
from typing import Final, Generic, TypeVar

T = TypeVar("T")

SLOTS: Final = 1 << 16


class Placement(Generic[T]):
    def __init__(self) -> None:
        self._bidders: dict[str, tuple[T, int]] = {}  # by name, with weight
        self._slots: dict[int, T] = {}

    def put(self, name: str, destination: T, weight: int) -> None:
        """A destination, or another weight for it. ``weight``: 1 or more."""
        self._bidders[name] = (destination, weight)
        self._slots.clear()

    def drop(self, name: str) -> None:
        del self._bidders[name]
        self._slots.clear()

    def find(self, key: bytes) -> T | None:
        """Who gets ``key``; None when there is nobody."""
        slot = int.from_bytes(blake2b(key, digest_size=2).digest(), "big")
        found = self._slots.get(slot)
        if found is None and self._bidders:
            found = self._slots[slot] = self._highest(slot)
        return found

    def _highest(self, slot: int) -> T:
        prefix = slot.to_bytes(2, "big")
        _, name = max((_bid(prefix + name.encode(), weight), name) for name, (_, weight) in self._bidders.items())
        return self._bidders[name][0]


def _bid(what: bytes, weight: int) -> float:
    """The greater the more weight, and otherwise by chance: the shares of all come out as their weights."""
    chance = (int.from_bytes(blake2b(what, digest_size=8).digest(), "big") + 0.5) / (1 << 64)
    return -weight / log(chance)
