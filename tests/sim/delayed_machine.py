"""The steps of the third simulation: delayed exchanges, their clients, a store that fails, crashes.

Each message has a body of its own, so it is known at each moment how often it came. The promises:

1. *Confirmed is safe*: after every commit and every crash a confirmed message of a durable exchange is on disk, in the
   schedule or in one queue and never in both, until it came.
2. *Once*: what came in a batch that is on disk never comes again; without a crash nothing comes twice. What recurs
   comes as often as it says, never more often.
3. *Never early*, and at rest in the very millisecond; one exchange's messages come in order of their times.
4. *Nobody takes it*: a mandatory message comes back, at the publish or when it is due, while its channel is open. Else
   the alternate exchange or the dead-letter exchange has it.
5. *Cancelled*: what was to come after a request to cancel was published does not come, once the request is on disk not
   after a crash either. A mandatory request comes back if there was nothing for it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from amqpd.queues.schedule import Schedule
from amqpd.store.contract import Store, StoreFull, StoreUnavailable, StoreUncertain
from amqpd.store.memory import MemoryDisk, MemoryStore
from amqpd_delayed_message import register
from amqpd_delayed_message.exchange import KIND, DelayedExchange
from tests.sim.contents import stored_bodies
from tests.sim.feature_machine import WatchedLinked
from tests.support.faulty_store import Fault, FaultyStore
from tests.support.linked import Received, method, publication

SPREAD_MS = 100
PERIOD_MS = 100
REPEAT = 3
ROOM = 2
# Longer than everything waits, also what a full queue refuses again and again.
ALL_MS = 2_000_000
REFUSED_MS = 5_000
WINDOW = 4
# Name: durable, arguments. What is unroutable goes on from each of them: nothing is ever dropped.
EXCHANGES: dict[str, tuple[bool, dict[str, Any]]] = {
    "alternate": (True, {"alternate-exchange": "rest"}),
    "letters": (
        True,
        {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "dead",
            "x-delayed-overdue": "spread",
            "x-delayed-spread": SPREAD_MS,
        },
    ),
    "transient": (False, {"alternate-exchange": "rest"}),
}
QUEUES: dict[str, dict[str, Any]] = {
    "q": {},
    "full": {"x-max-length": ROOM, "x-overflow": "reject-publish"},
    "rest": {},
    "dead": {},
}
CONSUMED = ("q", "rest", "dead")
CONFIRMS, TRANSACTIONS = CHANNELS = (1, 2)
NAMES = ("", "a", "a", "b")

# What clients use in one run: few, so that their steps meet.
groups = st.sampled_from((("alternate",), ("letters",), ("alternate", "letters"), ("transient", "letters")))
numbers = st.integers(0, 3)
delays = st.sampled_from((1, 5, 20, 20, 60, 300, 2000, 1_000_000))
mostly = st.sampled_from((True, True, False))
often = st.sampled_from((False, False, True))


@dataclass
class Sent:
    """A message on its way. ``due``: when it may come first. ``times``: how often it comes.

    ``heard``: a confirm or commit-ok said that it is safe. ``publisher``: the number of the client that would hear of a
    return, 0 for none.
    """

    exchange: str
    key: str
    due: int
    times: int
    persistent: bool
    name: str
    publisher: int
    heard: bool = False


@dataclass
class Request:
    """``found``: what it must cancel. ``perhaps``: what was due already, and may have been on its way.

    ``returned``: it is to come back; None where nobody can say.
    """

    found: set[bytes]
    perhaps: set[bytes]
    returned: bool | None
    publisher: int
    heard: bool = False


class DelayedMachine(RuleBasedStateMachine):
    """Subclasses give another store. ``came``: by body, how often. ``safe``: as the disk has it."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryDisk()
        self.now = 1_000_000
        self.bodies = 0
        self.publishers = 0
        self.sent: dict[bytes, Sent] = {}
        self.requests: dict[bytes, Request] = {}
        self.came: dict[bytes, int] = {}
        self.safe: dict[bytes, int] = {}
        self.sealed: dict[bytes, int] = {}
        self.names = tuple(EXCHANGES)
        self.start()

    @initialize(names=groups)
    def choose(self, names: tuple[str, ...]) -> None:
        self.names = names

    def named(self, number: int) -> str:
        return self.names[number % len(self.names)]

    def inner_store(self) -> Store:
        return MemoryStore(self.disk)

    # The broker's life

    def start(self) -> None:
        self.store = FaultyStore(self.inner_store())
        self.linked = WatchedLinked(self.store, self.now, plugins=[register])
        self.came = dict(self.safe)
        self.sealed = self.safe
        self.last_due = dict.fromkeys(EXCHANGES, 0)
        self.narrow()
        self.connect_publisher()
        self.consumer = self.linked.client()
        for name, (durable, arguments) in EXCHANGES.items():
            table = {"x-delayed-type": "direct"} | arguments
            self.publisher.call("exchange.declare", exchange=name, type=KIND, durable=durable, arguments=table)
        self.publisher.call("exchange.declare", exchange="rest", type="fanout", durable=True)
        for name, arguments in QUEUES.items():
            self.publisher.call("queue.declare", queue=name, durable=True, arguments=arguments)
        self.publisher.call("queue.bind", queue="rest", exchange="rest", routing_key="")
        for name in EXCHANGES:
            self.publisher.call("queue.bind", queue="full", exchange=name, routing_key="full")
            self.publisher.call("queue.bind", queue="q", exchange=name, routing_key="q")
        self.bound = dict.fromkeys(EXCHANGES, True)
        self.narrow()
        self.linked.after_turn = self.drain
        for name in CONSUMED:
            self.consumer.feed(method("basic.consume", 1, queue=name, consumer_tag=name, no_ack=True))
        self.drain()

    def narrow(self) -> None:
        """Small windows, and small pages also for those that were restored."""
        for schedule in self.schedules().values():
            schedule.window_messages_max = WINDOW
        for request in self.linked.broker.shard.page_requests:
            request.limit = min(request.limit, WINDOW // 4)

    def schedules(self) -> dict[str, Schedule]:
        found = self.linked.broker.vhosts["/"].exchanges.items()
        return {name: exchange.schedule for name, exchange in found if isinstance(exchange, DelayedExchange)}

    def connect_publisher(self) -> None:
        self.publishers += 1
        self.unanswered: dict[int, bytes] = {}
        self.published = 0
        self.in_transaction: list[bytes] = []
        self.committing: list[bytes] = []
        self.publisher = self.linked.client(len(CHANNELS))
        self.publisher.call("confirm.select", on=CONFIRMS)
        self.publisher.call("tx.select", on=TRANSACTIONS)

    def drain(self) -> None:
        """Everything the broker said is looked at."""
        self.now = int(self.linked.broker.now)
        for came in self.publisher.received():
            self.answered(came)
        for came in self.consumer.received():
            if came.name == "basic.deliver":
                self.delivered(came.values["consumer_tag"], came)
            elif came.name == "basic.get-ok":
                self.delivered("full", came)
            else:
                assert came.name in ("basic.consume-ok", "basic.get-empty"), came

    def answered(self, came: Received) -> None:
        if came.name == "basic.return":
            self.returned(came)
        elif came.name == "tx.commit-ok":
            for body in self.committing:
                self.hear(body)
            self.committing = []
        elif came.name == "basic.ack":
            tag, multiple = came.values["delivery_tag"], came.values["multiple"]
            for number in [one for one in self.unanswered if one == tag or (multiple and one < tag)]:
                self.hear(self.unanswered.pop(number))
        else:
            assert came.name in ("queue.bind-ok", "queue.unbind-ok", "tx.rollback-ok"), came

    def hear(self, body: bytes) -> None:
        """It is safe now."""
        if body in self.requests:
            self.requests[body].heard = True
        elif body in self.sent:
            self.sent[body].heard = True

    def returned(self, came: Received) -> None:
        body = came.body
        if body in self.requests:
            request = self.requests[body]
            assert request.returned is not False, f"{body!r} came back, and there was something to cancel"
            assert request.publisher == self.publishers
            request.returned = False
            return
        one = self.sent[body]
        assert one.publisher == self.publishers, f"{body!r} came back, and is not of this publisher, or not mandatory"
        assert (one.exchange, one.key, self.bound["letters"]) == ("letters", "q", False), f"{body!r} came back"
        assert came.values["reply_text"] == "NO_ROUTE"
        assert "x-delayed-publisher" not in came.properties["headers"]
        self.has_come(body, one)

    def delivered(self, queue: str, came: Received) -> None:
        body = came.body
        assert body in self.sent, f"{body!r} came out of nowhere, to {queue}"
        one = self.sent[body]
        self.has_come(body, one)
        headers = came.properties["headers"]
        assert not {"x-delayed-publisher", "x-period"} & set(headers)
        if queue == "dead":
            assert (one.exchange, headers["x-death"][0]["reason"]) == ("letters", "delayed_unroutable")
        elif queue == "rest":
            assert one.exchange != "letters"
        else:
            assert one.key == queue
        if queue != "full" and one.times == 1 and one.exchange != "letters":
            assert one.due >= self.last_due[one.exchange], f"{body!r} came after a later one"
            self.last_due[one.exchange] = one.due

    def has_come(self, body: bytes, one: Sent) -> None:
        times = self.came[body] = self.came.get(body, 0) + 1
        assert times <= one.times, f"{body!r} came again"
        early = one.due + (times - 1) * PERIOD_MS - self.now
        assert early <= 0, f"{body!r} came {early} ms too early"
        cancelled = [request for request, other in self.requests.items() if body in other.found]
        assert not cancelled, f"{body!r} came, and {cancelled} had cancelled it"

    # Publishing

    @rule(
        number=numbers,
        delay=delays,
        count=st.sampled_from((1, 1, 3, 8)),
        key=st.sampled_from(("q", "q", "q", "full")),
        name=st.sampled_from(NAMES),
        persistent=mostly,
        mandatory=often,
        recurs=st.sampled_from((False, False, False, True)),
        commit=st.sampled_from((None, None, True, True, False)),
    )
    def publish(
        self,
        number: int,
        delay: int,
        count: int,
        key: str,
        name: str,
        persistent: bool,
        mandatory: bool,
        recurs: bool,
        commit: bool | None,
    ) -> None:
        """``commit``: in a transaction that is committed or rolled back; None for one by one with confirms."""
        if commit is not None and self.committing:
            commit = None
        exchange = self.named(number)
        sent: list[bytes] = []
        for further in range(count):
            self.bodies += 1
            body = b"%06d" % self.bodies
            times = REPEAT if recurs and key == "q" else 1
            due = self.now + delay + further
            one = Sent(exchange, key, due, times, persistent or times > 1, name, mandatory * self.publishers)
            sent.append(body)
            self.publish_one(body, one, delay + further, mandatory, CONFIRMS if commit is None else TRANSACTIONS)
        if commit is not None:
            for body in sent if not commit else []:
                self.sent.pop(body, None)
            self.committing = sent if commit else []
            self.publisher.feed(method("tx.commit" if commit else "tx.rollback", TRANSACTIONS))
            self.drain()

    def publish_one(self, body: bytes, one: Sent, delay: int, mandatory: bool, channel: int) -> None:
        headers: dict[str, Any] = {"x-delay": delay}
        if one.times > 1:
            headers |= {"x-period": PERIOD_MS, "x-repeat": one.times}
        properties: dict[str, Any] = {"headers": headers, "delivery_mode": 2 if one.persistent else 1}
        if one.name:
            properties["message_id"] = one.name
        if channel == CONFIRMS:
            self.published += 1
            self.unanswered[self.published] = body
        data = publication(one.exchange, one.key, body, properties, on=channel, mandatory=mandatory)
        if not (mandatory and one.exchange == "letters" and one.key == "q" and not self.bound["letters"]):
            self.sent[body] = one
            self.publisher.feed(data)
            self.drain()
            return
        # Nobody would take it now: it is never on its way, and in a transaction that is said at its commit.
        if channel == CONFIRMS:
            self.linked.after_turn = None
            self.publisher.feed(data)
            came = self.publisher.received()
            assert [(one.name, one.body) for one in came if one.name == "basic.return"] == [("basic.return", body)]
            self.linked.after_turn = self.drain
            for other in came:
                if other.name != "basic.return":
                    self.answered(other)
            self.drain()

    @rule(number=numbers, name=st.sampled_from(("a", "a", "b")), mandatory=mostly)
    def cancel(self, number: int, name: str, mandatory: bool) -> None:
        exchange = self.named(number)
        self.bodies += 1
        body = b"%06d cancel" % self.bodies
        mine = {at: one for at, one in self.sent.items() if one.exchange == exchange and one.name == name}
        left = {at for at, one in mine.items() if self.came.get(at, 0) < one.times and not self.is_cancelled(at)}
        # What is due already may have come, or be on its way.
        found = {at for at in left if mine[at].due > self.now}
        returned = (False if found else None if left else True) if mandatory else False
        self.requests[body] = Request(found, left - found, returned, self.publishers)
        self.published += 1
        self.unanswered[self.published] = body
        self.publisher.feed(publication(exchange, "", body, {"headers": {"x-delay-cancel": name}}, mandatory=mandatory))
        self.drain()

    def is_cancelled(self, body: bytes) -> bool:
        return any(body in request.found for request in self.requests.values())

    def may_be_cancelled(self, body: bytes) -> bool:
        return any(body in request.found | request.perhaps for request in self.requests.values())

    @rule(number=numbers)
    def bind_or_unbind(self, number: int) -> None:
        exchange = self.named(number)
        self.linked.turn()
        self.bound[exchange] = not self.bound[exchange]
        word = "queue.bind" if self.bound[exchange] else "queue.unbind"
        self.publisher.feed(method(word, CONFIRMS, queue="q", exchange=exchange, routing_key="q"))
        self.commit()

    @rule()
    def take_from_full(self) -> None:
        for _ in range(ROOM):
            self.consumer.feed(method("basic.get", 1, queue="full", no_ack=True))
            self.catch_up()

    # Time and the store

    @rule(milliseconds=st.sampled_from((1, 1, 5, 20, 60, 300, 6000)))
    def advance(self, milliseconds: int) -> None:
        self.linked.advance(milliseconds)
        self.linked.turn()
        self.drain()

    @rule(milliseconds=st.sampled_from((30, 400)))
    def advance_at_rest(self, milliseconds: int) -> None:
        """With nothing in the way everything comes in the very millisecond it is due."""
        self.catch_up()
        end = self.now + milliseconds
        while (deadline := self.linked.broker.next_deadline()) and deadline <= end:
            self.linked.advance(deadline - self.now)
            self.catch_up()
            self.nobody_is_late(deadline)
        self.linked.advance(end - self.now)
        self.drain()
        self.nobody_is_late(end)

    def nobody_is_late(self, now: int) -> None:
        late = [
            body
            for body, one in self.sent.items()
            if one.key == "q"
            and one.exchange != "letters"
            and not self.may_be_cancelled(body)
            # Of what recurs it is known when it comes first; a time that passed unseen does not come.
            and (one.due <= now and not self.came.get(body, 0))
        ]
        assert not late, f"due, and not here: {late}"

    @rule()
    def seal(self) -> None:
        before, came = self.linked.batch, dict(self.came)
        if self.linked.take() is not None and before is None:
            self.sealed = came
        elif self.linked.batch is None:
            self.safe = self.sealed = came  # there was nothing to write
        self.drain()

    @precondition(lambda self: self.linked.batch is not None)
    @rule(fault=st.sampled_from((None, None, None, *Fault)), told=mostly)
    def write(self, fault: Fault | None, told: bool) -> None:
        """Without ``told`` it crashes when the batch is on disk, and nobody knows."""
        batch = self.linked.batch
        assert batch is not None
        self.store.plan(fault)
        try:
            self.store.commit(batch)
        except StoreFull:
            return
        except (StoreUnavailable, StoreUncertain):
            if self.store.resume() != batch.number:
                return
        self.safe = self.sealed
        self.look_at_disk()
        if told:
            self.linked.committed()
            self.drain()
        else:
            self.crash(0)

    @rule()
    def commit(self) -> None:
        for _ in range(100):
            self.seal()
            if self.linked.batch is None:
                return
            self.write(None, told=True)
        raise AssertionError("the broker never stops writing")

    @rule()
    def read_pages(self) -> None:
        self.linked.load_pages()
        self.drain()

    def stored(self) -> Counter[bytes]:
        return Counter(stored_bodies(self.linked.reader))

    def look_at_disk(self) -> None:
        """Promises 1 and 2."""
        found = self.stored()
        for body, one in self.sent.items():
            left = one.times - self.safe.get(body, 0)
            assert found[body] <= max(left, 0), f"{body!r} is stored {found[body]} times, and came"
            # What is not persistent is safe as long as it waits.
            if one.heard and left and EXCHANGES[one.exchange][0] and (one.persistent or one.due > self.now):
                assert found[body] or self.may_be_cancelled(body), f"{body!r} was confirmed, and is lost"
        nowhere = [body for body in found if body not in self.sent and body not in self.requests]
        assert not nowhere, f"stored, and nobody published it: {nowhere}"

    def catch_up(self) -> None:
        self.linked.turn()
        for _ in range(300):
            self.commit()
            if not self.linked.load_pages():
                self.drain()
                return
            self.drain()
        raise AssertionError("the broker never comes to rest")

    # Ends

    @rule(
        what=st.sampled_from(("nothing", "rest", "lose publisher", "crash", "crash", "restart")),
        downtime=st.sampled_from((0, 0, 10, 400)),
    )
    def disturb(self, what: str, downtime: int) -> None:
        """Steps of which only one in many is wanted."""
        if what == "rest":
            self.rest()
        elif what == "lose publisher":
            self.lose_publisher()
        elif what == "crash":
            self.crash(downtime)
        elif what == "restart":
            self.restart(downtime)

    def lose_publisher(self) -> None:
        self.linked.after_turn = None  # nobody hears what is said to it
        self.publisher.hang_up()
        self.publisher.received()
        for request in self.requests.values():
            request.returned = request.returned and None
        # The transaction that was committed goes on; nobody is told.
        self.connect_publisher()
        self.linked.after_turn = self.drain
        self.drain()

    def crash(self, downtime: int) -> None:
        self.store.crash()
        self.look_at_disk()
        self.begin_again(downtime)

    def begin_again(self, downtime: int) -> None:
        """What is on disk is all there is."""
        found = self.stored()
        for body, one in list(self.sent.items()):
            if not found[body] and self.safe.get(body, 0) < one.times:
                del self.sent[body]
        for body, request in list(self.requests.items()):
            request.returned = False  # its publisher is gone
            if not found[body] and any(found[other] for other in request.found):
                assert not request.heard, f"{body!r} was confirmed, and is lost"
                del self.requests[body]
            request.found &= set(self.sent)
            request.perhaps &= set(self.sent)
        self.now += downtime
        self.linked.after_turn = None
        self.start()

    def restart(self, downtime: int) -> None:
        self.rest()
        self.linked.after_turn = None
        self.linked.stop()
        self.safe = dict(self.came)
        self.look_at_disk()
        self.begin_again(downtime)

    def rest(self) -> None:
        """The store catches up: what is counted is what there is."""
        self.catch_up()
        found = self.stored()
        assert not [body for body in found if self.is_cancelled(body)]
        assert not [body for body in found if body in self.requests], "a request stays where it is"
        back = [body for body, request in self.requests.items() if request.returned]
        assert not back, f"nothing to cancel, and nobody was told: {back}"
        in_full = self.linked.broker.vhosts["/"].queues["full"].message_count()
        waits = [body for body, one in self.sent.items() if self.came.get(body, 0) < one.times]
        most = [body for body in waits if not self.is_cancelled(body)]
        least = [body for body in waits if not self.may_be_cancelled(body)]
        schedules = self.schedules()
        count = sum(schedule.message_count() for schedule in schedules.values()) + in_full
        assert len(least) <= count <= len(most), f"{count} wait, of {most}"
        for schedule in schedules.values():
            assert len(schedule.window) <= WINDOW
            assert (schedule.reads, schedule.kept, schedule.looking) == ({}, {}, [])

    def teardown(self) -> None:
        self.rest()
        self.linked.advance(ALL_MS)
        for _ in range(10 + len(self.sent)):
            self.catch_up()
            self.take_from_full()
            self.linked.advance(REFUSED_MS)
        self.rest()
        missing = [body for body, one in self.sent.items() if self.came.get(body, 0) < one.times]
        assert not [body for body in missing if not self.may_be_cancelled(body)], f"never came: {missing}"
        self.restart(0)
        assert not self.stored()
