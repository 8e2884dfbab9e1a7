"""The steps of the second simulation: queues that expire, limit, refuse, order, retry and dead-letter to each other.

The first one (machine.py) knows at each moment what must lie where. Here messages wander by themselves, so it is
their number that is watched, on disk after every commit and after every crash:

1. A confirmed persistent message that was not acknowledged lies in exactly one queue, whatever queues it has been in.
2. No message lies in two queues, and none that was acknowledged in a committed batch lies in any.
3. What a queue refused lies nowhere, or where its dead letters go.
4. Nothing is delivered after it expired, and once time has passed nothing that expired is counted.
5. No queue is above its limit once it has come to rest; nothing in flight is delivered a second time.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from amqpd.store.contract import Store, StoreFull, StoreUnavailable, StoreUncertain
from amqpd.store.memory import MemoryDisk, MemoryStore
from tests.support.faulty_store import Fault, FaultyStore
from tests.support.linked import Linked, LinkedClient, Received, method, publication

TTL_MS = 50
RETRY_MS = 30
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
}
LIMITED = ("short", "refusing", "refusing-dlx")
EXPIRING = ("ttl", "transient-ttl", "priorities", "retry")
CHANNELS = (1, 2)

queue_names = st.sampled_from(sorted(QUEUES))
indexes = st.integers(0, 20)


class Delivery(NamedTuple):
    queue: str
    channel: int
    tag: int
    body: bytes


class FeatureMachine(RuleBasedStateMachine):
    """Subclasses give another store."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryDisk()
        self.now = 1_000_000
        self.bodies = 0
        self.entered: dict[bytes, tuple[str, int]] = {}
        self.persistent: set[bytes] = set()
        self.confirmed: set[bytes] = set()
        self.refused: dict[bytes, str] = {}
        self.acked: set[bytes] = set()
        self.acked_sealed: set[bytes] = set()
        self.acked_safe: set[bytes] = set()
        self.start()

    def inner_store(self) -> Store:
        return MemoryStore(self.disk)

    # The broker's life

    def start(self) -> None:
        self.store = FaultyStore(self.inner_store())
        self.linked = Linked(self.store, self.now)
        shard = self.linked.broker.shard
        shard.window_bytes_min, shard.window_bytes_max, shard.window_budget = 1500, 2500, 6000
        shard.page_messages, shard.page_bytes, shard.page_low = 3, 700, 900
        self.unanswered: dict[int, bytes] = {}
        self.published = 0
        self.deliveries: list[Delivery] = []
        self.tags = dict.fromkeys(CHANNELS, 0)
        self.subscribed: dict[str, tuple[int, str]] = {}
        self.acked = set(self.acked_safe)
        self.acked_sealed = set(self.acked_safe)
        self.publisher = self.linked.client()
        self.publisher.call("confirm.select")
        self.consumer = self.linked.client(len(CHANNELS))
        for channel in CHANNELS:
            self.consumer.call("basic.qos", on=channel, prefetch_size=0, prefetch_count=3)
        for name, (durable, arguments) in QUEUES.items():
            if name not in self.linked.broker.vhosts["/"].queues:
                self.publisher.call("queue.declare", queue=name, durable=durable, arguments=arguments)
        self.drain()

    def drain(self) -> None:
        """Everything the broker said is looked at."""
        self.now = int(self.linked.broker.now)
        for came in self.publisher.received():
            self.answered(came)
        for came in self.consumer.received():
            if came.name == "basic.deliver":
                self.delivered(came)

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
        name, since = self.entered[body]
        source = self.subscribed[came.values["consumer_tag"]][1]
        if (
            name == source
            and name in ("ttl", "transient-ttl")
            and "x-death" not in (came.properties.get("headers") or {})
        ):
            assert self.now <= since + TTL_MS, f"{body!r} of {name} expired {self.now - since - TTL_MS} ms ago"
        self.deliveries.append(Delivery(source, came.channel, came.values["delivery_tag"], body))

    # Clients

    @rule(
        name=queue_names,
        persistent=st.sampled_from((True, True, False)),
        expiration=st.sampled_from((None, None, 0, 5, 40, 500)),
        priority=st.sampled_from((None, 0, 1, 3, 9)),
        size=st.sampled_from((0, 40, 300)),
        count=st.sampled_from((1, 1, 5)),
    )
    def publish(
        self, name: str, persistent: bool, expiration: int | None, priority: int | None, size: int, count: int
    ) -> None:
        if name in self.linked.broker.vhosts["/"].queues:
            for _ in range(count):
                self.publish_one(name, persistent, expiration if name == "mixed" else None, priority, size)
            self.drain()

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
        self.published += 1
        self.unanswered[self.published] = body
        self.publisher.feed(publication("", name, body, properties))

    @rule(name=queue_names, channel=st.sampled_from(CHANNELS))
    def subscribe(self, name: str, channel: int) -> None:
        tag = f"{name}-{channel}"
        if tag not in self.subscribed:
            self.subscribed[tag] = (channel, name)
            self.consumer.feed(method("basic.consume", channel, queue=name, consumer_tag=tag))
            self.drain()

    @precondition(lambda self: bool(self.subscribed))
    @rule(index=indexes)
    def cancel(self, index: int) -> None:
        tag = sorted(self.subscribed)[index % len(self.subscribed)]
        channel, _ = self.subscribed.pop(tag)
        self.consumer.feed(method("basic.cancel", channel, consumer_tag=tag))
        self.drain()

    @precondition(lambda self: bool(self.deliveries))
    @rule(index=indexes, how=st.sampled_from(("ack", "reject", "reject", "requeue", "nack requeue")))
    def settle(self, index: int, how: str) -> None:
        delivery = self.deliveries.pop(index % len(self.deliveries))
        ends = "x-dead-letter-exchange" not in QUEUES[delivery.queue][1]
        if how == "ack" or (how == "reject" and ends):
            self.acked.add(delivery.body)
        if how == "ack":
            frame = method("basic.ack", delivery.channel, delivery_tag=delivery.tag)
        elif how == "nack requeue":
            frame = method("basic.nack", delivery.channel, delivery_tag=delivery.tag, requeue=True)
        else:
            frame = method("basic.reject", delivery.channel, delivery_tag=delivery.tag, requeue=how == "requeue")
        self.consumer.feed(frame)
        self.drain()

    @rule()
    def lose_consumer(self) -> None:
        self.consumer.hang_up()
        self.consumer.received()
        self.deliveries.clear()
        self.subscribed.clear()
        self.tags = dict.fromkeys(CHANNELS, 0)
        self.consumer = LinkedClient(self.linked, len(self.linked.clients) + 1)
        self.linked.clients.append(self.consumer)
        self.consumer.connect()
        for channel in CHANNELS:
            self.consumer.call("channel.open", on=channel)
        self.drain()

    @rule(name=queue_names)
    def purge(self, name: str) -> None:
        """Only where nothing is: what is purged is no loss, but it would have to be known what it was."""
        queue = self.linked.broker.vhosts["/"].queues.get(name)
        if queue is not None and not queue.message_count():
            self.publisher.feed(method("queue.purge", 1, queue=name))
            self.linked.commit()
            self.publisher.inbox = type(self.publisher.inbox)(
                came for came in self.publisher.inbox if came.name != "queue.purge-ok"
            )
            self.committed()

    # Time and the store

    @rule(milliseconds=st.sampled_from((1, 5, 20, 31, 60, 300)))
    def advance(self, milliseconds: int) -> None:
        self.linked.advance(milliseconds)
        self.linked.turn()
        self.drain()

    @rule()
    def seal(self) -> None:
        before = self.linked.batch
        if self.linked.take() is not None and before is None:
            self.acked_sealed = set(self.acked)
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
        self.acked_safe = set(self.acked_sealed)
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
        again = [body for body in found if body in self.acked_safe]
        assert not again, f"acknowledged, and still stored: {again}"
        lost = [body for body in self.persistent & self.confirmed if body not in found and body not in self.acked]
        assert not lost, f"confirmed, and lost: {lost}"
        kept = [body for body, name in self.refused.items() if name == "refusing" and body in found]
        assert not kept, f"refused, and kept: {kept}"

    def stored(self) -> list[bytes]:
        shelf = self.disk.durable
        return [shelf.messages[position][4] for positions in shelf.queues.values() for position in positions]

    # Ends

    @rule()
    def crash(self) -> None:
        self.store.crash()
        self.look_at_disk()
        self.start()

    @rule()
    def restart(self) -> None:
        self.rest()
        self.linked.stop()
        self.acked_safe = set(self.acked)
        self.look_at_disk()
        self.start()

    @rule()
    def rest(self) -> None:
        """The store catches up, all deadlines pass."""
        for _ in range(3):
            self.catch_up()
            self.linked.advance(4 * TTL_MS + RETRY_MS)
            self.linked.turn()
            self.drain()
        self.catch_up()
        queues = self.linked.broker.vhosts["/"].queues
        for name in EXPIRING:
            assert queues[name].message_count() == 0, f"{name} counts what expired"
        for name in LIMITED:
            assert queues[name].message_count() <= LIMIT, f"{name} is above its limit"
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
