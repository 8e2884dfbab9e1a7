"""The steps of the fourth simulation: those of the first one, with streams among the queues.

What streams promise is in stream_promises.py. Fanouts reach streams and classic queues at once, so all that the first
simulation promises holds beside it. Here time passes, and retention changes by policy.
"""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from amqpd.broker.policies import make_policy
from amqpd.queues.stream.queue import StreamQueue
from interop.conformance.codec import Typed
from tests.sim.feature_machine import WatchedLinked
from tests.sim.machine import CHANNELS, PLAIN, TRANSACTIONS, BrokerMachine, clients, flags, sizes
from tests.sim.promises import Copy, QueueModel, Session, Subscription
from tests.sim.stream_promises import VALUES, StreamModel, StreamSubscription, World
from tests.support.linked import START_MS, Linked, Received

STREAMS = ("log-1", "log-2")
CLASSIC = ("durable-1", "transient")
BYTES = 400
# What a stream is declared with, and what policies say.
LIMITS: tuple[dict[str, Any], ...] = (
    {},
    {"max-length-bytes": BYTES},
    {"max-age": "1s"},
    {"max-age": "3s"},
    {"max-length-bytes": BYTES, "max-age": "2s"},
    {"max-length-bytes": 0},
    {"max-length-bytes": 4 * BYTES},
)
KNOWN_MAX = 3
POLICY = "live"

names = st.sampled_from((*STREAMS, STREAMS[0], *CLASSIC))
targets = st.sampled_from((*STREAMS, *STREAMS, "amq.fanout", "amq.fanout", "fan-durable", "fan-auto", *CLASSIC))
channels = st.sampled_from((PLAIN, *CHANNELS))
limits = st.sampled_from(LIMITS)
# With a number: the chunk that is about as old.
starts = st.one_of(
    st.sampled_from((None, "first", "first", "next", "last")),
    st.integers(-4, 30),
    st.tuples(st.sampled_from(("timestamp", "age")), st.integers(-3, 8)),
)
prefetches = st.sampled_from((1, 2, 3, 50))
readers = st.tuples(clients, channels, st.sampled_from(STREAMS), prefetches, starts)
moments = st.sampled_from((0, 1, 300, 1000, 1000, 3000))
wanted = st.sampled_from((None, None, None, ("a",), ("a", "b"), ("a", None), (None,)))


class StreamMachine(BrokerMachine):
    """Subclasses give another store."""

    windows = (1200, 2000, 4000)
    page_messages = 2
    queues: ClassVar = {name: (name != "transient", None, False) for name in (*STREAMS, *CLASSIC)}
    prepared = (*STREAMS, *CLASSIC)
    fanned = prepared

    def __init__(self) -> None:
        self.world = World(START_MS)
        self.limits: dict[str, Any] = {}
        self.policies: dict[int, dict[str, Any]] = {}
        super().__init__()

    @initialize(one=limits, other=limits, chunks=st.integers(0, 4), readers=st.lists(readers, max_size=3))
    def choose(
        self,
        one: dict[str, Any],
        other: dict[str, Any],
        chunks: int,
        readers: list[tuple[int, int, str, int, object]],
    ) -> None:
        """What the streams are declared with, what they hold, who reads them."""
        self.replace(STREAMS[0], one)
        self.replace(STREAMS[1], other)
        self.grow(0, PLAIN, "amq.fanout", [40] * chunks, 1000)
        for reader in readers:
            self.read(*reader, None)
        self.keep_up(1)

    def replace(self, name: str, definition: dict[str, Any]) -> None:
        """Delete the stream; another one of that name, with other limits, comes in its place."""
        self.limits = definition
        self.empty(0, PLAIN, name, False)
        self.commit()
        self.declare(0, PLAIN, name)
        self.commit()
        self.bind(0, PLAIN, "amq.fanout", name)
        self.commit()

    # The broker's life

    def link(self) -> Linked:
        linked = WatchedLinked(self.store, self.world.now)
        journal = linked.broker.journal
        self.world.batch = int(journal.number)
        self.world.policy = self.policies.setdefault(int(journal.committed), {})
        policy = linked.broker.vhosts["/"].policies.policies.get(POLICY)
        assert (policy.definition if policy is not None else {}) == self.world.policy
        linked.after_turn = self.look_at_streams
        return linked

    def look_at_streams(self) -> None:
        """After every turn: where they begin now."""
        for name, queue in self.linked.broker.vhosts["/"].queues.items():
            model = self.model.queues.get(name)
            if isinstance(queue, StreamQueue) and isinstance(model, StreamModel) and model.identity == queue.id:
                queue.retention.known_max = KNOWN_MAX
                first = queue.first_chunk()
                model.begins(first.offset if first is not None else 0)

    def streams(self) -> list[StreamModel]:
        return [queue for queue in self.model.queues.values() if isinstance(queue, StreamModel)]

    def new_queue(self, name: str, durable: bool, auto_delete: bool) -> QueueModel:
        if name not in STREAMS:
            return super().new_queue(name, durable, auto_delete)
        return StreamModel(name, {f"x-{key}": value for key, value in self.limits.items()}, self.world)

    def seal(self) -> None:
        policy = self.world.policy
        super().seal()
        journal = self.linked.broker.journal
        self.world.batch = int(journal.number)
        sealed = journal.number - 1
        if sealed not in self.policies:
            self.policies[int(sealed)] = policy

    # Publishing and consuming

    @rule(
        client=clients,
        channel=channels,
        destination=targets,
        persistent=flags,
        mandatory=flags,
        size=sizes,
        count=st.integers(0, 8),
    )
    def publish(
        self, client: int, channel: int, destination: str, persistent: bool, mandatory: bool, size: int, count: int
    ) -> None:
        super().publish(client, channel, destination, persistent, mandatory, size, count)

    @rule(
        client=clients,
        channel=channels,
        name=st.sampled_from((*STREAMS, "amq.fanout")),
        sizes=st.lists(sizes, min_size=2, max_size=6),
        milliseconds=moments,
        behind=flags,
    )
    def grow(
        self, client: int, channel: int, name: str, sizes: list[int], milliseconds: int, behind: bool = False
    ) -> None:
        """Some chunks at once. ``behind``: each is published while the one before it is written, and is read."""
        for size in sizes:
            super().publish(client, channel, name, True, False, size, 2)
            if channel == TRANSACTIONS:
                self.end_transaction(client, True)
            if not behind:
                self.commit()
            elif not self.store.must_resume:
                if self.linked.batch is not None:
                    self.write(None, 0)
                self.seal()
                self.keep_up(1)
            self.advance(milliseconds)

    def properties(self) -> dict[str, Any]:
        value = VALUES[self.bodies % len(VALUES)]
        return {} if value is None else {"headers": {"x-stream-filter-value": value}}

    @rule(client=clients, channel=channels, name=st.sampled_from(CLASSIC), prefetch=st.integers(0, 3), no_ack=flags)
    def consume(self, client: int, channel: int, name: str, prefetch: int, no_ack: bool) -> None:
        super().consume(client, channel, name, prefetch, no_ack)

    @rule(
        client=clients,
        channel=channels,
        name=st.sampled_from(STREAMS),
        prefetch=prefetches,
        where=starts,
        values=wanted,
    )
    def read(
        self,
        client: int,
        channel: int,
        name: str,
        prefetch: int,
        where: object,
        values: tuple[str | None, ...] | None,
    ) -> None:
        """Consume from a stream."""
        one = self.usable(client, channel)
        queue = self.reachable(client, name)
        if one is None or not isinstance(queue, StreamModel):
            return
        session = one.sessions[channel]
        session.prefetch_global = 0
        self.call(one, channel, "basic.qos", prefetch_count=prefetch)
        self.tags += 1
        subscription = StreamSubscription(f"c{self.tags}", session, queue, prefetch, False)
        arguments: dict[str, Any] = {}
        if isinstance(where, tuple):
            kind, index = where
            time = queue.time_of_chunk(index)
            if kind == "timestamp":
                arguments["x-stream-offset"] = Typed("T", time // 1000)
                where = [time // 1000 * 1000]
            else:
                seconds = max((self.world.now - time) // 1000, 1)
                arguments["x-stream-offset"] = f"{seconds}s"
                where = [self.world.now - 1000 * seconds]
        elif where is not None:
            arguments["x-stream-offset"] = where
        subscription.offset = queue.start(where)
        if values is not None:
            subscription.values = frozenset(values)
            arguments["x-stream-filter"] = [value for value in values if value is not None]
            arguments["x-stream-match-unfiltered"] = None in values
        self.subscribe(one, channel, subscription, arguments)

    def delivered(self, session: Session, subscription: Subscription, came: Received) -> Copy:
        queue = subscription.queue
        if isinstance(queue, StreamModel):
            return queue.delivered(session, subscription, came, int(self.linked.broker.journal.committed))
        return super().delivered(session, subscription, came)

    @rule(client=clients, channel=channels, name=st.sampled_from(CLASSIC), no_ack=flags)
    def get(self, client: int, channel: int, name: str, no_ack: bool) -> None:
        super().get(client, channel, name, no_ack)

    @rule(rounds=st.integers(1, 3))
    def keep_up(self, rounds: int) -> None:
        """Everybody's credit comes back, and what they lack is read, whatever is not written yet."""
        for _ in range(rounds):
            for client, channel in self.unsettled():
                self.settle(self.unsettled().index((client, channel)), -1, True, "ack")
            self.read_pages()
            while self.pages:
                self.answer_page()

    def empty(self, client: int, channel: int, name: str, purge: bool) -> None:
        """A stream is never empty again: it is only deleted."""
        if name in CLASSIC or not purge:
            super().empty(client, channel, name, purge)

    # Time and retention

    @rule(milliseconds=moments)
    def advance(self, milliseconds: int) -> None:
        broker = self.linked.broker
        end = broker.now + milliseconds
        while broker.now < end:
            # What a step of time makes due is looked at before the next one.
            self.world.now = max(broker.now, min(broker.next_deadline() or end, end))
            self.linked.advance(self.world.now - broker.now)
        self.linked.turn()
        self.drain()

    @rule(definition=limits)
    def set_policy(self, definition: dict[str, Any]) -> None:
        vhost = self.linked.broker.vhosts["/"]
        before, self.world.policy = self.world.policy, definition
        if definition:
            vhost.put_policy(make_policy(POLICY, "^log", definition, 0, "streams", False), False)
        elif before:
            vhost.drop_policy(POLICY, False)
        self.linked.turn()
        self.drain()

    @rule(
        what=st.sampled_from(("declare", "declare", "purge", "delete", "bind", "bind", "unbind", "delete exchange")),
        client=clients,
        channel=channels,
        exchange=st.sampled_from(("amq.fanout", "fan-durable", "fan-auto")),
        name=names,
        definition=limits,
    )
    def change_topology(
        self, what: str, client: int, channel: int, exchange: str, name: str, definition: dict[str, Any] | None = None
    ) -> None:
        self.limits = definition or {}
        if what in ("purge", "delete") and name in STREAMS:
            self.replace(name, self.limits)
        else:
            super().change_topology(what, client, channel, exchange, name)

    def settle_everything(self) -> None:
        for name in STREAMS:
            self.empty(0, PLAIN, name, False)
        super().settle_everything()
        self.prepare()

    @rule(
        what=st.sampled_from(
            (
                *("nothing", "crash", "restart", "close channel") * 2,
                *("close connection", "lose connection", "settle everything"),
            )
        ),
        client=clients,
        channel=channels,
    )
    def disturb(self, what: str, client: int, channel: int) -> None:
        super().disturb(what, client, channel)

    @rule()
    def rest(self) -> None:
        super().rest()
        for stream in self.streams():
            stream.kept_enough()
