"""Where the ready messages of one lane lie: in order, most of them on disk when there are many. Hot.

In order of position: ``returned`` and ``head`` are in memory, then comes what is only on disk, then ``tail``, which
is in memory because its batch is not committed yet.

1. While everything fits the window, entries go to ``head`` and the disk is only written, never read.
2. Once an entry does not fit, it and all after it go to ``tail``; a transient one is put on disk for that. When their
   batch is committed they are let go, and the range on disk grows.
3. When ``head`` runs low the next page of that range is asked for; it comes as an input of a later turn.
4. When nothing is left on disk, ``tail`` becomes ``head`` and rule 1 holds again.
5. A requeued entry goes back by position: to ``returned``, which is served first where it is older.
6. An entry that expired in the middle is ``gone`` (amqpd/queues/ready.py): its slot stays until it is the first one,
   or until such slots are too many. The first entries of ``head`` and ``returned`` are never gone. In ``tail`` the
   slot stays until the batch is committed, because from then on a page can hold the entry.
"""

from __future__ import annotations

from heapq import heappop
from typing import TYPE_CHECKING

from mypy_extensions import i64

from amqpd.broker.batch import QueueSummary, StoredEntry
from amqpd.broker.message import ANNIHILATED, NOT_STORED, Entry, Message
from amqpd.broker.queue import Lane
from amqpd.broker.shard import MESSAGE_COST, PAGE_BYTES_CROWDED, PageRequest, Shard
from amqpd.queues.deadlines import NEVER, Deadlines
from amqpd.queues.fifo import Fifo
from amqpd.queues.ready_list import ReadyList
from amqpd.queues.restored import Restored

if TYPE_CHECKING:
    from amqpd.broker.queue import Queue


class PagedList(ReadyList):
    """``disk_*``: the range that is only on disk: positions above ``disk_after`` up to ``disk_last``.

    ``unread``: no page was asked for since the start; then the deadline of the first entry counts as an early one.
    """

    def __init__(self, shard: Shard, queue: Queue, level: i64 = 0) -> None:
        self.shard: Shard = shard
        self.queue: Queue = queue
        self.lane: Lane = Lane(queue, level)
        self.head: Fifo = Fifo()
        self.returned: list[tuple[int, Entry]] = []  # a heap by position
        self.tail: Fifo = Fifo()
        self.holes: i64 = 0  # entries that are gone, in ``head`` and ``returned``
        self.tail_holes: i64 = 0
        self.deadlines: Deadlines = Deadlines()
        self.ready_bytes: i64 = 0  # octets of all bodies, wherever they are
        self.memory_bytes: i64 = 0
        self.sharers: i64 = 1  # lanes of the queue, which share its window
        self.disk_messages: i64 = 0
        self.disk_durable: i64 = 0
        self.disk_durable_bytes: i64 = 0
        self.disk_after: i64 = 0
        self.disk_last: i64 = 0
        self.unread: bool = False
        self.read_horizon: i64 = 0  # as ``Deadlines.horizon``, of what was read back
        self.page_asked: bool = False
        self.pages: bool = False  # a transient message was put on disk
        self.generation: i64 = 0
        self.paging_batch: i64 = 0
        self.sequence: i64 = 0
        self.restored: Restored = Restored()

    def lane_for(self, message: Message) -> Lane:
        return self.lane

    def identify(self, first: i64) -> None:
        self.lane.id = first + self.lane.level

    def lanes(self) -> list[Lane]:
        return [self.lane]

    def count(self) -> i64:
        in_memory = self.head.count() + len(self.returned) - self.holes + self.tail.count() - self.tail_holes
        return in_memory + self.disk_messages

    def size(self) -> i64:
        return self.ready_bytes

    def paged(self) -> bool:
        return self.pages

    def _skip_holes(self) -> None:
        """Rule 6."""
        while self.head.count() and self.head.first().gone:
            self.head.pop()
            self.holes -= 1
        while self.returned and self.returned[0][1].gone:
            heappop(self.returned)
            self.holes -= 1

    def _adopt_tail(self) -> None:
        """Nothing is on disk only: what waited for its commit is the head now."""
        self.head = self.tail
        self.tail = Fifo()
        self.holes += self.tail_holes
        self.tail_holes = 0
        self.sequence += 1
        for entry in self.head.entries():
            if not entry.gone:
                self._grown(entry)
        self._skip_holes()

    def _grown(self, entry: Entry) -> None:
        cost: i64 = MESSAGE_COST + entry.message.header.body_size
        self.memory_bytes += cost
        self.shard.window_bytes += cost
        if entry.early:
            self.deadlines.watch(entry)

    def _shrunk(self, entry: Entry) -> None:
        """An entry in memory left the list."""
        size = entry.message.header.body_size
        cost: i64 = MESSAGE_COST + size
        self.ready_bytes -= size
        self.memory_bytes -= cost
        self.shard.window_bytes -= cost
        if entry.watched:
            self.deadlines.unwatch(entry)
        if self.disk_messages and self._runs_low():
            self.want_page()

    def _runs_low(self) -> bool:
        """The next page should be on its way: little is in memory, and it may hold more."""
        return self.memory_bytes < self.shard.page_low and self.shard.room(self.memory_bytes * self.sharers)

    def _push_tail(self, entry: Entry) -> None:
        if entry.batch == NOT_STORED:
            entry.paged = True
            self.pages = True
            self.shard.journal.insert(entry)
        if not self.tail.count():
            # Entries in memory now and those read back later are not neighbours by number.
            self.sequence += 1
        self.tail.push(entry)
        if entry.early:
            self.deadlines.watch(entry)
        self._ask_commit()
        if not self.head.count():
            self.want_page()

    def _ask_commit(self) -> None:
        journal = self.shard.journal
        if self.paging_batch != journal.number:
            self.paging_batch = journal.number
            journal.paging.append(self.queue)

    def want_page(self) -> None:
        if self.page_asked or not self.disk_messages:
            return
        self.page_asked = True
        self.unread = False
        crowded = self.shard.window_bytes > self.shard.window_budget
        self.shard.page_requests.append(
            PageRequest(
                self.lane,
                int(self.generation),
                int(self.disk_after),
                int(self.shard.page_messages),
                PAGE_BYTES_CROWDED if crowded else int(self.shard.page_bytes),
            )
        )

    def committed(self, number: i64) -> None:
        """Let go of the tail that is on disk now."""
        tail = self.tail
        while tail.count() and tail.first().batch <= number:
            entry = tail.pop()
            if entry.gone:
                self.tail_holes -= 1
                if entry.batch != ANNIHILATED:
                    self.deadlines.take(entry.position, entry.message.header.body_size)
                    if self.deadlines.many_taken():
                        self.deadlines.to_disk(entry.deadline)  # a read of what is due tells which of them are deleted
                continue
            if not self.disk_messages:
                self.disk_after = entry.position - 1
            self.disk_messages += 1
            self.disk_last = entry.position
            if not entry.paged:
                self.disk_durable += 1
                self.disk_durable_bytes += entry.message.header.body_size
            if entry.watched:
                self.deadlines.unwatch(entry)
                self.deadlines.to_disk(entry.deadline)
        if not self.disk_messages:
            self._disk_empty()
        if self.disk_messages and self._runs_low():
            self.want_page()
        if tail.count():
            self._ask_commit()

    def page_loaded(self, request: PageRequest, page: list[StoredEntry]) -> list[Entry]:
        if request.generation != self.generation:
            return []
        if request.due_up_to:
            return self.take_due(request, page)
        self.page_asked = False
        deadlines = self.deadlines
        if not self.head.count():
            self.read_horizon = 0
        for stored in page:
            if stored.position > self.disk_last:
                break  # committed meanwhile, still in the tail
            if deadlines.taken and stored.position in deadlines.taken:
                # Its neighbours must not be deleted as one range with it: it may not have left yet.
                self.sequence += 1
                continue
            if stored.position <= self.disk_after:
                continue
            self.sequence += 1
            entry = self.restored.entry(stored, self.lane)
            entry.sequence = self.sequence
            self.head.push(entry)
            self._grown(entry)
            self._off_disk(entry)
            self.check_order(entry)
            self.disk_after = entry.position
        if page:
            self.disk_after = max(self.disk_after, min(page[-1].position, self.disk_last))
        if not self.disk_messages:
            self._disk_empty()
        elif deadlines.taken:
            deadlines.passed(self.disk_after)
            if page and not self.head.count():
                self.want_page()
        return []

    def take_due(self, request: PageRequest, page: list[StoredEntry]) -> list[Entry]:
        """Early entries that are due, read by deadline: out of the range on disk."""
        raise NotImplementedError

    def check_order(self, entry: Entry) -> None:
        """``entry`` was read back to the end of ``head``."""
        raise NotImplementedError

    def _off_disk(self, entry: Entry) -> None:
        self.disk_messages -= 1
        if not entry.paged:
            self.disk_durable -= 1
            self.disk_durable_bytes -= entry.message.header.body_size

    def _disk_empty(self) -> None:
        """The range on disk is used up; what reads under way may still bring lies in it, and is passed over."""
        self.disk_after = self.disk_last
        self.deadlines.forget_disk()

    def restore(self, level: i64, row: QueueSummary, redelivered: i64) -> None:
        self.lane.stored_messages = row.messages
        self.lane.stored_bytes = row.bytes
        # Clients that get before anybody consumed should not wait for the first page each time.
        self.lane.last_delivered = redelivered
        self.disk_messages = row.messages
        self.disk_durable = row.messages
        self.disk_durable_bytes = row.bytes
        self.ready_bytes = row.bytes
        self.disk_after = row.first - 1
        self.disk_last = row.last
        self.restored.redelivered_up_to = redelivered
        self.deadlines.on_disk = row.next_deadline
        if row.messages:
            self.unread = True
            self.deadlines.horizon = NEVER

    def purge_disk(self) -> None:
        if not self.disk_messages:
            return
        journal = self.shard.journal
        lane = self.lane
        first = int(self.disk_after) + 1
        last = int(self.disk_last)
        # What was taken out and waits to be dead-lettered is no part of the queue any more.
        for position in sorted(self.deadlines.taken):
            if first <= position <= last:
                if first < position:
                    journal.purged.append((int(lane.id), first, position - 1))
                first = position + 1
        if first <= last:
            journal.purged.append((int(lane.id), first, last))
        if self.disk_durable:
            lane.stored_messages -= self.disk_durable
            lane.stored_bytes -= self.disk_durable_bytes
            journal.depth_touched(lane)

    def take_all(self) -> list[Entry]:
        taken: list[Entry] = []
        for _, entry in self.returned:
            if not entry.gone:
                taken.append(entry)
        for fifo in (self.head, self.tail):
            for entry in fifo.entries():
                if not entry.gone:
                    taken.append(entry)
        self.shard.window_bytes -= self.memory_bytes
        self.memory_bytes = 0
        self.ready_bytes = 0
        self.head = Fifo()
        self.returned = []
        self.tail = Fifo()
        self.holes = 0
        self.tail_holes = 0
        self.unread = False
        horizon = self.deadlines.horizon
        self.deadlines = Deadlines()
        self.deadlines.horizon = horizon  # what is in flight may still come back ahead of what enters now
        self.disk_messages = 0
        self.disk_durable = 0
        self.disk_durable_bytes = 0
        self.generation += 1
        self.page_asked = False
        return taken
