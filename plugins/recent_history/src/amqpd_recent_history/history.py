"""The last messages of an exchange: an internal queue that is told, not consumed.

1. It holds ``length`` messages; the oldest goes when one more comes. One with a true header
   ``x-recent-history-no-store`` is not kept.
2. On a durable exchange persistent messages are stored, and read back at the start, before any client can ask for them.
3. Whoever wants the history gets copies: a message may go to the same queue twice, its entry may not.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from amqpd.broker.batch import QueueSummary
from amqpd.broker.message import NOT_STORED, Entry, Message
from amqpd.broker.queue import Consumer, Lane, Queue
from amqpd.broker.shard import PageSource, Shard
from amqpd.queues.restored import Restored
from amqpd.wire.table import Table

NO_STORE: Final = "x-recent-history-no-store"
PAGE_MESSAGES: Final = 1_000
PAGE_BYTES: Final = 16 << 20


class History(Queue):
    """``entries``: oldest first."""

    def __init__(
        self, shard: Shard, vhost: str, name: str, durable: bool, auto_delete: bool, owner: object, arguments: Table
    ) -> None:
        super().__init__(shard, vhost, name, durable, auto_delete, owner, arguments)
        self.aside = True
        self.lane = Lane(self, 0)
        self.length = 0
        self.entries: deque[Entry] = deque()

    def identify(self, first: int) -> None:
        self.id = first
        self.lane = Lane(self, 0)

    def publish(self, message: Message) -> bool:
        if _is_not_for_us(message):
            return True
        journal = self.shard.journal
        entry = journal.place(message, self.lane)
        if self.durable and message.header.persistent:
            journal.insert(entry)
        self.entries.append(entry)
        self._trim()
        return True

    def _trim(self) -> None:
        while len(self.entries) > self.length:
            entry = self.entries.popleft()
            if entry.batch != NOT_STORED:
                self.shard.journal.settle(entry)

    def copies(self) -> list[Message]:
        """The messages, oldest first, each as if it had just been published."""
        messages = [entry.message for entry in self.entries]
        return [Message(message.address, message.header, message.body) for message in messages]

    def read_back(self, source: PageSource) -> None:
        """At the start: what the store holds."""
        restored = Restored()
        after = 0
        while page := source.load(int(self.lane.id), after, PAGE_MESSAGES, PAGE_BYTES):
            after = page[-1].position
            self.entries.extend([restored.entry(stored, self.lane) for stored in page])
            self._trim()

    # A queue

    def restore(self, level: int, row: QueueSummary, redelivered: int) -> None:
        self.lane.stored_messages = row.messages
        self.lane.stored_bytes = row.bytes

    def message_count(self) -> int:
        return len(self.entries)

    def unacked_count(self) -> int:
        return 0

    def consumers(self) -> list[Consumer]:
        return []

    def pump(self) -> None:
        """Nobody consumes it."""

    def dispose(self) -> None:
        self.deleted = True
        self.entries.clear()


def _is_not_for_us(message: Message) -> bool:
    octets = message.header.headers
    if octets is None or NO_STORE.encode() not in octets:
        return False
    field = message.header.table().get(NO_STORE)
    return field is not None and field.value is True
