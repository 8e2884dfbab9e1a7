"""Queues without sessions: a channel that writes down what it gets, and messages out of nothing."""

from __future__ import annotations

from amqpd.broker.batch import Batch, StoredEntry
from amqpd.broker.broker import Broker
from amqpd.broker.message import Address, Entry, Message
from amqpd.broker.queue import ChannelPort, Consumer, Queue
from amqpd.broker.registry import Registry
from amqpd.broker.vhost import VHost
from amqpd.features import builtin
from amqpd.queues.classic import ClassicQueue
from amqpd.store.memory import MemoryDisk, MemoryStore
from amqpd.wire.content import header_from_properties

PERSISTENT = b"\x10\x00\x02"
TRANSIENT = b"\x00\x00"


def message(body: bytes = b"body", persistent: bool = True, key: str = "q") -> Message:
    header = header_from_properties(PERSISTENT if persistent else TRANSIENT, len(body))
    wire = b"\x00" + bytes([len(key)]) + key.encode()
    return Message(Address("", key, wire), header, body)


def expiring(expiration: bytes, body: bytes = b"body", persistent: bool = True) -> Message:
    """With an expiration property, milliseconds as text."""
    flags, mode = (b"\x11\x00", b"\x02") if persistent else (b"\x01\x00", b"")
    header = header_from_properties(flags + mode + bytes([len(expiration)]) + expiration, len(body))
    return Message(Address("", "q", b"\x00\x01q"), header, body)


class FakeChannel(ChannelPort):
    """``room``: how many more messages it takes. ``got``: what it took.

    ``told``: consumers that lost their queue.
    """

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.got: list[tuple[str, Entry]] = []
        self.told: list[str] = []

    def can_take(self, consumer: Consumer) -> bool:
        return self.room > 0

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        self.room -= 1
        self.got.append((consumer.tag, entry))

    def consumer_cancelled(self, consumer: Consumer) -> None:
        self.told.append(consumer.tag)

    def bodies(self) -> list[bytes]:
        got, self.got = self.got, []
        return [entry.message.body for _, entry in got]


def consumer(queue: Queue, channel: ChannelPort, tag: str = "c", no_ack: bool = False, priority: int = 0) -> Consumer:
    made = Consumer(tag, channel, queue, no_ack, False, 0, {})
    made.priority = priority
    return made


class Bench:
    """A broker with one vhost over a memory store; windows of ``window`` octets, pages of three."""

    def __init__(self, window: int = 1 << 20, disk: MemoryDisk | None = None, now: int = 1_000_000) -> None:
        self.disk = disk if disk is not None else MemoryDisk()
        self.store = MemoryStore(self.disk)
        opened = self.store.open("main", "test")
        registry = Registry()
        builtin.register(registry)
        self.broker = Broker(registry, opened.next_message_id, opened.last_batch)
        self.broker.now = now
        self.broker.restore(self.store.reader().summary(), opened.clean)
        self.broker.started(self.store.reader())
        self.journal = self.broker.journal
        self.shard = self.broker.shard
        self.shard.window_bytes_min = self.shard.window_bytes_max = window
        self.shard.page_messages, self.shard.page_bytes, self.shard.page_low = 3, 4096, 900
        if "/" not in self.broker.vhosts:
            self.broker.create_vhost("/")
        self.vhost: VHost = self.broker.vhosts["/"]
        self.commit()

    def queue(self, name: str = "q", durable: bool = True, auto_delete: bool = False) -> ClassicQueue:
        queue = self.vhost.declare_queue(name, "classic", durable, auto_delete, None, {})
        assert isinstance(queue, ClassicQueue)
        return queue

    def write(self, batch: Batch | None) -> None:
        assert batch is not None
        self.store.commit(batch)
        self.broker.batch_committed()

    def commit(self) -> None:
        while (batch := self.broker.take_batch()) is not None:
            self.write(batch)

    def read_pages(self) -> list[list[StoredEntry]]:
        """The pages asked for, read and handed in."""
        pages = []
        for request in self.broker.take_page_requests():
            page = request.read(self.store.reader())
            pages.append(page)
            self.broker.page_loaded(request, page)
        return pages

    def drain(self, queue: ClassicQueue) -> list[Entry]:
        """Take everything, with commits and pages in between."""
        taken = []
        while queue.message_count():
            entry = queue.get()
            if entry is None:
                self.commit()
                assert self.read_pages(), "messages are there, and no way to get them"
            else:
                taken.append(entry)
        return taken

    def reopened(self, clean: bool) -> Bench:
        """The broker after a restart; a clean one wrote what was open."""
        if clean:
            self.broker.finish()
            self.commit()
        self.store.close(release=clean)
        return Bench(int(self.shard.window_bytes_max), self.disk, self.broker.now)


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"%03d" % number + b"." * 100 for number in range(start, start + count)]


def bodies(entries: list[Entry]) -> list[bytes]:
    return [entry.message.body for entry in entries]
