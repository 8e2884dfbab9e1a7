"""The steps of the second simulation: queues that expire, limit, refuse, order, retry and dead-letter to each other.

The first one (machine.py) knows at each moment what must lie where. Here messages wander by themselves, so it is
their number that is watched, on disk after every commit and after every crash:

1. A confirmed persistent message that was not acknowledged lies in exactly one queue, whatever queues it has been in.
2. No message lies in two queues, and none that was acknowledged in a committed batch lies in any.
3. What a queue refused lies nowhere, or where its dead letters go.
4. Nothing is delivered after it expired, and once time has passed nothing that expired is counted.
5. No queue that drops is above its limit once it has come to rest, no queue that refuses takes one more there; nothing
   in flight is delivered a second time.
6. What is delivered is the next one: nothing of a higher level is ready, nothing older of its own.
7. The delivery count a queue tells is how often the message came back to it, and never above the limit.
8. Of a single active consumer's queue only the one that subscribed first gets anything.
9. What waits for its retry is not delivered before.
10. A dead letter that is to be kept is never lost, and goes on once there is room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from amqpd.broker.message import Entry
from amqpd.broker.policies import make_policy
from amqpd.queues.classic import ClassicQueue
from amqpd.store.contract import Store, StoreFull, StoreUnavailable, StoreUncertain
from amqpd.store.memory import MemoryDisk, MemoryStore
from tests.sim.contents import kept_positions, passed_over, ready_bodies
from tests.support.faulty_store import Fault, FaultyStore
from tests.support.linked import Linked, LinkedClient, Received, method, publication

TTL_MS = 50
RETRY_MS = 30
DELAY_MS, DELAY_MAX_MS = 20, 50
REST_MS = 1200  # all there is that waits comes to its end
LIMIT = 3
DEAD = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
# Name: durable, arguments.
QUEUES: dict[str, tuple[bool, dict[str, Any]]] = {
    "dead": (True, {}),
    "ttl": (True, {"x-message-ttl": TTL_MS, **DEAD}),
    "transient-ttl": (False, {"x-message-ttl": TTL_MS, **DEAD}),
    "mixed": (True, DEAD),  # messages bring their own expiration, or none
    "short": (True, {"x-max-length": LIMIT, **DEAD}),
    "refusing": (True, {"x-max-length": LIMIT, "x-overflow": "reject-publish"}),
    "refusing-dlx": (True, {"x-max-length": LIMIT, "x-overflow": "reject-publish-dlx", **DEAD}),
    "priorities": (True, {"x-max-priority": 3, "x-message-ttl": 4 * TTL_MS, **DEAD}),
    "work": (True, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "retry"}),
    "retry": (
        True,
        {"x-message-ttl": RETRY_MS, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work"},
    ),
    "quorum": (True, {"x-queue-type": "quorum", "x-delivery-limit": 2, **DEAD}),
    "single": (True, {"x-single-active-consumer": True, **DEAD}),
    "delayed": (
        True,
        {"x-delayed-retry-type": "all", "x-delayed-retry-min": DELAY_MS, "x-delayed-retry-max": DELAY_MAX_MS},
    ),
    "full": (True, {"x-max-length": LIMIT, "x-overflow": "reject-publish"}),
    "keeping": (
        True,
        {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "full",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        },
    ),
    "policied": (True, {}),
    "policied-levels": (True, {"x-max-priority": 2}),
}
DROPPING = ("short", "policied", "policied-levels")
REFUSING = ("refusing", "refusing-dlx", "full")
COUNTING = ("quorum", "delayed")
DELIVERY_LIMIT = 2
KEPT_MAX = 3
POLICY = "live"
DEAD_POLICY = {"dead-letter-exchange": "", "dead-letter-routing-key": "dead"}
POLICIES: tuple[dict[str, Any], ...] = (
    {},
    {"message-ttl": TTL_MS},
    {"max-length": LIMIT},
    DEAD_POLICY,
    {"message-ttl": TTL_MS, **DEAD_POLICY},
    {"max-length": LIMIT, **DEAD_POLICY},
    {"max-length": 0, "message-ttl": RETRY_MS, **DEAD_POLICY},
)
# No dead letters go there, so what becomes of its messages is known when it is deleted.
DELETABLE = (
    "ttl",
    "transient-ttl",
    "mixed",
    "short",
    "priorities",
    "quorum",
    "single",
    "delayed",
    "keeping",
    "policied",
    "policied-levels",
)
EXPIRING = ("ttl", "transient-ttl", "priorities", "retry")
CHANNELS = (1, 2)

# What clients use in one run: few queues, that have to do with each other, so that their steps meet.
groups = st.sampled_from(
    (
        ("keeping", "full"),
        ("keeping", "keeping", "full"),
        ("priorities", "dead"),
        ("policied", "policied-levels", "dead"),
        ("policied",),
        ("policied-levels",),
        ("quorum", "dead"),
        ("delayed", "single"),
        ("work", "retry"),
        ("mixed", "short"),
        ("ttl", "transient-ttl"),
        ("refusing", "refusing-dlx"),
    )
)
indexes = st.integers(0, 20)
numbers = st.integers(0, 3)


class Delivery(NamedTuple):
    queue: str
    channel: int
    tag: int
    body: bytes


class Books(NamedTuple):
    """What a batch holds of what we know.

    ``done``: bodies that were acknowledged, purged or refused for good. ``returns``: how often a body came back to
    its queue, where that is counted. ``policy``: that in force for the queues it is for.
    """

    done: frozenset[bytes]
    returns: dict[bytes, int]
    policy: dict[str, Any]


class WatchedLinked(Linked):
    """Calls ``after_turn`` after every turn, before the next one changes anything."""

    after_turn: Callable[[], None] | None = None

    def _turn(self) -> None:
        super()._turn()
        if self.after_turn is not None:
            self.after_turn()


class FeatureMachine(RuleBasedStateMachine):
    """Subclasses give another store."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryDisk()
        self.now = 1_000_000
        self.bodies = 0
        self.entered: dict[bytes, tuple[str, int]] = {}
        self.persistent: set[bytes] = set()
        self.expiring: set[bytes] = set()  # that entered where a policy gives a TTL
        self.confirmed: set[bytes] = set()
        self.refused: dict[bytes, str] = {}
        self.acked: set[bytes] = set()
        self.returns: dict[bytes, int] = {}
        self.policy: dict[str, Any] = {}
        self.sealed = self.safe = self.books()
        # Without a dead-letter exchange these may go at any time, or are gone.
        self.loose: set[bytes] = set()
        self.start()

    def books(self) -> Books:
        return Books(frozenset(self.acked), dict(self.returns), self.policy)

    def inner_store(self) -> Store:
        return MemoryStore(self.disk)

    # The broker's life

    def start(self) -> None:
        self.store = FaultyStore(self.inner_store())
        self.linked = WatchedLinked(self.store, self.now)
        shard = self.linked.broker.shard
        shard.window_bytes_min, shard.window_bytes_max, shard.window_budget = 1500, 2500, 6000
        shard.page_messages, shard.page_bytes, shard.page_low = 3, 700, 900
        shard.kept_max = KEPT_MAX
        self.unanswered: dict[int, bytes] = {}
        self.published = 0
        self.deliveries: list[Delivery] = []
        self.tags = dict.fromkeys(CHANNELS, 0)
        self.subscribed: dict[str, tuple[int, str]] = {}  # in the order they subscribed
        self.waits: dict[bytes, int] = {}
        self.acked = set(self.safe.done)
        self.returns = dict(self.safe.returns)
        self.policy = self.safe.policy
        self.sealed = self.safe
        self.publisher = self.linked.client()
        self.publisher.call("confirm.select")
        self.consumer = self.linked.client(len(CHANNELS))
        for channel in CHANNELS:
            self.consumer.call("basic.qos", on=channel, prefetch_size=0, prefetch_count=3)
        for name, (durable, arguments) in QUEUES.items():
            if name not in self.linked.broker.vhosts["/"].queues:
                self.publisher.call("queue.declare", queue=name, durable=durable, arguments=arguments)
        policy = self.linked.broker.vhosts["/"].policies.policies.get(POLICY)
        assert (policy.definition if policy is not None else {}) == self.policy
        self.loosen()
        self.linked.after_turn = self.drain
        self.drain()

    def queue(self, name: str) -> ClassicQueue:
        found = self.linked.broker.vhosts["/"].queues[name]
        assert isinstance(found, ClassicQueue)
        return found

    def drain(self) -> None:
        """Everything the broker said is looked at."""
        self.now = int(self.linked.broker.now)
        for came in self.publisher.received():
            if came.name not in ("queue.declare-ok", "queue.delete-ok", "queue.purge-ok"):
                self.answered(came)
        for came in self.consumer.received():
            if came.name == "basic.deliver":
                self.delivered(came)
            elif came.name == "basic.cancel":
                del self.subscribed[came.values["consumer_tag"]]

    def answered(self, came: Received) -> None:
        assert came.name in ("basic.ack", "basic.nack"), came
        tag, multiple = came.values["delivery_tag"], came.values["multiple"]
        for number in [one for one in self.unanswered if one == tag or (multiple and one < tag)]:
            body = self.unanswered.pop(number)
            if came.name == "basic.ack":
                self.confirmed.add(body)
            else:
                self.refused[body] = self.entered[body][0]

    def delivered(self, came: Received) -> None:
        body = came.body
        self.tags[came.channel] += 1
        assert came.values["delivery_tag"] == self.tags[came.channel]
        assert body not in self.acked, f"{body!r} was acknowledged, and comes again"
        assert body not in [one.body for one in self.deliveries], f"{body!r} is in flight, and comes again"
        tag = came.values["consumer_tag"]
        source = self.subscribed[tag][1]
        headers = came.properties.get("headers") or {}
        name, since = self.entered[body]
        if name == source and name in ("ttl", "transient-ttl") and "x-death" not in headers:
            assert self.now <= since + TTL_MS, f"{body!r} of {name} expired {self.now - since - TTL_MS} ms ago"
        if source in COUNTING:
            returns = self.returns.get(body, 0)
            assert headers.get("x-delivery-count", 0) == returns, f"{body!r} came back {returns} times: {headers}"
            assert source != "quorum" or returns <= DELIVERY_LIMIT
        if source == "single":
            assert tag == self.holder(), f"{tag} got {body!r}, but {self.holder()} is active"
        assert self.now >= self.waits.pop(body, 0), f"{body!r} was to wait"
        entry = self.entry_of(came.channel, came.values["delivery_tag"])
        why = passed_over(self.queue(source), entry)
        assert not why, (
            f"{source} delivered {body[:6]!r} at {entry.position}, due {entry.deadline} of {self.now}: {why}"
        )
        self.deliveries.append(Delivery(source, came.channel, came.values["delivery_tag"], body))

    def entry_of(self, channel: int, tag: int) -> Entry:
        return self.consumer.connection.channels[channel].unacked.by_tag[tag]

    def holder(self) -> str:
        return next(tag for tag, (_, name) in self.subscribed.items() if name == "single")

    def came_back(self, delivery: Delivery) -> None:
        """It goes back to its queue."""
        if delivery.queue in COUNTING:
            returns = self.returns[delivery.body] = self.returns.get(delivery.body, 0) + 1
            if delivery.queue == "delayed":
                self.waits[delivery.body] = self.now + min(returns * DELAY_MS, DELAY_MAX_MS)

    def dead_letters(self, name: str) -> bool:
        """Whether what is dead goes on."""
        return "dead-letter-exchange" in self.queue(name).settings

    def loosen(self) -> None:
        """After what is in force changed, or a message entered."""
        if "dead-letter-exchange" in self.policy:
            return
        for body, (name, _) in self.entered.items():
            if name.startswith("policied") and ("max-length" in self.policy or body in self.expiring):
                self.loose.add(body)

    @initialize(one=groups, other=groups, listens=st.lists(st.tuples(numbers, st.sampled_from(CHANNELS)), max_size=3))
    def choose(self, one: tuple[str, ...], other: tuple[str, ...], listens: list[tuple[int, int]]) -> None:
        self.names = (*one, *other)
        for number, channel in listens:
            self.listen(self.named(number), channel)

    def named(self, number: int) -> str:
        return self.names[number % len(self.names)]

    # Clients

    @rule(
        number=numbers,
        persistent=st.sampled_from((True, True, False)),
        expiration=st.sampled_from((None, None, 0, 5, 40, 500)),
        priority=st.sampled_from((None, 0, 1, 3, 9)),
        size=st.sampled_from((0, 40, 300)),
        count=st.sampled_from((1, 4, 10)),
    )
    def publish(
        self, number: int, persistent: bool, expiration: int | None, priority: int | None, size: int, count: int
    ) -> None:
        name = self.named(number)
        for _ in range(count):
            self.publish_one(name, persistent, expiration if name in ("mixed", "keeping") else None, priority, size)

    def publish_one(self, name: str, persistent: bool, expiration: int | None, priority: int | None, size: int) -> None:
        self.bodies += 1
        body = b"%06d" % self.bodies + b"." * size
        properties: dict[str, Any] = {"delivery_mode": 2 if persistent else 1}
        if expiration is not None:
            properties["expiration"] = str(expiration)
        if priority is not None:
            properties["priority"] = priority
        self.entered[body] = (name, self.now)
        # From a transient queue it goes on as a persistent message: it is safe once it is in a durable one.
        if persistent and QUEUES[name][0]:
            self.persistent.add(body)
        if name.startswith("policied"):
            if "message-ttl" in self.policy:
                self.expiring.add(body)
            self.loosen()
        self.published += 1
        self.unanswered[self.published] = body
        before = self.queue(name).message_count()
        self.publisher.feed(publication("", name, body, properties))
        if name in REFUSING:
            assert self.queue(name).message_count() <= max(before, LIMIT), f"{name} took more than its limit"

    @rule(number=numbers, channel=st.sampled_from(CHANNELS))
    def subscribe(self, number: int, channel: int) -> None:
        self.listen(self.named(number), channel)

    def listen(self, name: str, channel: int) -> None:
        tag = f"{name}-{channel}"
        if tag not in self.subscribed:
            self.subscribed[tag] = (channel, name)
            self.consumer.feed(method("basic.consume", channel, queue=name, consumer_tag=tag))
            self.drain()

    def cancel(self, index: int) -> None:
        if not self.subscribed:
            return
        tag = sorted(self.subscribed)[index % len(self.subscribed)]
        channel, _ = self.subscribed.pop(tag)
        self.consumer.feed(method("basic.cancel", channel, consumer_tag=tag))
        self.drain()

    @precondition(lambda self: bool(self.deliveries))
    @rule(how=st.sampled_from(("ack", "reject", "requeue")))
    def settle_all(self, how: str) -> None:
        for _ in range(len(self.deliveries)):
            self.settle_one(0, how)

    @precondition(lambda self: bool(self.deliveries))
    @rule(
        index=indexes,
        count=st.sampled_from((1, 2, 6)),
        how=st.sampled_from(("ack", "reject", "reject", "requeue", "nack requeue")),
    )
    def settle(self, index: int, count: int, how: str) -> None:
        for _ in range(min(count, len(self.deliveries))):
            self.settle_one(index, how)

    def settle_one(self, index: int, how: str) -> None:
        delivery = self.deliveries.pop(index % len(self.deliveries))
        ends = not self.dead_letters(delivery.queue)
        if how == "ack" or (how == "reject" and ends):
            self.acked.add(delivery.body)
        if how.endswith("requeue"):
            self.came_back(delivery)
        if how == "ack":
            frame = method("basic.ack", delivery.channel, delivery_tag=delivery.tag)
        elif how == "nack requeue":
            frame = method("basic.nack", delivery.channel, delivery_tag=delivery.tag, requeue=True)
        else:
            frame = method("basic.reject", delivery.channel, delivery_tag=delivery.tag, requeue=how == "requeue")
        self.consumer.feed(frame)
        self.drain()

    def lose_consumer(self) -> None:
        self.linked.after_turn = None  # nobody hears what is said to it
        self.consumer.hang_up()
        self.consumer.received()
        for delivery in self.deliveries:
            self.came_back(delivery)
        self.deliveries.clear()
        self.subscribed.clear()
        self.linked.after_turn = self.drain
        self.tags = dict.fromkeys(CHANNELS, 0)
        self.consumer = LinkedClient(self.linked, len(self.linked.clients) + 1)
        self.linked.clients.append(self.consumer)
        self.linked.after_turn = None
        self.consumer.connect()
        for channel in CHANNELS:
            self.consumer.call("channel.open", on=channel)
            self.consumer.call("basic.qos", on=channel, prefetch_size=0, prefetch_count=3)
        self.linked.after_turn = self.drain
        self.drain()

    def purge(self, name: str) -> None:
        queue = self.queue(name)
        if queue.loading() or queue.held:
            self.catch_up()  # what is due and not read yet would have to be told from the rest
        self.acked |= set(ready_bodies(queue, self.linked.reader))
        self.publisher.feed(method("queue.purge", 1, queue=name))
        assert queue.message_count() == 0
        self.drain()

    def delete(self, name: str) -> None:
        """And declare it again at once: nothing that was in the old one is in the new one."""
        self.catch_up()
        queue = self.queue(name)
        self.acked |= set(ready_bodies(queue, self.linked.reader))
        for position in kept_positions(self.linked, queue):
            lane = queue.lanes()[0]
            self.acked |= {one.body for one in self.linked.reader.load(int(lane.id), position - 1, 1, 1)}
        mine = [delivery for delivery in self.deliveries if delivery.queue == name]
        self.acked |= {delivery.body for delivery in mine}
        self.deliveries = [delivery for delivery in self.deliveries if delivery.queue != name]
        self.publisher.feed(method("queue.delete", 1, queue=name))
        for delivery in mine:
            self.consumer.feed(method("basic.ack", delivery.channel, delivery_tag=delivery.tag))
        durable, arguments = QUEUES[name]
        self.publisher.feed(method("queue.declare", 1, queue=name, durable=durable, arguments=arguments))
        assert self.queue(name).message_count() == 0
        self.drain()

    @precondition(lambda self: any(name.startswith("policied") for name in self.names))
    @rule(definition=st.sampled_from(POLICIES))
    def set_policy(self, definition: dict[str, Any]) -> None:
        vhost = self.linked.broker.vhosts["/"]
        if definition:
            vhost.put_policy(make_policy(POLICY, "^policied", definition, 0, "queues", False), False)
        elif self.policy:
            vhost.drop_policy(POLICY, False)
        self.policy = definition
        self.loosen()
        self.linked.turn()
        self.drain()

    # Time and the store

    @rule(milliseconds=st.sampled_from((1, 5, 20, 31, 60, 300)))
    def advance(self, milliseconds: int) -> None:
        self.linked.advance(milliseconds)
        self.linked.turn()
        self.drain()

    @rule()
    def seal(self) -> None:
        before, books = self.linked.batch, self.books()
        if self.linked.take() is not None and before is None:
            self.sealed = books
        elif self.linked.batch is None:
            # There was nothing to write: what was published and settled since never reaches the disk.
            self.safe = self.sealed = books
        self.drain()

    @precondition(lambda self: self.linked.batch is not None)
    @rule(fault=st.sampled_from((None, None, None, *Fault)))
    def write(self, fault: Fault | None) -> None:
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
        self.committed()
        self.linked.committed()
        self.drain()

    def committed(self) -> None:
        self.safe = self.sealed
        self.look_at_disk()

    @rule()
    def commit(self) -> None:
        for _ in range(100):
            self.seal()
            if self.linked.batch is None:
                return
            self.write(None)
        raise AssertionError("the broker never stops writing")

    @rule()
    def read_pages(self) -> None:
        self.linked.load_pages()
        self.drain()

    def look_at_disk(self) -> None:
        """What every reader of the store sees now."""
        found = Counter(self.stored())
        twice = [body for body, count in found.items() if count > 1]
        assert not twice, f"in two queues: {twice}"
        again = [body for body in found if body in self.safe.done]
        assert not again, f"acknowledged, and still stored: {again}"
        safe = (self.persistent & self.confirmed) - self.acked - self.loose
        lost = [body for body in safe if body not in found]
        assert not lost, f"confirmed, and lost: {lost}"
        # What was refused and is stored as a dead letter is as safe as what was confirmed.
        self.confirmed |= {body for body, name in self.refused.items() if name == "refusing-dlx" and body in found}
        kept = [body for body, name in self.refused.items() if name in ("refusing", "full") and body in found]
        assert not kept, f"refused, and kept: {kept}"

    def stored(self) -> list[bytes]:
        shelf = self.disk.durable
        return [shelf.messages[position][4] for positions in shelf.queues.values() for position in positions]

    # Ends

    @rule(
        what=st.sampled_from(
            ("nothing", "nothing", "rest", "cancel", "lose consumer", "purge", "delete", "crash", "restart")
        ),
        number=numbers,
    )
    def disturb(self, what: str, number: int) -> None:
        """Steps of which only one in many is wanted: in between queues must get long."""
        name = self.named(number)
        if what == "cancel":
            self.cancel(number)
        elif what == "lose consumer":
            self.lose_consumer()
        elif what == "purge":
            self.purge(name)
        elif what == "delete" and name in DELETABLE:
            self.delete(name)
        elif what == "rest":
            self.rest()
        elif what == "crash":
            self.crash()
        elif what == "restart":
            self.restart()

    def crash(self) -> None:
        self.store.crash()
        self.look_at_disk()
        # The nack came at once; the dead letter was not written yet.
        self.refused = {body: name for body, name in self.refused.items() if name != "refusing-dlx"}
        self.start()

    def restart(self) -> None:
        self.rest()
        self.linked.after_turn = None
        for delivery in self.deliveries:
            self.came_back(delivery)
        self.linked.stop()
        self.safe = self.books()
        self.look_at_disk()
        self.start()

    def rest(self) -> None:
        """The store catches up, all deadlines pass."""
        for _ in range(3):
            self.catch_up()
            self.linked.advance(REST_MS)
            self.linked.turn()
            self.drain()
        self.catch_up()
        queues = {name: self.queue(name) for name in QUEUES}
        for name in EXPIRING:
            assert queues[name].message_count() == 0, f"{name} counts what expired"
        for name in DROPPING:
            limit = queues[name].number("max-length")
            assert limit < 0 or queues[name].message_count() <= limit, f"{name} is above its limit"
        for name, queue in queues.items():
            bodies = ready_bodies(queue, self.linked.reader)
            assert queue.message_count() + queue.delayed_count() == len(bodies), (
                f"{name} says {queue.message_count()}, has {bodies}"
            )
        room = queues["full"].message_count() < LIMIT
        assert not (room and queues["keeping"].kept), "there is room, and letters are kept"
        held = sum(queue.unacked_count() for queue in queues.values())
        assert held == len(self.deliveries), "in flight"
        refused = [body for body, name in self.refused.items() if name == "refusing-dlx" and body in self.persistent]
        found = set(self.stored())
        lost = [body for body in refused if body not in found and body not in self.acked]
        assert not lost, f"refused, and not dead-lettered: {lost}"

    def catch_up(self) -> None:
        for _ in range(300):
            self.commit()
            self.drain()
            if not self.linked.load_pages():
                return
        raise AssertionError("the broker never comes to rest")

    def teardown(self) -> None:
        self.rest()
        self.restart()
