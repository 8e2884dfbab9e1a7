"""Entries in order, taken from the front. Hot.

A list with a read index compiles to a few instructions; a deque does not.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from amqpd.broker.message import Entry

TRIM_AT: Final = 4096  # slots read before they are cut off the list


@final
class Fifo:
    """``at``: index of the first entry; the slots before it are empty."""

    def __init__(self) -> None:
        self.slots: list[Entry | None] = []
        self.at: i64 = 0

    def count(self) -> i64:
        return len(self.slots) - self.at

    def push(self, entry: Entry) -> None:
        self.slots.append(entry)

    def first(self) -> Entry:
        """The front, which must exist."""
        entry = self.slots[self.at]
        assert entry is not None
        return entry

    def pop(self) -> Entry:
        """The front, which must exist, taken out."""
        slots = self.slots
        at = self.at
        entry = slots[at]
        assert entry is not None
        slots[at] = None
        at += 1
        if at == len(slots):
            slots.clear()
            at = 0
        elif at == TRIM_AT:
            del slots[:TRIM_AT]
            at = 0
        self.at = at
        return entry

    def entries(self) -> list[Entry]:
        """All of them, in order."""
        found: list[Entry] = []
        for entry in self.slots:
            if entry is not None:
                found.append(entry)
        return found
