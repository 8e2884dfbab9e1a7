"""The last messages of an exchange: an internal queue that is told, not consumed.

1. It holds ``length`` messages; the oldest goes when one more comes. One with the header
   ``x-recent-history-no-store`` is not kept.
2. On a durable exchange persistent messages are stored, and found again after a restart.
3. Whoever wants the history gets copies, the oldest first. After a restart it waits until they were read back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from amqpd.broker.batch import QueueSummary, StoredEntry
from amqpd.broker.message import NOT_STORED, Entry, Message
from amqpd.broker.queue import Consumer, Lane, Queue
from amqpd.broker.shard import PageRequest, Shard
from amqpd.queues.restored import Restored
from amqpd.wire.table import Table

NO_STORE: Final = "x-recent-history-no-store"
BYTES_MAX: Final = (1 << 63) - 1

Listener = Callable[[Message], None]


class History(Queue):
    """``entries``: oldest first. ``waiting``: who wants the history, while it is read back."""

    def __init__(
        self, shard: Shard, vhost: str, name: str, durable: bool, auto_delete: bool, owner: object, arguments: Table
    ) -> None:
        super().__init__(shard, vhost, name, durable, auto_delete, owner, arguments)
        self.aside = True
        self.lane = Lane(self, 0)
        self.length = 0
        self.stored = 0  # messages found at the start, until they are read
        self.entries: deque[Entry] = deque()
        self.waiting: list[Listener] = []
        self.restored = Restored()

    def identify(self, first: int) -> None:
        self.id = first
        self.lane = Lane(self, 0)

    def keep(self, length: int) -> None:
        """``length``: how many messages at most."""
        self.length = length
        if self.stored:
            self.shard.page_requests.append(PageRequest(self.lane, 0, 0, self.stored, BYTES_MAX))

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
        while len(self.entries) > self.length and not self.stored:
            self._settle(self.entries.popleft())

    def _settle(self, entry: Entry) -> None:
        if entry.batch != NOT_STORED:
            self.shard.journal.settle(entry)

    def tell(self, listener: Listener) -> None:
        """Give ``listener`` a copy of each message, now or as soon as they were read."""
        if self.stored:
            self.waiting.append(listener)
            return
        for entry in list(self.entries):
            message = entry.message
            listener(Message(message.address, message.header, message.body))

    # A queue

    def restore(self, level: int, row: QueueSummary, redelivered: int) -> None:
        self.lane.stored_messages = row.messages
        self.lane.stored_bytes = row.bytes
        self.stored = row.messages

    def page_loaded(self, request: PageRequest, entries: list[StoredEntry]) -> None:
        self.stored = 0
        self.entries.extendleft([self.restored.entry(stored, self.lane) for stored in reversed(entries)])
        self._trim()
        waiting, self.waiting = self.waiting, []
        for listener in waiting:
            self.tell(listener)

    def message_count(self) -> int:
        return self.stored + len(self.entries)

    def unacked_count(self) -> int:
        return 0

    def consumers(self) -> list[Consumer]:
        return []

    def pump(self) -> None:
        """Nobody consumes it."""

    def dispose(self) -> None:
        self.deleted = True
        self.entries.clear()
        self.waiting.clear()


def _is_not_for_us(message: Message) -> bool:
    octets = message.header.headers
    if octets is None or NO_STORE.encode() not in octets:
        return False
    field = message.header.table().get(NO_STORE)
    return field is not None and field.value is True
