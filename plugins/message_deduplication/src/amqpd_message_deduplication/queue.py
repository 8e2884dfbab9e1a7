"""The queue argument x-message-deduplication: a message whose header value is in the queue already is dropped.

1. It is in the queue until it is acknowledged, dead or purged: while it is ready or in flight.
2. A duplicate is dropped, counted, and confirmed: not before the message that it repeats is on disk.
3. Only one of two is stopped where the second does not come in by a publish: a dead letter that returns.
4. After a restart the keys are those of the messages that are stored: they are read once, before any client comes. So
   nothing is stored for them, and they are right even if the plugin was off for a while.
"""

from __future__ import annotations

from typing import Final

from amqpd.broker.message import Entry, Message
from amqpd.broker.queue import Queue
from amqpd.broker.shard import PageSource
from amqpd.queues.classic import ClassicQueue, Feature
from amqpd.wire.content import ContentHeader, header_from_properties
from amqpd_message_deduplication.exchange import Deduplication
from amqpd_message_deduplication.index import Index
from amqpd_message_deduplication.keys import HEADER, key_of

ARGUMENT: Final = "x-message-deduplication"
PAGE_MESSAGES: Final = 10_000
PAGE_BYTES: Final = 16 << 20


class QueueWindow:
    """The keys of a queue's messages, with their positions. ``duplicates``: dropped since the start.

    ``batch``: the last batch that stores a message with a key.
    ``in_flight``: keys of messages in flight, by position: what a purge leaves.
    """

    def __init__(self, queue: ClassicQueue) -> None:
        self.queue = queue
        self.index = Index()
        self.in_flight: dict[int, bytes] = {}
        self.duplicates = 0
        self.batch = 0
        self._header: ContentHeader | None = None
        self._key: bytes | None = None

    def key(self, message: Message) -> bytes | None:
        """One message is asked about several times in a row."""
        if self._header is not message.header:
            self._header = message.header
            self._key = key_of(message.header)
        return self._key

    def remember(self, message: Message, position: int) -> None:
        """Unless another message of the queue has the same key."""
        key = self.key(message)
        if key is not None and self.index.get(key) is None:
            self.index.put(key, position)

    def forget(self, message: Message, position: int) -> None:
        key = self.in_flight.pop(position, None) or self.key(message)
        if key is not None and self.index.get(key) == position:
            self.index.discard(key)

    def keep_in_flight(self) -> None:
        """Forget all others."""
        self.index.clear()
        for position, key in self.in_flight.items():
            self.index.put(key, position)

    def read_back(self, source: PageSource) -> None:
        queue = self.queue
        for level in range(int(queue.levels)):
            after = 0
            while page := source.load(int(queue.id) + level, after, PAGE_MESSAGES, PAGE_BYTES):
                after = page[-1].position
                for stored in page:
                    if HEADER not in stored.properties:
                        continue
                    key = key_of(header_from_properties(stored.properties, len(stored.body)))
                    if key is not None:
                        self.index.put(key, stored.position)


class QueueDeduplication(Feature):
    """A window's part in its queue."""

    def __init__(self, shared: Deduplication, window: QueueWindow) -> None:
        self.shared = shared
        self.window = window

    def swallow(self, queue: ClassicQueue, message: Message) -> bool:
        window = self.window
        key = window.key(message)
        if key is None or window.index.get(key) is None:
            return False
        window.duplicates += 1
        if window.batch > queue.shard.journal.committed:
            message.holders += 1  # rule 2: its confirm waits for the open batch, which comes after that one
        return True

    def stamp(self, queue: ClassicQueue, entry: Entry) -> None:
        window = self.window
        window.remember(entry.message, int(entry.position))
        if queue.durable and window.key(entry.message) is not None:
            window.batch = int(queue.shard.journal.number)

    def taken(self, queue: ClassicQueue, entry: Entry) -> None:
        key = self.window.key(entry.message)
        if key is not None:
            self.window.in_flight[int(entry.position)] = key

    def back(self, queue: ClassicQueue, entry: Entry) -> None:
        self.window.in_flight.pop(int(entry.position), None)
        self.window.remember(entry.message, int(entry.position))

    def left(self, queue: ClassicQueue, entry: Entry) -> None:
        self.window.forget(entry.message, int(entry.position))

    def purged(self, queue: ClassicQueue) -> None:
        self.window.keep_in_flight()

    def detached(self, queue: ClassicQueue) -> None:
        if queue.deleted:
            self.shared.queues.pop(queue, None)


def attach(shared: Deduplication, queue: Queue) -> None:
    field = queue.arguments.get(ARGUMENT)
    if field is None or field.value is not True or not isinstance(queue, ClassicQueue):
        return
    window = shared.queues.get(queue)
    if window is None:
        window = shared.queues[queue] = QueueWindow(queue)
    queue.attach(QueueDeduplication(shared, window))
