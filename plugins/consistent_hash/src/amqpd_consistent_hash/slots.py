"""Who gets what: 65,536 slots shared out among members by weight.

1. A key's digest says which slot it falls into; a slot has one owner.
2. Members race for each slot (weighted rendezvous hashing): a member's time for a slot comes from its name and the
   slot's number alone, divided by its weight, and the shortest time wins. So a slot's owner depends on nothing but who
   the members are and what they weigh, and a member is expected to win its weight's part of all slots.
3. A member that comes takes the slots it now wins, one that goes leaves its own to the others; no other slot changes hands.
4. A slot's race is run when the first key falls into it, and remembered: then a look-up costs one digest, however
   many members there are. Later members are compared with the owner alone.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from math import log
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")

SLOT_COUNT: Final = 65536  # two octets of a digest; two arrays of four octets each are 512 KiB for an exchange in use
COMPACT_AT: Final = 64  # how many places of members that went are kept at least

_MASK: Final = 0xFFFFFFFFFFFFFFFF
_UNIT: Final = 2.0**-53


def digest(octets: bytes) -> int:
    """64 bits, the same in every process and on every machine."""
    return int.from_bytes(blake2b(octets, digest_size=8).digest())


class Member(NamedTuple, Generic[T]):
    """``seed`` is the digest of its name; a message for it goes to ``target``."""

    seed: int
    weight: int
    target: T


class Slots(Generic[T]):
    """Members have distinct names. ``weight`` is 1 or more, and may have hundreds of digits."""

    def __init__(self) -> None:
        self._members: list[Member[T] | None] = []  # None: one that went
        self._places: dict[str, int] = {}
        # For each slot its owner's place, and how many places took part in its race; empty before the first look-up.
        self._owners: array[int] = array("I")
        self._raced: array[int] = array("I")

    def __len__(self) -> int:
        return len(self._places)

    def add(self, name: str, weight: int, target: T) -> None:
        self._places[name] = len(self._members)
        self._members.append(Member(digest(name.encode("utf-8", "surrogateescape")), weight, target))

    def remove(self, name: str) -> None:
        self._members[self._places.pop(name)] = None
        if len(self._members) > 2 * len(self._places) + COMPACT_AT:
            self._compact()

    def find(self, octets: bytes) -> T | None:
        """Where what hashes as ``octets`` does belongs; None when there are no members."""
        if not self._places:
            return None
        if not self._owners:
            self._owners = array("I", bytes(4 * SLOT_COUNT))
            self._raced = array("I", bytes(4 * SLOT_COUNT))
        slot = digest(octets) % SLOT_COUNT
        owner = self._members[self._owners[slot]]
        if owner is None or self._raced[slot] != len(self._members):
            owner = self._race(slot)
        return owner.target

    def _race(self, slot: int) -> Member[T]:
        """Run what is missing of the slot's race. The owner, if it is still there, has beaten those before it."""
        members = self._members
        start = self._raced[slot]
        best = members[self._owners[slot]] if start else None
        if best is None:
            start = 0
        best_time = (0.0, 0) if best is None else _time(best, slot)
        for place in range(start, len(members)):
            member = members[place]
            if member is not None:
                time = _time(member, slot)
                if best is None or time < best_time:
                    best, best_time = member, time
                    self._owners[slot] = place
        self._raced[slot] = len(members)
        assert best is not None
        return best

    def _compact(self) -> None:
        """Forget the places of those that went; all races are run anew."""
        members = [self._members[place] for place in self._places.values()]
        self._places = {name: place for place, name in enumerate(self._places)}
        self._members = members
        self._owners, self._raced = array("I"), array("I")


def _time(member: Member[T], slot: int) -> tuple[float, int]:
    """Exponentially distributed with the weight as rate; the seed decides between equals, so that order does not."""
    bits = (member.seed + slot * 0x9E3779B97F4A7C15) & _MASK
    bits = ((bits ^ bits >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ bits >> 27) * 0x94D049BB133111EB) & _MASK
    uniform = (((bits ^ bits >> 31) >> 11) + 0.5) * _UNIT
    return -log(uniform) / member.weight, member.seed
