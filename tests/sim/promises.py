"""What the broker promises, written down once: a model of what clients may expect, and the checks.

The simulation tells the model what clients do (``publish``, ``settle``, ``delete`` ...) and what came back
(``delivered``, ``confirmed``); the model knows at each moment what must lie where. The promises:

1. *Confirmed is safe*: a confirmed persistent message on a durable queue is there after a crash, unless
   it was settled, purged, or its queue deleted. So is a durable queue that a client was told of.
2. *Settled is gone*: what a committed batch settled never comes back; what it did not settle does. Both follow
   from one rule: after batch n the store holds exactly what the model held when batch n was sealed.
3. *Order*: a queue delivers its oldest ready message first; a requeued one keeps its place.
4. *Flagged*: a second delivery says redelivered and a first one does not. After an unclean end every message
   found is flagged; after a clean one those that were delivered, or lie before one that was.
5. *Once*: nothing in flight or settled is delivered again.
6. *Counters equal lengths*: message_count, unacked, consumers, the window, the journal, the depths on disk.
7. *No orphans*: the store holds no body nobody refers to, and no entry of a message that is done with.
8. *No standstill*: once the store has caught up, every confirm is out, nobody waits for a page, and no ready
   message lies before a consumer that may take it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from amqpd.broker.batch import PAGED
from amqpd.broker.broker import Broker
from amqpd.broker.queue import Queue
from amqpd.broker.shard import MESSAGE_COST
from amqpd.queues.classic import ClassicQueue
from amqpd.queues.ready import FifoReady
from amqpd.store.contract import StoreReader
from amqpd.store.memory import MemoryDisk


class Copy:
    """A message in one queue. ``place``: order of arrival. ``stored``: persistent, on a durable queue.

    ``flagged``: the next delivery must say redelivered.
    """

    def __init__(self, place: int, body: bytes, stored: bool) -> None:
        self.place = place
        self.body = body
        self.stored = stored
        self.flagged = False
        self.confirmed = False

    def __repr__(self) -> str:
        return f"{self.body[:6].decode()}{'!' if self.stored else ''}"


class Subscription:
    """A consumer as its client sees it."""

    def __init__(self, tag: str, session: Session, queue: QueueModel, prefetch: int, no_ack: bool) -> None:
        self.tag = tag
        self.session = session
        self.queue = queue
        self.prefetch = prefetch
        self.no_ack = no_ack
        self.unacked = 0


class QueueModel:
    """``ready`` and ``in_flight``: copies by body. ``last_delivered``: the highest place delivered so far.

    ``declared``: a client was told that it is there. ``arguments``: what it is declared with.
    """

    def __init__(self, name: str, durable: bool, auto_delete: bool) -> None:
        self.name = name
        self.arguments: dict[str, Any] = {}
        self.durable = durable
        self.auto_delete = auto_delete
        self.identity = 0
        self.ready: dict[bytes, Copy] = {}
        self.in_flight: dict[bytes, Copy] = {}
        self.subscriptions: list[Subscription] = []
        self.last_delivered = 0
        self.alive = True
        self.declared = False

    def copies(self) -> list[Copy]:
        """Everything that is not done with, in order."""
        return sorted([*self.ready.values(), *self.in_flight.values()], key=lambda copy: copy.place)

    def message_count(self) -> int:
        return len(self.ready)

    def enter(self, place: int, pending: Pending) -> Copy:
        """A message was published here."""
        copy = self.ready[pending.body] = Copy(place, pending.body, pending.persistent and self.durable)
        return copy

    def handed_out(self, copy: Copy) -> None:
        """It was delivered, and wants an acknowledgement."""
        self.in_flight[copy.body] = copy

    def settled(self, copy: Copy, how: str) -> None:
        """Of what was handed out."""
        del self.in_flight[copy.body]
        if how == "requeue":
            copy.flagged = True
            self.ready[copy.body] = copy

    def has_for(self, subscription: Subscription) -> bool:
        """Whether the consumer is to get something, once it may take it."""
        return bool(self.ready)

    def restored(self, copies: tuple[Copy, ...], clean: bool) -> QueueModel:
        """The queue after a restart. ``copies``: what the store held of it."""
        queue = QueueModel(self.name, True, self.auto_delete)
        queue.identity = self.identity
        mark = self.last_delivered
        if not clean:
            mark = copies[-1].place if copies else 0
        queue.last_delivered = mark
        for copy in copies:
            again = Copy(copy.place, copy.body, True)
            again.flagged = copy.place <= mark
            again.confirmed = copy.confirmed
            queue.ready[copy.body] = again
        return queue

    def counters_equal_lengths(self, queue: Queue) -> int:
        """Promise 6 for ``queue``; returns what it may count in the window."""
        assert isinstance(queue, ClassicQueue)
        assert queue.unacked_count() == len(self.in_flight), self.name
        ready = queue.ready
        assert isinstance(ready, FifoReady)
        assert ready.disk_messages >= ready.disk_durable >= 0
        in_memory = [*ready.head.entries(), *(entry for _, entry in ready.returned)]
        held = sum(MESSAGE_COST + entry.message.header.body_size for entry in in_memory)
        assert ready.memory_bytes == held, self.name
        return int(held)

    def store_holds(self, reader: StoreReader, copies: tuple[Copy, ...]) -> None:
        """What there is to look at in the store beside the entries of ``copies`` and their number."""


class InFlight(NamedTuple):
    queue: QueueModel
    copy: Copy
    subscription: Subscription | None


class Pending(NamedTuple):
    """A publish whose message is not in its queues yet (an open transaction)."""

    body: bytes
    queues: list[QueueModel]
    persistent: bool
    mandatory: bool


class Session:
    """A channel as its client sees it.

    ``unanswered``: publishes that wait for a confirm, by number.
    ``expected``: replies to come, each with what to do then.
    """

    def __init__(self, confirms: bool, transactional: bool) -> None:
        self.confirms = confirms
        self.transactional = transactional
        self.subscriptions: dict[str, Subscription] = {}
        self.unacked: dict[int, InFlight] = {}
        self.delivery_tag = 0
        self.prefetch_global = 0
        self.flowing = True
        self.in_flight = 0
        self.published = 0
        self.unanswered: dict[int, list[Copy]] = {}
        self.returns: list[bytes] = []
        self.publishes: list[Pending] = []
        self.settlements: list[tuple[list[int], str]] = []
        self.expected: deque[tuple[str, Callable[[dict[str, Any]], None]]] = deque()

    def take_tag(self, tag: int) -> None:
        """A delivery came."""
        self.delivery_tag += 1
        assert tag == self.delivery_tag, f"delivery tag {tag} after {self.delivery_tag - 1}"


class StoredQueue(NamedTuple):
    """What the store must hold of a queue."""

    queue: QueueModel
    copies: tuple[Copy, ...]


class Snapshot(NamedTuple):
    """What the store must hold once a batch is committed.

    ``live``: (queue, body) of everything that is not done with, for what is paged out.
    """

    queues: tuple[StoredQueue, ...]
    exchanges: frozenset[str]
    bindings: frozenset[tuple[str, str]]
    live: frozenset[tuple[int, bytes]]


class Model:
    """``exchanges``: names to (durable, auto_delete); all are fanouts. ``bindings``: (exchange, queue)."""

    def __init__(self) -> None:
        self.queues: dict[str, QueueModel] = {}
        self.exchanges: dict[str, tuple[bool, bool]] = {"amq.fanout": (True, False)}
        self.bindings: set[tuple[str, str]] = set()
        self.snapshots: dict[int, Snapshot] = {}
        self.cancels: list[Subscription] = []
        self.places = 0
        self._turn: list[tuple[QueueModel, Copy]] = []

    # What clients do

    def route(self, target: str) -> list[QueueModel]:
        if target in self.exchanges:
            return [self.queues[queue] for exchange, queue in sorted(self.bindings) if exchange == target]
        return [self.queues[target]] if target in self.queues else []

    def publish(self, session: Session, pending: Pending) -> list[Copy]:
        """The message reaches its queues. Returns its copies."""
        self.places += 1
        copies = []
        queues = [queue for queue in pending.queues if queue.alive]
        for queue in queues:
            copies.append(queue.enter(self.places, pending))
        if not queues and pending.mandatory:
            session.returns.append(pending.body)
        if session.confirms:
            session.published += 1
            session.unanswered[session.published] = copies
        return copies

    def settle(self, session: Session, tags: Iterable[int], how: str) -> None:
        """``how``: ``done`` (acked, or refused for good) or ``requeue``."""
        for tag in tags:
            queue, copy, subscription = session.unacked.pop(tag)
            if subscription is not None:
                subscription.unacked -= 1
                session.in_flight -= 1
            if queue.alive:
                queue.settled(copy, how)

    def purge(self, queue: QueueModel) -> int:
        count = len(queue.ready)
        queue.ready.clear()
        return count

    def delete(self, queue: QueueModel) -> None:
        queue.alive = False
        del self.queues[queue.name]
        for subscription in queue.subscriptions:
            self.cancels.append(subscription)
        queue.subscriptions.clear()
        for binding in [binding for binding in self.bindings if binding[1] == queue.name]:
            self.unbind(*binding)

    def unbind(self, exchange: str, queue: str) -> None:
        if (exchange, queue) not in self.bindings:
            return
        self.bindings.discard((exchange, queue))
        if self.exchanges[exchange][1] and not any(source == exchange for source, _ in self.bindings):
            del self.exchanges[exchange]

    def delete_exchange(self, exchange: str) -> None:
        del self.exchanges[exchange]
        self.bindings = {binding for binding in self.bindings if binding[0] != exchange}

    def unsubscribe(self, subscription: Subscription) -> None:
        """The client cancels, or its channel ends."""
        subscription.session.subscriptions.pop(subscription.tag, None)
        queue = subscription.queue
        if queue.alive:
            queue.subscriptions.remove(subscription)
            if queue.auto_delete and not queue.subscriptions:
                self.delete(queue)

    def end(self, session: Session) -> None:
        """A channel ends: what is in flight goes back before its consumers go."""
        self.settle(session, list(session.unacked), "requeue")
        for subscription in list(session.subscriptions.values()):
            self.unsubscribe(subscription)
        # Nobody is told any more.
        self.cancels = [one for one in self.cancels if one.session is not session]

    # What comes back

    def delivered(self, session: Session, queue: QueueModel, tag: int, redelivered: bool, body: bytes) -> Copy:
        """Promises 4 and 5; order is looked at when the turn is over."""
        assert queue.alive, f"{body!r} was delivered from {queue.name}, which is deleted"
        assert body in queue.ready, (
            f"{body!r} of {queue.name} was delivered again: "
            f"{'it is in flight' if body in queue.in_flight else 'it is done with'}"
        )
        copy = queue.ready.pop(body)
        assert redelivered == copy.flagged, f"{copy} of {queue.name} says redelivered={redelivered}"
        session.take_tag(tag)
        queue.last_delivered = max(queue.last_delivered, copy.place)
        self._turn.append((queue, copy))
        return copy

    def in_flight(self, session: Session, queue: QueueModel, copy: Copy, subscription: Subscription | None) -> None:
        """The delivery wants an acknowledgement."""
        queue.handed_out(copy)
        session.unacked[session.delivery_tag] = InFlight(queue, copy, subscription)
        if subscription is not None:
            subscription.unacked += 1
            session.in_flight += 1
            assert not subscription.prefetch or subscription.unacked <= subscription.prefetch, "over prefetch"

    def turn_over(self) -> None:
        """Promise 3: what was delivered in a turn was older than what stays behind."""
        turn, self._turn = self._turn, []
        for queue, copy in turn:
            younger = [other for other in queue.ready.values() if other.place < copy.place]
            assert not younger, f"{queue.name} delivered {copy} before {younger}"

    def confirmed(self, session: Session, number: int, multiple: bool) -> None:
        answered = [one for one in session.unanswered if one <= number] if multiple else [number]
        assert number in session.unanswered, f"publish {number} was confirmed twice, or is not there"
        for one in answered:
            for copy in session.unanswered.pop(one):
                copy.confirmed = True

    # The store

    def snapshot(self) -> Snapshot:
        queues = tuple(
            StoredQueue(queue, tuple(copy for copy in queue.copies() if copy.stored))
            for _, queue in sorted(self.queues.items())
            if queue.durable
        )
        names = {stored.queue.name for stored in queues}
        bindings = frozenset(
            (exchange, queue) for exchange, queue in self.bindings if queue in names and self.exchanges[exchange][0]
        )
        live = frozenset((queue.identity, copy.body) for queue in self.queues.values() for copy in queue.copies())
        exchanges = frozenset(
            name for name, (durable, _) in self.exchanges.items() if durable and not name.startswith("amq.")
        )
        return Snapshot(queues, exchanges, bindings, live)

    def sealed(self, number: int) -> None:
        self.snapshots[number] = self.snapshot()

    def nothing_to_write(self, committed: int) -> None:
        """The broker says that the disk holds everything."""
        now, then = self.snapshot(), self.snapshots[committed]
        assert stored_bodies(now) == stored_bodies(then), "something changed, and nothing is written"
        assert (now.exchanges, now.bindings) == (then.exchanges, then.bindings)

    def restarted(self, last_batch: int, clean: bool) -> None:
        """The broker came back: what it may know is what the store holds."""
        kept = self.snapshots[last_batch]
        if not clean:
            confirmed_is_safe(self.queues.values(), kept)
        for queue in self.queues.values():
            queue.alive = False
        self.queues = {}
        self.exchanges = {"amq.fanout": (True, False)}
        self.exchanges.update((name, (True, False)) for name in kept.exchanges)
        self.bindings = set(kept.bindings)
        self.cancels = []
        self._turn = []
        for stored in kept.queues:
            queue = stored.queue.restored(stored.copies, clean)
            queue.declared = True
            self.queues[queue.name] = queue
        self.snapshots = {last_batch: self.snapshot()}


def stored_bodies(snapshot: Snapshot) -> dict[int, tuple[str, list[bytes]]]:
    return {queue.identity: (queue.name, [copy.body for copy in copies]) for queue, copies in snapshot.queues}


def confirmed_is_safe(queues: Iterable[QueueModel], kept: Snapshot) -> None:
    """Promise 1, at a crash: ``queues`` as they were, ``kept`` as the store has it."""
    safe = {(queue.identity, copy.body) for queue, copies in kept.queues for copy in copies}
    names = {queue.identity for queue, _ in kept.queues}
    for queue in queues:
        if queue.durable and queue.declared:
            assert queue.identity in names, f"{queue.name} was declared, and is lost"
        for copy in queue.copies():
            if copy.stored and copy.confirmed:
                assert (queue.identity, copy.body) in safe, f"{copy} of {queue.name} was confirmed, and is lost"


def store_holds(reader: StoreReader, expected: Snapshot) -> None:
    """Promises 2 and 6: the store holds what it must, and counts it right."""
    summary = reader.summary()
    depths = {row.queue: row for row in summary.queues}
    found: dict[int, tuple[str, list[bytes]]] = {}
    for definition in summary.definitions:
        if definition.kind != "queue":
            continue
        identity = definition.values["id"]
        assert isinstance(identity, int)
        entries = reader.load(identity, 0, 1 << 30, 1 << 40)
        durable = [entry for entry in entries if not entry.flags & PAGED]
        found[identity] = (str(definition.values["name"]), [entry.body for entry in durable])
        row = depths[identity]
        assert (row.messages, row.bytes) == (len(durable), sum(len(entry.body) for entry in durable)), row
        if durable:
            assert (row.first, row.last) == (durable[0].position, durable[-1].position)
    assert found == stored_bodies(expected)
    for queue, copies in expected.queues:
        queue.store_holds(reader, copies)
    bindings = {
        (str(one.values["source"]), str(one.values["destination"]))
        for one in summary.definitions
        if one.kind == "binding"
    }
    assert bindings == expected.bindings
    exchanges = {str(one.values["name"]) for one in summary.definitions if one.kind == "exchange"}
    assert exchanges == expected.exchanges


def no_orphans(disk: MemoryDisk, expected: Snapshot) -> None:
    """Promise 7."""
    known = {queue.identity for queue, _ in expected.queues}
    for name, shelf in (("durable", disk.durable), ("paged", disk.paged)):
        held = {position for positions in shelf.queues.values() for position in positions}
        assert set(shelf.messages) == held, f"{name} bodies nobody refers to: {set(shelf.messages) - held}"
    entries = {
        (queue, disk.paged.messages[position][4])
        for queue, positions in disk.paged.queues.items()
        for position in positions
    }
    assert entries <= expected.live, f"paged entries that are done with: {entries - expected.live}"
    assert set(disk.durable.queues) <= known
    assert set(disk.depths) <= known, "the depth of a queue that is not there"
    assert set(disk.chunks) <= known, "chunks of a stream that is not there"


def counters_equal_lengths(broker: Broker, model: Model) -> None:
    """Promise 6 for what lies in memory."""
    vhost = broker.vhosts["/"]
    assert set(vhost.queues) == set(model.queues)
    assert {name for name in vhost.exchanges if not name.startswith("amq.") and name} == {
        name for name in model.exchanges if not name.startswith("amq.")
    }
    window = 0
    for name, queue in vhost.queues.items():
        expected = model.queues[name]
        assert queue.message_count() == expected.message_count(), name
        assert len(queue.consumers()) == len(expected.subscriptions), name
        window += expected.counters_equal_lengths(queue)
    assert broker.shard.window_bytes == window
    assert broker.journal.open_bytes >= 0
    assert broker.journal.annihilated <= len(broker.journal.inserted)
    assert broker.journal.number == broker.journal.committed + (2 if broker.journal.sealed else 1)


def no_standstill(model: Model, sessions: list[Session]) -> None:
    """Promise 8, for the ``sessions`` of clients that read what they are sent."""
    for session in sessions:
        assert not session.unanswered, f"publishes {list(session.unanswered)} were never confirmed"
        assert not session.expected, f"{session.expected[0][0]} never came"
    for queue in model.queues.values():
        for one in queue.subscriptions:
            if not queue.has_for(one):
                continue
            session = one.session
            free = one.no_ack or (
                (not one.prefetch or one.unacked < one.prefetch)
                and (not session.prefetch_global or session.in_flight < session.prefetch_global)
            )
            assert not (free and session.flowing and session in sessions), (
                f"{queue.name} has messages, {one.tag} may take them"
            )
