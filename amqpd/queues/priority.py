"""The ready messages of a priority queue: one lane for each level, the highest first. Hot.

1. A level is a ``FifoReady`` with its own key in the store, made when its first message comes: it pages, expires and is
   restored like a plain queue. The levels in use share the queue's window of memory in equal parts.
2. The order is strict: while the highest level that is not empty waits for its page, nothing lower is delivered.
3. What is dropped from the head is of the highest priority, too; so it is in RabbitMQ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from mypy_extensions import i64

from amqpd.broker.message import Entry, Message
from amqpd.broker.queue import Lane, Queue
from amqpd.broker.shard import PageRequest, Shard
from amqpd.queues.ready import FifoReady
from amqpd.queues.ready_list import ReadyList

if TYPE_CHECKING:
    from amqpd.broker.batch import QueueSummary, StoredEntry


@final
class PriorityReady(ReadyList):
    """``default``: the level of a message without priority; one above the highest level counts as that.

    ``used``: the levels there are, in the order they were made. ``top``: no level above it holds an entry.
    ``messages`` and ``bytes``: of all levels together.
    """

    def __init__(self, shard: Shard, queue: Queue, levels: i64, default: i64 = 0) -> None:
        self.shard: Shard = shard
        self.queue: Queue = queue
        self.highest: i64 = levels - 1
        self.default: i64 = default
        self.by_level: list[FifoReady | None] = [None] * int(levels)
        self.used: list[FifoReady] = []
        self.top: i64 = -1
        self.messages: i64 = 0
        self.bytes: i64 = 0
        self.committed_number: i64 = 0

    def lane_for(self, message: Message) -> Lane:
        level = message.header.priority
        if level < 0:
            level = self.default
        elif level > self.highest:
            level = self.highest
        return self._level(level).lane

    def _level(self, level: i64) -> FifoReady:
        found = self.by_level[level]
        if found is None:
            found = FifoReady(self.shard, self.queue, level)
            self.by_level[level] = found
            self.used.append(found)
            for one in self.used:
                one.sharers = len(self.used)
        return found

    def _top(self) -> FifoReady | None:
        """The highest level that is not empty."""
        level = self.top
        while level >= 0:
            found = self.by_level[level]
            if found is not None and found.count() > 0:
                self.top = level
                return found
            level -= 1
        self.top = -1
        return None

    def _entered(self, entry: Entry) -> FifoReady:
        level = entry.lane.level
        if level > self.top:
            self.top = level
        self.messages += 1
        self.bytes += entry.message.header.body_size
        return self._level(level)

    def _left(self, entries: list[Entry]) -> None:
        for entry in entries:
            self.messages -= 1
            self.bytes -= entry.message.header.body_size

    def push(self, entry: Entry) -> None:
        self._entered(entry).push(entry)

    def put_back(self, entry: Entry) -> None:
        self._entered(entry).put_back(entry)

    def pop(self) -> Entry | None:
        top = self._top()
        if top is None:
            return None
        entry = top.pop()
        if entry is not None:
            self.messages -= 1
            self.bytes -= entry.message.header.body_size
        return entry

    def available(self) -> bool:
        top = self._top()
        return top is not None and top.available()

    def loading(self) -> bool:
        top = self._top()
        return top is not None and top.loading()

    def count(self) -> i64:
        return self.messages

    def size(self) -> i64:
        return self.bytes

    def expire(self, now: i64, inclusive: bool) -> list[Entry]:
        found: list[Entry] = []
        for one in self.used:
            found.extend(one.expire(now, inclusive))
        self._left(found)
        return found

    def next_deadline(self) -> i64:
        soonest: i64 = 0
        for one in self.used:
            deadline = one.next_deadline()
            if deadline and (not soonest or deadline < soonest):
                soonest = deadline
        return soonest

    def identify(self, first: i64) -> None:
        """A level that is made later takes the queue's id itself."""
        for one in self.used:
            one.identify(first)

    def lanes(self) -> list[Lane]:
        return [one.lane for one in self.used]

    def take_all(self) -> list[Entry]:
        # The levels stay: each remembers which of its pages are under way and come to nothing.
        taken: list[Entry] = []
        for one in self.used:
            taken.extend(one.take_all())
        self.messages = 0
        self.bytes = 0
        self.top = -1
        return taken

    def purge_disk(self) -> None:
        for one in self.used:
            one.purge_disk()

    def paged(self) -> bool:
        found = False
        for one in self.used:
            found = found or one.paged()
        return found

    def committed(self, number: i64) -> None:
        # Every level that waits has asked for itself.
        if number == self.committed_number:
            return
        self.committed_number = number
        for one in self.used:
            one.committed(number)

    def page_loaded(self, request: PageRequest, page: list[StoredEntry]) -> list[Entry]:
        due = self._level(request.lane.level).page_loaded(request, page)
        self._left(due)
        return due

    def restore(self, level: i64, row: QueueSummary, redelivered: i64) -> None:
        if not row.messages and not redelivered:
            return
        self._level(level).restore(level, row, redelivered)
        self.messages += row.messages
        self.bytes += row.bytes
        if row.messages and level > self.top:
            self.top = level
