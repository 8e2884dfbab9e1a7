"""The classic queue: first in, first out, round robin over its consumers. Hot."""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from amqpd.broker.batch import StoredEntry
from amqpd.broker.message import NOT_STORED, Entry, Message
from amqpd.broker.queue import Consumer, Queue
from amqpd.broker.shard import Shard
from amqpd.queues.ready import FifoReady
from amqpd.queues.ring import ConsumerRing
from amqpd.wire.table import Table

# Messages delivered by one pump before other queues and the sockets get their turn.
PUMP_MAX: Final = 10_000
POSITION_MAX: Final = (1 << 63) - 1


@mypyc_attr(allow_interpreted_subclasses=True)
class Feature:
    """A seam of the classic queue: one RabbitMQ extension each, the queue knows none by name.

    A queue keeps a list per hook with just the features that override it, so one it does not use costs nothing.
    """

    def admit(self, queue: ClassicQueue, message: Message) -> bool:
        """Before a message enters; False refuses it, which a confirming publisher hears as basic.nack."""
        return True

    def entered(self, queue: ClassicQueue) -> None:
        """After messages became ready: published, requeued, or read back from disk."""


@final
class ClassicQueue(Queue):
    def __init__(
        self,
        shard: Shard,
        vhost: str,
        name: str,
        durable: bool,
        auto_delete: bool,
        owner: object,
        arguments: Table,
    ) -> None:
        super().__init__(shard, vhost, name, durable, auto_delete, owner, arguments)
        self.ready: FifoReady = FifoReady(shard, self)
        self.ring: ConsumerRing = ConsumerRing()
        self.in_flight: i64 = 0
        self.last_delivered: i64 = 0
        self.admitting: list[Feature] = []
        self.entering: list[Feature] = []

    def attach(self, feature: Feature) -> None:
        """Let ``feature`` take part from now on."""
        kind = type(feature)
        if kind.admit is not Feature.admit:
            self.admitting.append(feature)
        if kind.entered is not Feature.entered:
            self.entering.append(feature)

    def publish(self, message: Message) -> bool:
        if self.admitting:
            for feature in self.admitting:
                if not feature.admit(self, message):
                    return False
        journal = self.shard.journal
        entry = journal.place(message, self)
        if self.durable and message.header.persistent:
            journal.insert(entry)
        self.ready.push(entry)
        if not self.dirty:
            self.dirty = True
            self.shard.dirty.append(self)
        return True

    def drop_head(self) -> bool:
        """Drop the oldest ready message; False when there is none in memory (its page was asked for)."""
        entry = self.ready.pop()
        if entry is None:
            return False
        if entry.batch != NOT_STORED:
            self.shard.journal.settle(entry)
        return True

    def pump(self) -> None:
        self._deliver()
        if self.entering:
            for feature in self.entering:
                feature.entered(self)

    def _deliver(self) -> None:
        ready = self.ready
        ring = self.ring
        count: i64 = 0
        while ready.available():
            if count == PUMP_MAX:
                self.mark_dirty()
                return
            consumer = ring.next()
            if consumer is None:
                return
            entry = ready.pop()
            assert entry is not None
            count += 1
            if entry.position > self.last_delivered:
                self.last_delivered = entry.position
            if consumer.no_ack:
                if entry.batch != NOT_STORED:
                    self.shard.journal.settle(entry)
            else:
                self.in_flight += 1
            consumer.channel.deliver(consumer, entry)

    def settle(self, entry: Entry) -> None:
        if self.deleted:
            return
        self.in_flight -= 1
        if entry.batch != NOT_STORED:
            self.shard.journal.settle(entry)

    def reject(self, entry: Entry) -> None:
        self.settle(entry)

    def requeue(self, entry: Entry) -> None:
        if self.deleted:
            return
        self.in_flight -= 1
        entry.redelivered = True
        entry.consumer = None
        self.ready.put_back(entry)
        self.mark_dirty()

    def get(self) -> Entry | None:
        entry = self.ready.pop()
        if entry is None:
            return None
        self.in_flight += 1
        if entry.position > self.last_delivered:
            self.last_delivered = entry.position
        return entry

    def consume(self, consumer: Consumer) -> None:
        self.ring.add(consumer)
        self.mark_dirty()

    def cancel(self, consumer: Consumer) -> bool:
        consumer.cancelled = True
        self.ring.remove(consumer)
        return self.auto_delete and not self.ring.all

    def resume(self, consumer: Consumer) -> None:
        self.ring.resume(consumer)
        self.mark_dirty()

    def consumers(self) -> list[Consumer]:
        return self.ring.all

    def message_count(self) -> int:
        return int(self.ready.count())

    def ready_bytes(self) -> int:
        """Octets of the ready messages' bodies."""
        return int(self.ready.ready_bytes)

    def unacked_count(self) -> int:
        return int(self.in_flight)

    def loading(self) -> bool:
        return self.ready.loading()

    def purge(self) -> int:
        ready = self.ready
        journal = self.shard.journal
        count = int(ready.count())
        for entry in ready.in_memory():
            if entry.batch != NOT_STORED:
                journal.settle(entry)
        if ready.disk_messages:
            journal.purged.append((int(self.id), int(ready.disk_after) + 1, int(ready.disk_last)))
            if ready.disk_durable:
                self.stored_messages -= ready.disk_durable
                self.stored_bytes -= ready.disk_durable_bytes
                journal.depth_touched(self)
        ready.clear()
        return count

    def dispose(self) -> None:
        self.deleted = True
        if self.ready.pages and not self.durable:
            # No definition is dropped with it: what it paged out, wherever that is now, goes here.
            self.shard.journal.purged.append((int(self.id), 0, POSITION_MAX))
        self.ready.clear()
        self.in_flight = 0

    def batch_committed(self, number: i64) -> None:
        self.ready.committed(number)

    def page_loaded(self, generation: int, entries: list[StoredEntry]) -> None:
        self.ready.page_loaded(generation, entries)
        self.shard.loaded.append(self)
        self.mark_dirty()

    def restore(self, messages: int, size: int, first: int, last: int, redelivered: int) -> None:
        self.stored_messages = messages
        self.stored_bytes = size
        self.ready.restore(messages, size, first, last, redelivered)
        # Clients that get before anybody consumed should not wait for the first page each time.
        self.last_delivered = redelivered

    def delivered_up_to(self) -> int:
        return int(self.last_delivered)
