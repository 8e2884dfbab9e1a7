"""The classic queue: first in, first out, round robin over its consumers. Hot.

What else a queue can do comes from its parts: the order of its messages (``ReadyList``), whose turn it is
(``ConsumerRing``), and features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from amqpd.broker.batch import QueueSummary, StoredEntry
from amqpd.broker.letters import EXPIRED, REJECTED, Letter
from amqpd.broker.message import NOT_STORED, Entry, Message
from amqpd.broker.queue import Consumer, Lane, Queue
from amqpd.broker.shard import PageRequest, Shard
from amqpd.queues.delayed import Delayed
from amqpd.queues.ready import FifoReady
from amqpd.queues.ready_list import ReadyList
from amqpd.queues.ring import ConsumerRing
from amqpd.spec.arguments import STREAM_OFFSET
from amqpd.spec.declaring import of_another_type
from amqpd.wire.table import Table

# Messages delivered by one pump before other queues and the sockets get their turn.
PUMP_MAX: Final = 10_000
POSITION_MAX: Final = (1 << 63) - 1


@mypyc_attr(allow_interpreted_subclasses=True)
class Feature:
    """A seam of the classic queue: one RabbitMQ extension each, the queue knows none by name.

    A queue keeps a list per hook with just the features that override it, so one it does not use costs nothing.
    Features are made anew when the queue's settings change: what must last lies in the queue and its entries.
    """

    def swallow(self, queue: ClassicQueue, message: Message) -> bool:
        """Before a message is admitted; True drops it, which a confirming publisher hears as basic.ack."""
        return False

    def admit(self, queue: ClassicQueue, message: Message) -> bool:
        """Before a message enters; False refuses it, which a confirming publisher hears as basic.nack."""
        return True

    def stamp(self, queue: ClassicQueue, entry: Entry) -> None:
        """An admitted message has its entry, which is neither stored nor ready yet."""

    def pumping(self, queue: ClassicQueue) -> None:
        """Before messages are delivered or got."""

    def entered(self, queue: ClassicQueue) -> None:
        """After what could be delivered was: messages were published, requeued, or read back from disk."""

    def returned(self, queue: ClassicQueue, entry: Entry, cause: i64) -> bool:
        """An entry in flight comes back (NACKED ...). False: it was dealt with, it does not become ready now."""
        return True

    # Where entries are, for a feature that overrides ``left``:

    def taken(self, queue: ClassicQueue, entry: Entry) -> None:
        """An entry is in flight from now on."""

    def back(self, queue: ClassicQueue, entry: Entry) -> None:
        """An entry that was in flight, or dead, is ready again."""

    def left(self, queue: ClassicQueue, entry: Entry) -> None:
        """An entry left for good: acknowledged, or handed out to a consumer that does not, dead, or purged."""

    def purged(self, queue: ClassicQueue) -> None:
        """What was on disk only was purged too, unseen: just what is in flight is left."""

    def used(self, queue: ClassicQueue) -> None:
        """It was declared again, got from, or its consumers changed."""

    def detached(self, queue: ClassicQueue) -> None:
        """The settings changed or the queue is deleted: this feature takes no part any more."""


@final
class ClassicQueue(Queue):
    """``dead_letters``: what leaves for good other than by ack goes to a dead-letter exchange.

    ``stores_all``: transient messages are stored like persistent ones.
    ``expiring``: entries may have deadlines. ``on_expiration``: called with the queue before the first message with
    an expiration property enters, or when such are found at start; for the feature that waits for that.
    ``held``: expired messages are in the way and cannot leave now, so nothing is delivered.
    ``unfinished``: the last pump did not deliver all that can be.
    ``kept``, ``kept_bytes``: dead letters that nobody takes yet, and octets of their bodies: out of the lists, still
    stored here.
    """

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
        self.ready: ReadyList = FifoReady(shard, self)
        self.ring: ConsumerRing = ConsumerRing()
        self.in_flight: i64 = 0
        self.dead_letters: bool = False
        self.stores_all: bool = False
        self.expiring: bool = False
        self.on_expiration: Callable[[ClassicQueue], None] | None = None
        self.held: bool = False
        self.unfinished: bool = False
        self.kept: i64 = 0
        self.kept_bytes: i64 = 0
        self.delayed: Delayed | None = None
        self.features: list[Feature] = []
        self.swallowing: list[Feature] = []
        self.admitting: list[Feature] = []
        self.stamping: list[Feature] = []
        self.pumped: list[Feature] = []
        self.entering: list[Feature] = []
        self.returning: list[Feature] = []
        self.following: list[Feature] = []
        self.using: list[Feature] = []

    def identify(self, first: i64) -> None:
        self.id = first
        self.ready.identify(first)

    def reconfigure(self, features: Sequence[Callable[[Queue], None]]) -> None:
        self._detach_all()
        self.dead_letters = self.text("dead-letter-exchange") is not None
        for attach in features:
            attach(self)
        for consumer in self.ring.all:
            consumer.channel.settings_changed(consumer)
        self.mark_dirty()

    def attach(self, feature: Feature) -> None:
        """Let ``feature`` take part from now on."""
        kind = type(feature)
        self.features.append(feature)
        if kind.swallow is not Feature.swallow:
            self.swallowing.append(feature)
        if kind.admit is not Feature.admit:
            self.admitting.append(feature)
        if kind.stamp is not Feature.stamp:
            self.stamping.append(feature)
        if kind.pumping is not Feature.pumping:
            self.pumped.append(feature)
        if kind.entered is not Feature.entered:
            self.entering.append(feature)
        if kind.returned is not Feature.returned:
            self.returning.append(feature)
        if kind.left is not Feature.left:
            self.following.append(feature)
        if kind.used is not Feature.used:
            self.using.append(feature)

    def _detach_all(self) -> None:
        self.on_expiration = None
        self.held = False
        for feature in self.features:
            feature.detached(self)
        self.features = []
        self.swallowing = []
        self.admitting = []
        self.stamping = []
        self.pumped = []
        self.entering = []
        self.returning = []
        self.following = []
        self.using = []

    def publish(self, message: Message) -> bool:
        if self.swallowing:
            for feature in self.swallowing:
                if feature.swallow(self, message):
                    return True
        if self.admitting:
            for feature in self.admitting:
                if not feature.admit(self, message):
                    return False
        if message.header.expiration is not None:
            self._expect_expiry()
        journal = self.shard.journal
        ready = self.ready
        entry = journal.place(message, ready.lane_for(message))
        if self.stamping:
            for feature in self.stamping:
                feature.stamp(self, entry)
        if self.durable and (message.header.persistent or self.stores_all):
            journal.insert(entry)
        ready.push(entry)
        if not self.dirty:
            self.dirty = True
            self.shard.dirty.append(self)
        return True

    def _expect_expiry(self) -> None:
        attach = self.on_expiration
        if attach is not None:
            self.on_expiration = None
            attach(self)

    def drop_head(self, reason: str) -> bool:
        """Drop the oldest ready message; False when there is none in memory (its page was asked for)."""
        entry = self.ready.pop()
        if entry is None:
            return False
        self.dead(entry, reason)
        return True

    def dead(self, entry: Entry, reason: str) -> None:
        """An entry that is neither ready nor in flight any more leaves for good, for one of the reasons of
        amqpd/broker/letters.py.
        """
        if self.following:
            self._left(entry)
        if self.dead_letters:
            self.shard.letters.append(Letter(entry, reason))
        elif entry.batch != NOT_STORED:
            self.shard.journal.settle(entry)

    def pump(self) -> None:
        if self.pumped:
            for feature in self.pumped:
                feature.pumping(self)
        if not self.held:
            self._deliver()
        if self.entering:
            for feature in self.entering:
                feature.entered(self)

    def _deliver(self) -> None:
        ready = self.ready
        ring = self.ring
        count: i64 = 0
        self.unfinished = False
        if not ring.all:
            return  # and read nothing for nobody: at a start every queue is pumped
        while ready.available():
            if count == PUMP_MAX:
                self.unfinished = True
                self.mark_dirty()
                return
            consumer = ring.next()
            if consumer is None:
                return
            entry = ready.pop()
            assert entry is not None
            count += 1
            lane = entry.lane
            if entry.position > lane.last_delivered:
                lane.last_delivered = entry.position
            if consumer.no_ack:
                if entry.batch != NOT_STORED:
                    self.shard.journal.settle(entry)
            else:
                self.in_flight += 1
            if self.following:
                if consumer.no_ack:
                    self._left(entry)
                else:
                    self._taken(entry)
            consumer.channel.deliver(consumer, entry)

    def _taken(self, entry: Entry) -> None:
        for feature in self.following:
            feature.taken(self, entry)

    def _left(self, entry: Entry) -> None:
        for feature in self.following:
            feature.left(self, entry)

    def settle(self, entry: Entry) -> None:
        if self.deleted:
            return
        self.in_flight -= 1
        if self.following:
            self._left(entry)
        if entry.batch != NOT_STORED:
            self.shard.journal.settle(entry)

    def reject(self, entry: Entry) -> None:
        if self.deleted:
            return
        self.in_flight -= 1
        self.dead(entry, REJECTED)

    def requeue(self, entry: Entry, cause: i64) -> None:
        if self.deleted:
            return
        self.in_flight -= 1
        entry.redelivered = True
        entry.consumer = None
        self.mark_dirty()
        if self.returning:
            for feature in self.returning:
                if not feature.returned(self, entry, cause):
                    return
        self.put_back(entry)

    def put_back(self, entry: Entry) -> None:
        """An entry that was in flight, or dead, is ready again, in its place."""
        if self.following:
            for feature in self.following:
                feature.back(self, entry)
        self.ready.put_back(entry)

    def delay(self, entry: Entry, delay_ms: int) -> None:
        """An entry that came back becomes ready again only after ``delay_ms``; until then it counts as in flight."""
        if self.delayed is None:
            self.delayed = Delayed(self)
        self.in_flight += 1
        self.delayed.add(entry, delay_ms)

    def delayed_count(self) -> int:
        """Messages that came back and wait before they are ready again; ``unacked_count`` has them, too."""
        return len(self.delayed.heap) if self.delayed is not None else 0

    def release(self, entry: Entry) -> None:
        """Its delay is over."""
        self.in_flight -= 1
        self.put_back(entry)
        self.mark_dirty()

    def get(self) -> Entry | None:
        if self.using:
            self._used()
        if self.dirty and (self.pumped or self.entering):
            self.pump()  # consumers come first; what only they can have, or is over a limit, does not wait for this
        elif self.pumped:
            for feature in self.pumped:
                feature.pumping(self)
        if self.pumped and self.held:
            return None
        entry = self.ready.pop()
        if entry is None:
            return None
        self.in_flight += 1
        if self.following:
            self._taken(entry)
        lane = entry.lane
        if entry.position > lane.last_delivered:
            lane.last_delivered = entry.position
        return entry

    def redeclared(self) -> None:
        self._used()

    def _used(self) -> None:
        for feature in self.using:
            feature.used(self)

    def check_consume(self, arguments: Table, no_ack: bool, prefetch: int, per_channel: int) -> None:
        """Raises PreconditionFailed (406) where the consumer takes it for a stream."""
        if STREAM_OFFSET in arguments:
            raise of_another_type(STREAM_OFFSET, self.name, self.vhost, self.kind)

    def consume(self, consumer: Consumer) -> None:
        self.ring.add(consumer)
        self.mark_dirty()
        self._used()

    def cancel(self, consumer: Consumer) -> bool:
        consumer.cancelled = True
        self.ring.remove(consumer)
        self.mark_dirty()
        self._used()
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
        return int(self.ready.size())

    def unacked_count(self) -> int:
        return int(self.in_flight)

    def apart(self) -> i64:
        return self.in_flight + self.kept

    def loading(self) -> bool:
        return self.held or self.ready.loading()

    def purge(self) -> int:
        ready = self.ready
        count = int(ready.count())
        ready.purge_disk()
        entries = ready.take_all()
        if self.delayed is not None:
            delayed = self.delayed.take_all()
            entries.extend(delayed)
            count += len(delayed)
            self.in_flight -= len(delayed)
        for entry in entries:
            if entry.batch != NOT_STORED:
                self.shard.journal.settle(entry)
        if self.following:
            self._purged(entries)
        return count

    def _purged(self, entries: list[Entry]) -> None:
        for entry in entries:
            self._left(entry)
        for feature in self.following:
            feature.purged(self)

    def dispose(self) -> None:
        self.deleted = True
        if self.loading():
            self.shard.loaded.append(self)  # a basic.get that waits must hear that there is no queue any more
        self._detach_all()
        if self.ready.paged() and not self.durable:
            # No definition is dropped with it: what it paged out, wherever that is now, goes here.
            for lane in self.ready.lanes():
                self.shard.journal.purged.append((int(lane.id), 0, POSITION_MAX))
        self.ready.take_all()
        if self.delayed is not None:
            self.delayed.take_all()
        self.in_flight = 0

    def batch_committed(self, number: i64) -> None:
        self.ready.committed(number)

    def page_loaded(self, request: PageRequest, entries: list[StoredEntry]) -> None:
        for entry in self.ready.page_loaded(request, entries):
            self.dead(entry, EXPIRED)
        if self.on_expiration is not None and self.ready.next_deadline():
            self._expect_expiry()
        self.shard.loaded.append(self)
        self.mark_dirty()

    def restore(self, level: int, row: QueueSummary, redelivered: int) -> None:
        self.ready.restore(level, row, redelivered)
        if row.next_deadline:
            self._expect_expiry()

    def lanes(self) -> list[Lane]:
        return self.ready.lanes()
