"""Messages of one channel in flight, by delivery tag. Hot."""

from __future__ import annotations

from collections import deque
from typing import Final, final

from mypy_extensions import i64

from amqpd.broker.message import Entry

# Stale tags in ``order`` before it is made anew.
STALE_MAX: Final = 1000


@final
class Unacked:
    """``order``: the tags in order for acks of many at once; tags settled one by one stay in it as stale ones."""

    def __init__(self) -> None:
        self.by_tag: dict[int, Entry] = {}
        self.order: deque[int] = deque()

    def add(self, entry: Entry) -> None:
        tag = int(entry.delivery_tag)
        self.by_tag[tag] = entry
        self.order.append(tag)

    def take(self, tag: i64) -> Entry | None:
        """The entry with this tag, taken out; None when there is none."""
        entry = self.by_tag.pop(int(tag), None)
        if entry is None:
            return None
        order = self.order
        if order[0] == tag:
            order.popleft()
        elif len(order) > 2 * len(self.by_tag) + STALE_MAX:
            self.order = deque(self.by_tag)
        return entry

    def take_up_to(self, tag: i64) -> list[Entry] | None:
        """All entries up to and including ``tag`` in order, taken out; 0 means all.

        None when ``tag`` is not outstanding.
        """
        by_tag = self.by_tag
        if tag == 0:
            taken = list(by_tag.values())
            by_tag.clear()
            self.order.clear()
            return taken
        if int(tag) not in by_tag:
            return None
        return self.take_through(tag)

    def take_through(self, tag: i64) -> list[Entry]:
        """All entries up to ``tag`` in order, taken out, whether it is outstanding or not."""
        taken: list[Entry] = []
        by_tag = self.by_tag
        order = self.order
        while order and order[0] <= tag:
            entry = by_tag.pop(order.popleft(), None)
            if entry is not None:
                taken.append(entry)
        return taken

    def up_to(self, tag: i64) -> list[Entry]:
        """All entries up to ``tag`` in order; they stay."""
        found: list[Entry] = []
        for one in self.order:
            if one > tag:
                break
            entry = self.by_tag.get(one)
            if entry is not None:
                found.append(entry)
        return found

    def put_back(self, entries: list[Entry]) -> None:
        """Entries taken before are outstanding again (tx.rollback)."""
        for entry in entries:
            self.by_tag[int(entry.delivery_tag)] = entry
        self.by_tag = dict(sorted(self.by_tag.items()))
        self.order = deque(self.by_tag)
