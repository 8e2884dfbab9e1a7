"""The ready messages of a queue in order, most of them on disk when there are many. Hot.

In order of position: ``returned`` and ``head`` are in memory, then comes what is only on disk, then ``tail``, which
is in memory because its batch is not committed yet.

1. While everything fits the window, entries go to ``head`` and the disk is only written, never read.
2. Once an entry does not fit, it and all after it go to ``tail``; a transient one is put on disk for that. When their
   batch is committed they are let go, and the range on disk grows.
3. When ``head`` runs low the next page of that range is asked for; it comes as an input of a later turn.
4. When nothing is left on disk, ``tail`` becomes ``head`` and rule 1 holds again.
5. A requeued entry goes back by position: to ``returned``, which is served first where it is older.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, final

from mypy_extensions import i64

from amqpd.broker.batch import PAGED, SHARED, StoredEntry
from amqpd.broker.message import NOT_STORED, Address, Entry, Message
from amqpd.broker.shard import MESSAGE_COST, PAGE_BYTES_CROWDED, PageRequest, Shard
from amqpd.queues.fifo import Fifo
from amqpd.wire.basic import address
from amqpd.wire.content import ContentHeader, header_from_properties

if TYPE_CHECKING:
    from amqpd.broker.queue import Queue


@final
class FifoReady:
    """``disk_*``: the range that is only on disk: positions above ``disk_after`` up to ``disk_last``."""

    def __init__(self, shard: Shard, queue: Queue) -> None:
        self.shard: Shard = shard
        self.queue: Queue = queue
        self.head: Fifo = Fifo()
        self.returned: list[tuple[int, Entry]] = []  # a heap by position
        self.tail: Fifo = Fifo()
        self.ready_bytes: i64 = 0  # octets of all bodies, wherever they are
        self.memory_bytes: i64 = 0
        self.disk_messages: i64 = 0
        self.disk_durable: i64 = 0
        self.disk_durable_bytes: i64 = 0
        self.disk_after: i64 = 0
        self.disk_last: i64 = 0
        self.page_asked: bool = False
        self.pages: bool = False  # a transient message was put on disk
        self.generation: i64 = 0
        self.paging_batch: i64 = 0
        self.sequence: i64 = 0
        # Entries read back up to this position may have been delivered before the restart.
        self.redelivered_up_to: i64 = 0
        self.last_address: Address = Address("", "", b"\x00\x00")
        self.last_header: ContentHeader | None = None

    def count(self) -> i64:
        return self.head.count() + len(self.returned) + self.disk_messages + self.tail.count()

    def push(self, entry: Entry) -> None:
        """A new entry, behind all others."""
        self.ready_bytes += entry.message.header.body_size
        if not self.disk_messages and not self.tail.count() and self.shard.room(self.memory_bytes):
            self.sequence += 1
            entry.sequence = self.sequence
            self.head.push(entry)
            self._grown(entry)
        else:
            self._push_tail(entry)

    def pop(self) -> Entry | None:
        """The oldest entry; None when there is none, or none in memory yet (see ``loading``)."""
        head = self.head
        if self.returned and (not head.count() or self.returned[0][0] < head.first().position):
            entry = heappop(self.returned)[1]
        elif head.count():
            entry = head.pop()
        elif self.tail.count() and not self.disk_messages:
            self._adopt_tail()
            entry = self.head.pop()
        else:
            self.want_page()
            return None
        size = entry.message.header.body_size
        cost: i64 = MESSAGE_COST + size
        self.ready_bytes -= size
        self.memory_bytes -= cost
        self.shard.window_bytes -= cost
        if self.disk_messages and self.memory_bytes < self.shard.page_low:
            self.want_page()
        return entry

    def available(self) -> bool:
        """``pop`` would return an entry. Asks for a page where that is what is missing."""
        if self.head.count() or self.returned:
            return True
        if self.disk_messages:
            self.want_page()
            return False
        return self.tail.count() > 0

    def loading(self) -> bool:
        return self.disk_messages > 0 and not self.head.count() and not self.returned

    def put_back(self, entry: Entry) -> None:
        """A requeued entry returns to its place."""
        heappush(self.returned, (int(entry.position), entry))
        self.ready_bytes += entry.message.header.body_size
        self._grown(entry)

    def committed(self, number: i64) -> None:
        """Batches up to ``number`` are on disk: let go of the tail they hold."""
        tail = self.tail
        while tail.count() and tail.first().batch <= number:
            entry = tail.pop()
            if not self.disk_messages:
                self.disk_after = entry.position - 1
            self.disk_messages += 1
            self.disk_last = entry.position
            if not entry.paged:
                self.disk_durable += 1
                self.disk_durable_bytes += entry.message.header.body_size
        if self.disk_messages and self.memory_bytes < self.shard.page_low:
            self.want_page()
        if tail.count():
            self._ask_commit()

    def want_page(self) -> None:
        if self.page_asked or not self.disk_messages:
            return
        self.page_asked = True
        crowded = self.shard.window_bytes > self.shard.window_budget
        self.shard.page_requests.append(
            PageRequest(
                self.queue,
                int(self.generation),
                int(self.disk_after),
                int(self.shard.page_messages),
                PAGE_BYTES_CROWDED if crowded else int(self.shard.page_bytes),
            )
        )

    def page_loaded(self, generation: i64, page: list[StoredEntry]) -> None:
        if generation != self.generation:
            return
        self.page_asked = False
        for stored in page:
            if stored.position > self.disk_last:
                break  # committed meanwhile, still in the tail
            entry = self._restored(stored)
            self.head.push(entry)
            self._grown(entry)
            self.disk_messages -= 1
            self.disk_after = entry.position
            if not entry.paged:
                self.disk_durable -= 1
                self.disk_durable_bytes -= entry.message.header.body_size

    def restore(self, messages: i64, size: i64, first: i64, last: i64, redelivered: i64) -> None:
        """At start everything is on disk."""
        self.disk_messages = messages
        self.disk_durable = messages
        self.disk_durable_bytes = size
        self.ready_bytes = size
        self.disk_after = first - 1
        self.disk_last = last
        self.redelivered_up_to = redelivered

    def clear(self) -> None:
        """Forget everything in memory and on disk; the journal is the caller's."""
        self.shard.window_bytes -= self.memory_bytes
        self.memory_bytes = 0
        self.ready_bytes = 0
        self.head = Fifo()
        self.returned = []
        self.tail = Fifo()
        self.disk_messages = 0
        self.disk_durable = 0
        self.disk_durable_bytes = 0
        self.generation += 1
        self.page_asked = False

    def in_memory(self) -> list[Entry]:
        return [*[entry for _, entry in self.returned], *self.head.entries(), *self.tail.entries()]

    def _grown(self, entry: Entry) -> None:
        cost: i64 = MESSAGE_COST + entry.message.header.body_size
        self.memory_bytes += cost
        self.shard.window_bytes += cost

    def _push_tail(self, entry: Entry) -> None:
        if entry.batch == NOT_STORED:
            entry.paged = True
            self.pages = True
            self.shard.journal.insert(entry)
        if not self.tail.count():
            # Entries in memory now and those read back later are not neighbours by number.
            self.sequence += 1
        self.tail.push(entry)
        self._ask_commit()
        if not self.head.count():
            self.want_page()

    def _ask_commit(self) -> None:
        journal = self.shard.journal
        if self.paging_batch != journal.number:
            self.paging_batch = journal.number
            journal.paging.append(self.queue)

    def _adopt_tail(self) -> None:
        """Nothing is on disk only: what waited for its commit is the head now."""
        self.head = self.tail
        self.tail = Fifo()
        self.sequence += 1
        for entry in self.head.entries():
            self._grown(entry)

    def _restored(self, stored: StoredEntry) -> Entry:
        last = self.last_address
        if stored.routing_key != last.routing_key or stored.exchange != last.exchange:
            last = Address(stored.exchange, stored.routing_key, address(stored.exchange, stored.routing_key))
            self.last_address = last
        header = self.last_header
        size: i64 = len(stored.body)
        if header is None or header.body_size != size or header.payload[12:] != stored.properties:
            header = header_from_properties(stored.properties, int(size))
            self.last_header = header
        message = Message(last, header, stored.body)
        message.id = stored.position
        message.copies = 2 if stored.flags & SHARED else 1
        entry = Entry(message, self.queue)
        entry.position = stored.position
        entry.batch = 1  # long committed
        entry.paged = (stored.flags & PAGED) != 0
        entry.redelivered = entry.position <= self.redelivered_up_to
        self.sequence += 1
        entry.sequence = self.sequence
        return entry
