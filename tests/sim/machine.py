"""The steps of the simulation: clients, the store, faults, crashes, in any order.

Everything is real but the socket, the clock and the disk: bytes go into ``Connection.receive_data``, bytes
come out of the outbox, batches go to a store that fails when told to, pages are read now and handed in later.
Windows and pages are tiny, so that queues page out after a few messages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from amqpd.broker.batch import StoredEntry
from amqpd.broker.shard import PageRequest
from amqpd.store.contract import Store, StoreFull, StoreUnavailable, StoreUncertain
from amqpd.store.memory import MemoryDisk, MemoryStore
from tests.sim.promises import (
    Copy,
    Model,
    Pending,
    QueueModel,
    Session,
    Subscription,
    counters_equal_lengths,
    no_orphans,
    no_standstill,
    store_holds,
)
from tests.support.faulty_store import Fault, FaultyStore
from tests.support.linked import Linked, LinkedClient, Received, method, publication

CLIENTS = (0, 1)
CHANNELS = (1, 2, 3)  # with confirms, plain, with transactions
CONFIRMS, PLAIN, TRANSACTIONS = CHANNELS
# Name: durable, exclusive to a client, auto-delete.
QUEUES: dict[str, tuple[bool, int | None, bool]] = {
    "durable-1": (True, None, False),
    "durable-2": (True, None, False),
    "durable-auto": (True, None, True),
    "transient": (False, None, False),
    "transient-auto": (False, None, True),
    "exclusive-0": (False, 0, False),
    "exclusive-1": (False, 1, False),
}
# Name: durable, auto-delete.
EXCHANGES = {"amq.fanout": (True, False), "fan-durable": (True, False), "fan-auto": (False, True)}

# What is listed twice comes twice as often: steps must meet each other at the same queue to be of interest.
clients = st.sampled_from((*CLIENTS, 0))
channels = st.sampled_from((PLAIN, *CHANNELS))
queue_names = st.sampled_from(("durable-1", "transient", "durable-1", "transient", *sorted(QUEUES)))
exchange_names = st.sampled_from(sorted(EXCHANGES))
targets = st.sampled_from(
    ("durable-1", "transient", "durable-1", "transient", "amq.fanout", *sorted(QUEUES), *sorted(EXCHANGES))
)
indexes = st.integers(0, 20)
flags = st.booleans()
sizes = st.sampled_from((0, 40, 300))


class SlowClient(LinkedClient):
    """``stuck``: its socket takes nothing more: it must be skipped. What comes is looked at all the same."""

    stuck = False

    def flush(self) -> None:
        connection = self.connection
        starved = connection.starved
        if self.stuck:
            connection.starved = False
        super().flush()
        if self.stuck:
            connection.outbox.unsent = connection.outbox.size_max + 1
            connection.starved = starved


class SimClient:
    """``rests``: content of publishes that were begun only. ``getting``: a basic.get without an answer."""

    def __init__(self, linked: Linked, number: int) -> None:
        self.number = number
        self.client = SlowClient(linked, len(linked.clients) + 1)
        linked.clients.append(self.client)
        self.client.connect()
        for channel in CHANNELS:
            self.client.call("channel.open", on=channel)
        self.client.call("confirm.select", on=CONFIRMS)
        self.client.call("tx.select", on=TRANSACTIONS)
        self.sessions = {number: new_session(number) for number in CHANNELS}
        self.rests: dict[int, tuple[bytes, str, bytes, bool, bool]] = {}
        self.getting: tuple[int, str, bool] | None = None


def new_session(number: int) -> Session:
    return Session(number == CONFIRMS, number == TRANSACTIONS)


class BrokerMachine(RuleBasedStateMachine):
    """Subclasses give another store."""

    windows = (1500, 2500, 4000)
    page_messages = 3
    open_bytes_max = 4000
    queues: ClassVar = QUEUES
    prepared: tuple[str, ...] = ("durable-1", "durable-2", "transient", "exclusive-0")
    fanned: tuple[str, ...] = ("durable-1", "durable-2", "transient")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.disk = MemoryDisk()
        self.bodies = 0
        self.tags = 0
        self.said_empty: list[str] = []
        self.refused: list[tuple[SimClient, int]] = []
        self.pages: deque[tuple[PageRequest, list[StoredEntry]]] = deque()
        self.start()

    def inner_store(self) -> Store:
        return MemoryStore(self.disk)

    def link(self) -> Linked:
        return Linked(self.store)

    # The broker's life

    def start(self) -> None:
        self.store = FaultyStore(self.inner_store())
        self.linked = self.link()
        shard = self.linked.broker.shard
        shard.window_bytes_min, shard.window_bytes_max, shard.window_budget = self.windows
        shard.page_messages, shard.page_bytes, shard.page_low = self.page_messages, 700, 900
        self.linked.broker.journal.open_bytes_max = self.open_bytes_max
        self.pages.clear()
        self.untold = False
        self.clients = [SimClient(self.linked, number) for number in CLIENTS]
        self.model.snapshots.setdefault(int(self.linked.broker.journal.committed), self.model.snapshot())
        self.drain()
        self.prepare()

    def prepare(self) -> None:
        """Everybody begins with the queues that are used most, and a fanout to them."""
        for name in self.prepared:
            self.declare(0, PLAIN, name)
            self.commit()
        for name in self.fanned:
            self.bind(0, PLAIN, "amq.fanout", name)
            self.commit()

    def kill(self) -> None:
        self.store.crash()
        last_batch = self.last_batch()
        self.model.restarted(last_batch, clean=False)
        self.start()

    def last_batch(self) -> int:
        """What the store holds, asked behind the broker's back."""
        store = self.inner_store()
        last = store.open("main", "somebody who looks").last_batch
        store.close(release=False)
        return last

    # Clients

    def usable(self, client: int, channel: int) -> SimClient | None:
        """The client, unless it waits for something. An unfinished publish of the channel is finished."""
        one = self.clients[client]
        if one.getting is not None or one.sessions[channel].expected:
            return None
        if channel in one.rests:
            self.finish(one, channel)
        return one

    def send(self, one: SimClient, data: bytes) -> None:
        one.client.feed(data)
        self.drain()

    def finish(self, one: SimClient, channel: int) -> None:
        rest, target, body, persistent, mandatory = one.rests.pop(channel)
        self.arrived(one, channel, target, body, persistent, mandatory)
        self.send(one, rest)

    def arrived(
        self, one: SimClient, channel: int, target: str, body: bytes, persistent: bool, mandatory: bool
    ) -> None:
        """A whole publish is there: the model routes it."""
        session = one.sessions[channel]
        pending = Pending(body, self.model.route(target), persistent, mandatory)
        if session.transactional:
            session.publishes.append(pending)
        else:
            self.model.publish(session, pending)

    def drain(self) -> None:
        """Everything the broker said is looked at."""
        for one in self.clients:
            for came in one.client.received():
                self.came(one, came)
        self.model.turn_over()
        said_empty, self.said_empty = self.said_empty, []
        for name in said_empty:
            queue = self.model.queues.get(name)
            assert queue is None or not queue.message_count(), "get-empty though there are messages"
        refused, self.refused = self.refused, []
        for one, channel in refused:
            self.model.end(one.sessions[channel])
            one.client.feed(method("channel.close-ok", channel))
            self.reopen(one, channel)
        untold = [one.tag for one in self.model.cancels if not one.session.expected]
        assert not untold, f"not told of {untold}"
        for one in self.clients:
            for session in one.sessions.values():
                assert not session.returns, f"mandatory, unroutable, not returned: {session.returns}"

    def came(self, one: SimClient, came: Received) -> None:
        session = one.sessions[came.channel]
        values = came.values
        if came.name == "basic.deliver":
            self.came_delivery(session, came)
        elif came.name == "basic.get-ok":
            self.came_get(one, session, values, came.body)
        elif came.name == "basic.get-empty":
            assert one.getting is not None
            self.said_empty.append(one.getting[1])
            one.getting = None
        elif came.name == "basic.return":
            assert session.returns.pop(0) == came.body
        elif came.name == "basic.ack":
            self.model.confirmed(session, values["delivery_tag"], values["multiple"])
        elif came.name == "basic.cancel":
            subscription = session.subscriptions.pop(values["consumer_tag"])
            self.model.cancels.remove(subscription)
        elif came.name == "channel.close":
            assert one.getting is not None, f"the broker closed a channel: {values}"
            assert one.getting[1] not in self.model.queues, values
            one.getting = None
            self.refused.append((one, came.channel))
        else:
            assert session.expected, f"nobody asked for {came}"
            name, then = session.expected.popleft()
            assert came.name == name, f"{came} came before {name}"
            then(values)

    def came_delivery(self, session: Session, came: Received) -> None:
        subscription = session.subscriptions[came.values["consumer_tag"]]
        queue = subscription.queue
        copy = self.delivered(session, subscription, came)
        if not subscription.no_ack:
            self.model.in_flight(session, queue, copy, subscription)
            limit = session.prefetch_global
            assert not limit or session.in_flight <= limit, "over the channel's prefetch"

    def delivered(self, session: Session, subscription: Subscription, came: Received) -> Copy:
        """The model looks at it."""
        values = came.values
        return self.model.delivered(
            session, subscription.queue, values["delivery_tag"], values["redelivered"], came.body
        )

    def came_get(self, one: SimClient, session: Session, values: dict[str, Any], body: bytes) -> None:
        assert one.getting is not None
        _, name, no_ack = one.getting
        one.getting = None
        queue = self.model.queues[name]
        copy = self.model.delivered(session, queue, values["delivery_tag"], values["redelivered"], body)
        if not no_ack:
            self.model.in_flight(session, queue, copy, None)

    def reopen(self, one: SimClient, channel: int) -> None:
        """The channel is closed; open it anew."""
        one.rests.pop(channel, None)
        one.sessions[channel] = new_session(channel)
        self.call(one, channel, "channel.open")
        if channel == CONFIRMS:
            self.call(one, channel, "confirm.select")
        if channel == TRANSACTIONS:
            self.call(one, channel, "tx.select")

    def call(
        self,
        one: SimClient,
        channel: int,
        name: str,
        then: Callable[[dict[str, Any]], None] = lambda values: None,
        **values: Any,
    ) -> None:
        """Send a method; ``then`` looks at its answer, at once or when the disk has what it changed."""
        one.sessions[channel].expected.append((f"{name}-ok", then))
        self.send(one, method(name, channel, **values))

    # Topology

    def declare(self, client: int, channel: int, name: str) -> None:
        durable, owner, auto_delete = self.queues[name]
        one = self.usable(client, channel)
        if owner not in (None, client) or one is None:
            return
        queue = self.model.queues.get(name)
        new = queue is None
        if queue is None:
            queue = self.model.queues[name] = self.new_queue(name, durable, auto_delete)
        counts = queue.message_count(), len(queue.subscriptions)

        def declared(values: dict[str, Any]) -> None:
            # Who declares it again is answered at once, though the first declaration may not be on disk yet.
            queue.declared = queue.declared or new
            assert (values["message_count"], values["consumer_count"]) == counts

        exclusive = owner is not None
        self.call(
            one,
            channel,
            "queue.declare",
            declared,
            queue=name,
            durable=durable,
            exclusive=exclusive,
            auto_delete=auto_delete,
            arguments=queue.arguments,
        )
        queue.identity = int(self.linked.broker.vhosts["/"].queues[name].id)

    def new_queue(self, name: str, durable: bool, auto_delete: bool) -> QueueModel:
        return QueueModel(name, durable, auto_delete)

    def reachable(self, client: int, name: str) -> QueueModel | None:
        """The queue, if it is there and the client may use it."""
        return self.model.queues.get(name) if self.queues[name][1] in (None, client) else None

    def empty(self, client: int, channel: int, name: str, purge: bool) -> None:
        """Purge or delete."""
        one = self.usable(client, channel)
        queue = self.reachable(client, name)
        if one is None or queue is None:
            return
        count = queue.message_count()

        def emptied(values: dict[str, Any]) -> None:
            assert values["message_count"] == count

        if purge:
            self.model.purge(queue)
            self.call(one, channel, "queue.purge", emptied, queue=name)
        else:
            self.model.delete(queue)
            self.call(one, channel, "queue.delete", emptied, queue=name)

    def bind(self, client: int, channel: int, exchange: str, name: str) -> None:
        one = self.usable(client, channel)
        if one is None or self.reachable(client, name) is None:
            return
        durable, auto_delete = EXCHANGES[exchange]
        if exchange not in self.model.exchanges:
            self.model.exchanges[exchange] = (durable, auto_delete)
            self.call(
                one,
                channel,
                "exchange.declare",
                exchange=exchange,
                type="fanout",
                durable=durable,
                auto_delete=auto_delete,
            )
        self.model.bindings.add((exchange, name))
        self.call(one, channel, "queue.bind", queue=name, exchange=exchange)

    def unbind(self, client: int, channel: int, exchange: str, name: str) -> None:
        one = self.usable(client, channel)
        if one is None or self.reachable(client, name) is None or exchange not in self.model.exchanges:
            return
        self.model.unbind(exchange, name)
        self.call(one, channel, "queue.unbind", queue=name, exchange=exchange)

    def delete_exchange(self, client: int, channel: int, exchange: str) -> None:
        one = self.usable(client, channel)
        if one is None or exchange not in self.model.exchanges:
            return
        self.model.delete_exchange(exchange)
        self.call(one, channel, "exchange.delete", exchange=exchange)

    # Publishing

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
        self,
        client: int,
        channel: int,
        destination: str,
        persistent: bool,
        mandatory: bool,
        size: int,
        count: int,
    ) -> None:
        """Some messages, one after the other; 0 means one of which only the method arrives by now."""
        if count == 0:
            self.begin_publish(client, channel, destination, persistent, mandatory)
        for _ in range(count):
            one = self.publisher(client, channel, destination)
            if one is None:
                return
            body, frames = self.message(channel, destination, persistent, mandatory, size)
            self.arrived(one, channel, destination, body, persistent, mandatory)
            self.send(one, frames)

    def begin_publish(self, client: int, channel: int, destination: str, persistent: bool, mandatory: bool) -> None:
        """Only the method arrives; the content comes with a later step."""
        one = self.publisher(client, channel, destination)
        # An exchange may be gone by the time of the content, which closes the channel.
        if one is None or destination not in self.queues:
            return
        body, frames = self.message(channel, destination, persistent, mandatory, 40)
        cut = frames.index(b"\xce\x02\x00") + 1
        one.rests[channel] = (frames[cut:], destination, body, persistent, mandatory)
        self.send(one, frames[:cut])

    def publisher(self, client: int, channel: int, destination: str) -> SimClient | None:
        if destination in EXCHANGES and destination not in self.model.exchanges:
            return None
        return self.usable(client, channel)

    def message(
        self, channel: int, destination: str, persistent: bool, mandatory: bool, size: int
    ) -> tuple[bytes, bytes]:
        self.bodies += 1
        body = f"{self.bodies:06}".encode() + b"." * size
        exchange, key = (destination, "") if destination in EXCHANGES else ("", destination)
        properties = {"delivery_mode": 2 if persistent else 1, **self.properties()}
        return body, publication(exchange, key, body, properties, on=channel, mandatory=mandatory)

    def properties(self) -> dict[str, Any]:
        """Others of the message that is made."""
        return {}

    # Consuming

    @rule(client=clients, channel=channels, name=queue_names, prefetch=st.integers(0, 3), no_ack=flags)
    def consume(self, client: int, channel: int, name: str, prefetch: int, no_ack: bool) -> None:
        one = self.usable(client, channel)
        queue = self.reachable(client, name)
        if one is None or queue is None:
            return
        session = one.sessions[channel]
        session.prefetch_global = 0
        self.call(one, channel, "basic.qos", prefetch_count=prefetch)
        if not queue.alive:
            return
        self.tags += 1
        tag = f"c{self.tags}"
        self.subscribe(one, channel, Subscription(tag, session, queue, 0 if no_ack else prefetch, no_ack))

    def subscribe(
        self, one: SimClient, channel: int, subscription: Subscription, arguments: dict[str, Any] | None = None
    ) -> None:
        queue, tag = subscription.queue, subscription.tag
        subscription.session.subscriptions[tag] = subscription
        queue.subscriptions.append(subscription)
        self.call(
            one,
            channel,
            "basic.consume",
            queue=queue.name,
            consumer_tag=tag,
            no_ack=subscription.no_ack,
            arguments=arguments or {},
        )

    def cancel(self, client: int, channel: int, index: int) -> None:
        one = self.usable(client, channel)
        if one is None or not one.sessions[channel].subscriptions:
            return
        subscriptions = list(one.sessions[channel].subscriptions.values())
        subscription = subscriptions[index % len(subscriptions)]
        self.model.unsubscribe(subscription)
        self.call(one, channel, "basic.cancel", consumer_tag=subscription.tag)

    def limit_channel(self, client: int, channel: int, limit: int) -> None:
        one = self.usable(client, channel)
        if one is None or (limit and one.sessions[channel].in_flight > limit):
            return
        session = one.sessions[channel]
        session.prefetch_global = limit
        self.call(one, channel, "basic.qos", prefetch_count=limit, global_=True)

    def flow(self, client: int, channel: int, active: bool) -> None:
        one = self.usable(client, channel)
        if one is None:
            return
        one.sessions[channel].flowing = active
        self.call(one, channel, "channel.flow", active=active)

    def outbox(self, client: int, full: bool) -> None:
        """The client's socket takes nothing for a while: it is skipped."""
        one = self.clients[client].client
        one.stuck = full
        one.flush()
        self.linked.turn()
        self.drain()

    @rule(client=clients, channel=channels, name=queue_names, no_ack=flags)
    def get(self, client: int, channel: int, name: str, no_ack: bool) -> None:
        one = self.usable(client, channel)
        if one is None or self.reachable(client, name) is None:
            return
        one.getting = (channel, name, no_ack)
        self.send(one, method("basic.get", channel, queue=name, no_ack=no_ack))

    # Settling

    def unsettled(self) -> list[tuple[int, int]]:
        """Clients and channels that have something in flight."""
        return [
            (one.number, channel)
            for one in self.clients
            for channel, session in one.sessions.items()
            if session.unacked
        ]

    @precondition(lambda self: bool(self.unsettled()))
    @rule(
        which=indexes,
        index=indexes,
        multiple=flags,
        how=st.sampled_from(("ack", "ack", "ack", "nack", "requeue")),
    )
    def settle(self, which: int, index: int, multiple: bool, how: str) -> None:
        places = self.unsettled()
        client, channel = places[which % len(places)]
        one = self.usable(client, channel)
        if one is None:
            return
        session = one.sessions[channel]
        taken = {tag for tags, _ in session.settlements for tag in tags}
        tags = [tag for tag in session.unacked if tag not in taken]
        if not tags:
            return
        tag = sorted(tags)[index % len(tags)]
        chosen = [other for other in sorted(tags) if other <= tag] if multiple else [tag]
        meaning = "requeue" if how == "requeue" else "done"
        if session.transactional:
            session.settlements.append((chosen, meaning))
        else:
            self.model.settle(session, chosen, meaning)
        if how == "ack":
            frame = method("basic.ack", channel, delivery_tag=tag, multiple=multiple)
        else:
            frame = method("basic.nack", channel, delivery_tag=tag, multiple=multiple, requeue=how == "requeue")
        self.send(one, frame)

    def recover(self, client: int) -> None:
        one = self.usable(client, PLAIN)
        if one is None:
            return
        session = one.sessions[PLAIN]
        self.model.settle(session, list(session.unacked), "requeue")
        self.call(one, PLAIN, "basic.recover", requeue=True)

    @rule(client=clients, commit=flags)
    def end_transaction(self, client: int, commit: bool) -> None:
        one = self.usable(client, TRANSACTIONS)
        if one is None:
            return
        session = one.sessions[TRANSACTIONS]
        publishes, session.publishes = session.publishes, []
        settlements, session.settlements = session.settlements, []
        if not commit:
            self.call(one, TRANSACTIONS, "tx.rollback")
            return
        copies: list[Copy] = []
        for pending in publishes:
            copies += self.model.publish(session, pending)
        for tags, how in settlements:
            self.model.settle(session, tags, how)

        def committed(values: dict[str, Any]) -> None:
            for copy in copies:
                copy.confirmed = True

        self.call(one, TRANSACTIONS, "tx.commit", committed)

    # Ends of channels and connections

    def close_channel(self, client: int, channel: int) -> None:
        one = self.clients[client]
        if one.getting is not None:
            return
        session = one.sessions[channel]
        self.model.end(session)
        # Replies that wait for the disk are given up; what else came before is of no interest.
        one.client.feed(method("channel.close", channel, reply_code=200, reply_text="bye"))
        last = ""
        for came in one.client.received():
            if came.channel == channel:
                last = came.name
            else:
                self.came(one, came)
        assert last == "channel.close-ok"
        self.reopen(one, channel)

    def leave(self, client: int, polite: bool) -> None:
        """The connection ends, in order or not, and the client comes again."""
        one = self.clients[client]
        self.end_connection(one)
        if polite and one.getting is None:
            one.client.feed(method("connection.close", 0, reply_code=200, reply_text="bye"))
            assert one.client.names()[-1] == "connection.close-ok"
        else:
            one.client.hang_up()
            one.client.received()
        self.clients[client] = SimClient(self.linked, client)
        self.drain()

    def end_connection(self, one: SimClient) -> None:
        for session in one.sessions.values():
            self.model.end(session)
        for name, (_, owner, _) in self.queues.items():
            if owner == one.number and name in self.model.queues:
                self.model.delete(self.model.queues[name])
        mine = list(one.sessions.values())
        self.model.cancels = [cancel for cancel in self.model.cancels if cancel.session not in mine]

    # The store

    @rule()
    def seal(self) -> None:
        """The edge asks for a batch."""
        journal = self.linked.broker.journal
        under_way = journal.sealed is not None
        batch = self.linked.take()
        if not under_way:
            if journal.sealed is not None:
                assert batch is not None
                assert batch.number == journal.committed + 1
                self.model.sealed(batch.number)
            else:
                self.model.nothing_to_write(int(journal.committed))
        self.drain()

    @precondition(lambda self: self.linked.batch is not None)
    @rule(fault=st.sampled_from((None, None, None, *Fault)), resumes_that_fail=st.integers(0, 1), late=flags)
    def write(self, fault: Fault | None, resumes_that_fail: int, late: bool = False) -> None:
        """The writer tries once, as amqpd.server.store_threads does.

        ``late``: the batch is on disk for readers, and the broker hears of it with the next step of this kind.
        """
        batch = self.linked.batch
        assert batch is not None
        if self.untold:
            self.told()
            return
        if self.store.must_resume and not self.resumed():
            return
        self.store.plan(fault)
        try:
            self.store.commit(batch)
            self.untold = True
        except StoreFull:
            pass
        except StoreUnavailable:
            self.store.resumes_that_fail = resumes_that_fail
            self.resumed()
        except StoreUncertain:
            self.store.resumes_that_fail = resumes_that_fail
            self.untold = self.resumed() and self.store.resume() == batch.number
        if self.untold and not late:
            self.told()

    def told(self) -> None:
        self.untold = False
        self.linked.committed()
        self.drain()

    @rule()
    def commit(self) -> None:
        """What mostly happens: the batch is taken, and written."""
        if not self.store.must_resume:
            self.seal()
            if self.linked.batch is not None:
                self.write(None, 0)

    def resumed(self) -> bool:
        try:
            self.store.resume()
        except StoreUnavailable:
            return False
        return True

    @rule()
    def read_pages(self) -> None:
        """The reader reads; the broker hears of it later."""
        for request in self.linked.broker.take_page_requests():
            page = request.read(self.linked.reader)
            self.pages.append((request, page))

    @precondition(lambda self: bool(self.pages))
    @rule()
    def answer_page(self) -> None:
        self.linked.broker.page_loaded(*self.pages.popleft())
        self.linked.turn()
        self.drain()

    # Ends of the broker

    def crash(self) -> None:
        self.kill()

    def restart(self) -> None:
        """In order: connections end, everything is written, the claim is given back."""
        self.catch_up()
        for one in self.clients:
            self.end_connection(one)
            one.client.hang_up()
            one.client.received()
            self.drain()
        self.linked.broker.finish()
        while self.linked.batch is not None or not self.linked.broker.journal.empty():
            self.seal()
            if self.linked.batch is not None:
                self.write(None, 0)
        last_batch = int(self.linked.broker.journal.committed)
        store_holds(self.linked.reader, self.model.snapshots[last_batch])
        self.store.close(release=True)
        self.model.restarted(last_batch, clean=True)
        self.start()

    def catch_up(self) -> None:
        """The store does all it was asked, pages come."""
        for _ in range(200):
            self.seal()
            if self.linked.batch is not None:
                self.write(None, 0)
            self.read_pages()
            while self.pages:
                self.answer_page()
            requests = self.linked.broker.shard.page_requests
            journal = self.linked.broker.journal
            # Somebody may wait for a batch that has nothing to write: the edge asks for that one, too.
            if self.linked.batch is None and not requests and journal.empty() and not journal.waiting:
                break
        else:
            raise AssertionError("the broker never comes to rest")

    @rule()
    def rest(self) -> None:
        self.catch_up()
        broker = self.linked.broker
        sessions = [session for one in self.clients if not one.client.stuck for session in one.sessions.values()]
        no_standstill(self.model, sessions)
        for one in self.clients:
            assert one.getting is None, "a basic.get was never answered"
            assert one.client.connection.wants_read(), "a connection is not read any more"
        expected = self.model.snapshots[int(broker.journal.committed)]
        store_holds(self.linked.reader, expected)
        self.look_for_orphans()

    def settle_everything(self) -> None:
        """Everything is done with: the store is empty but for definitions."""
        for name in list(self.model.queues):
            client = self.queues[name][1] or 0
            for channel in CHANNELS:
                for number in CLIENTS:
                    if self.clients[number].getting is None:
                        self.close_channel(number, channel)
            self.empty(client, PLAIN, name, True)
        self.rest()

    def look_for_orphans(self) -> None:
        no_orphans(self.disk, self.model.snapshot())

    # Steps of which only one in many is wanted: in between queues must get long

    @rule(
        what=st.sampled_from(("declare", "declare", "purge", "delete", "bind", "bind", "unbind", "delete exchange")),
        client=clients,
        channel=channels,
        exchange=exchange_names,
        name=queue_names,
    )
    def change_topology(self, what: str, client: int, channel: int, exchange: str, name: str) -> None:
        if what == "declare":
            self.declare(client, channel, name)
        elif what in ("purge", "delete"):
            self.empty(client, channel, name, what == "purge")
        elif what == "bind":
            self.bind(client, channel, exchange, name)
        elif what == "unbind":
            self.unbind(client, channel, exchange, name)
        elif exchange != "amq.fanout":
            self.delete_exchange(client, channel, exchange)

    @rule(
        what=st.sampled_from(("cancel", "limit", "stop", "flow", "flow", "fill", "drain", "drain", "recover")),
        client=clients,
        channel=channels,
        index=indexes,
    )
    def hinder(self, what: str, client: int, channel: int, index: int) -> None:
        if what == "cancel":
            self.cancel(client, channel, index)
        elif what == "limit":
            self.limit_channel(client, channel, index % 3)
        elif what in ("stop", "flow"):
            self.flow(client, channel, what == "flow")
        elif what in ("fill", "drain"):
            self.outbox(client, what == "fill")
        else:
            self.recover(client)

    @rule(
        what=st.sampled_from(
            (
                *("nothing",) * 4,
                *("close channel",) * 2,
                "close connection",
                "lose connection",
                "crash",
                "restart",
                "settle everything",
            )
        ),
        client=clients,
        channel=channels,
    )
    def disturb(self, what: str, client: int, channel: int) -> None:
        if what == "close channel":
            self.close_channel(client, channel)
        elif what.endswith("connection"):
            self.leave(client, what.startswith("close"))
        elif what == "crash":
            self.crash()
        elif what == "restart":
            self.restart()
        elif what == "settle everything":
            self.settle_everything()

    # Always

    @invariant()
    def counters(self) -> None:
        counters_equal_lengths(self.linked.broker, self.model)

    def teardown(self) -> None:
        self.rest()
        self.restart()
        self.rest()
