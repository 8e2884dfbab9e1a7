"""Who gets what: 65,536 slots shared out among members by weight.

1. A key's digest says which slot it falls into; a slot has one owner.
2. Members race for each slot (weighted rendezvous hashing): a member's time for a slot comes from its name and the
   slot's number alone, divided by its weight, and the shortest time wins. So a slot's owner depends on nothing but who
   the members are and what they weigh, and a member is expected to win its weight's part of all slots.
3. A member that comes takes the slots it now wins, one that goes leaves its own to the others; no other slot moves.
4. A slot's race is run when the first key falls into it, and remembered: from then on a look-up costs one digest,
   however many members there are. Later members are compared with the owner alone.
5. A race must be short, because after a start all have to be run. Chance is tabulated: of 512 random numbers that a
   name gives, one is picked by the upper half of the slot's number, one by the lower, and their exclusive or is as good
   as a number of the slot's own (any two slots are independent). The tables lie by number, then by member, so that a
   race reads two rows.
"""

from __future__ import annotations

import struct
from array import array
from hashlib import blake2b, shake_128
from math import inf, log
from typing import Final, Generic, TypeVar

T = TypeVar("T")

SLOT_COUNT: Final = 65536  # two octets of a digest; two arrays of four octets each are 512 KiB for an exchange in use
COMPACT_AT: Final = 64  # how many places of members that went are kept at least

_NUMBERS: Final = struct.Struct("<512Q")
_LONGEST: Final = log(2**64) + 1e-14  # above the logarithm of any 64 bits, so that a time is never 0


class Slots(Generic[T]):
    """Members have distinct names. ``weight`` is 1 or more, and may have hundreds of digits."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        # By place; a member that went leaves None, and a weight of nothing.
        self._targets: list[T | None] = []
        self._slowness: array[float] = array("d")  # 1 / weight
        self._upper: list[array[int]] = []
        self._lower: list[array[int]] = []
        # For each slot its owner's place, and how many places took part in its race; empty before the first look-up.
        self._owners: array[int] = array("I")
        self._raced: array[int] = array("I")

    def __len__(self) -> int:
        return len(self._places)

    def add(self, name: str, weight: int, target: T) -> None:
        """A new member; what belongs to it is for ``target``, which is not None."""
        if not self._upper:
            self._upper = [array("Q") for _ in range(256)]
            self._lower = [array("Q") for _ in range(256)]
        self._places[name] = len(self._targets)
        self._targets.append(target)
        self._slowness.append(1 / weight)
        numbers = _NUMBERS.unpack(shake_128(name.encode("utf-8", "surrogateescape")).digest(_NUMBERS.size))
        for row, number in zip(self._upper, numbers[:256], strict=True):
            row.append(number & ~1)
        for row, number in zip(self._lower, numbers[256:], strict=True):
            row.append(number | 1)  # so that no exclusive or is 0, which has no logarithm

    def remove(self, name: str) -> None:
        place = self._places.pop(name)
        self._targets[place] = None
        self._slowness[place] = inf
        if len(self._targets) > 2 * len(self._places) + COMPACT_AT:
            self._compact()

    def find(self, octets: bytes) -> T | None:
        """Where what hashes as ``octets`` does belongs; None when there are no members."""
        if not self._places:
            return None
        if not self._owners:
            self._owners = array("I", bytes(4 * SLOT_COUNT))
            self._raced = array("I", bytes(4 * SLOT_COUNT))
        slot = slot_of(octets)
        owner = self._targets[self._owners[slot]]
        if owner is None or self._raced[slot] != len(self._targets):
            owner = self._race(slot)
        return owner

    def _race(self, slot: int) -> T | None:
        """Run what is missing of the slot's race. The owner, if it is still there, has beaten those before it."""
        owner = self._owners[slot]
        start = self._raced[slot] if self._targets[owner] is not None else 0
        times = self._times(slot, start, len(self._targets))
        best = min(times)
        if start == 0 or best < self._times(slot, owner, owner + 1)[0]:
            owner = start + times.index(best)
            self._owners[slot] = owner
        self._raced[slot] = len(self._targets)
        return self._targets[owner]

    def _times(self, slot: int, start: int, end: int) -> list[float]:
        """Of the places from ``start`` to ``end``: exponentially distributed, with the weight as rate."""
        upper, lower, slowness = self._upper[slot >> 8], self._lower[slot & 255], self._slowness
        if start or end < len(slowness):
            upper, lower, slowness = upper[start:end], lower[start:end], slowness[start:end]
        return [(_LONGEST - log(one ^ other)) * slow for one, other, slow in zip(upper, lower, slowness, strict=True)]

    def _compact(self) -> None:
        """Forget the places of those that went; all races are run anew."""
        kept = list(self._places.values())
        self._places = {name: place for place, name in enumerate(self._places)}
        self._targets = [self._targets[place] for place in kept]
        self._slowness = array("d", [self._slowness[place] for place in kept])
        for rows in (self._upper, self._lower):
            rows[:] = [array("Q", [row[place] for place in kept]) for row in rows]
        self._owners, self._raced = array("I"), array("I")


def slot_of(octets: bytes) -> int:
    """The same in every process and on every machine."""
    return int.from_bytes(blake2b(octets, digest_size=2).digest())
