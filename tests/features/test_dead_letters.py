"""Dead-lettering: on queues over a memory store, with crashes; and through a linked client."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.broker.exchange import Exchange
from amqpd.broker.message import Message
from amqpd.queues.classic import ClassicQueue
from amqpd.store.memory import MemoryDisk, MemoryStore
from amqpd.wire.table import Field, Table, longstr, plain
from interop.conformance.codec import Typed
from tests.queues.building import Bench, bodies, message, numbered
from tests.support.linked import Linked, LinkedClient, Received

COUNT = 12


def table(arguments: dict[str, int | str]) -> Table:
    return {
        f"x-{name}": longstr(value) if isinstance(value, str) else Field("I", value)
        for name, value in arguments.items()
    }


def declare(bench: Bench, name: str, durable: bool = True, **arguments: int | str) -> ClassicQueue:
    """Arguments with ``_`` for ``-`` and without ``x-``."""
    given = table({key.replace("_", "-"): value for key, value in arguments.items()})
    queue = bench.vhost.declare_queue(name, "classic", durable, False, None, given)
    assert isinstance(queue, ClassicQueue)
    return queue


def found(bench: Bench, name: str) -> list[bytes]:
    """Everything ready in a queue, taken."""
    queue = bench.vhost.queues[name]
    assert isinstance(queue, ClassicQueue)
    return sorted(bodies(bench.drain(queue)))


SAMPLE = message()


def alike() -> Message:
    """Messages that share header and address, as those of one publisher do."""
    return Message(SAMPLE.address, SAMPLE.header, SAMPLE.body)


def turn(bench: Bench) -> None:
    bench.broker.run_turn()
    while bench.broker.busy():
        bench.broker.run_turn()


# One store transaction


class Story:
    """What happens to ``COUNT`` messages of a queue, one step and one commit after the other."""

    def __init__(self, reason: str, targets: tuple[str, ...], window: int = 1 << 20) -> None:
        self.reason = reason
        self.targets = targets
        self.durable = 0  # messages whose publish is on disk
        self.bench = Bench(window)
        if reason == "expired":
            self.source = declare(self.bench, "source", dead_letter_exchange="dlx", message_ttl=50)
        elif reason == "maxlen":
            self.source = declare(self.bench, "source", dead_letter_exchange="dlx", max_length=4)
        else:
            self.source = declare(self.bench, "source", dead_letter_exchange="dlx")
        exchange = self.bench.vhost.declare_exchange("dlx", "fanout", True, False, False, {})
        for name in targets:
            self.bench.vhost.bind(exchange, declare(self.bench, name), "", {})
        self.bench.commit()

    def commit_one(self, published: int) -> None:
        batch = self.bench.broker.take_batch()
        if batch is not None:
            self.bench.write(batch)
        self.durable = min(published, COUNT)

    def step(self, number: int) -> None:
        bench = self.bench
        if number < COUNT:
            self.source.publish(message(numbered(1, number)[0]))
            if number % 3 == 0:
                self.commit_one(number + 1)
        elif self.reason == "expired":
            bench.broker.now += 100
            bench.broker.tick(bench.broker.now)
        elif self.reason == "rejected":
            entry = self.source.get()
            if entry is not None:
                self.source.reject(entry)
        bench.read_pages()
        bench.broker.run_turn()
        if number % 2:
            self.commit_one(number + 1)

    def after_crash(self) -> dict[str, list[bytes]]:
        self.bench.store.close(release=False)
        again = Bench(disk=self.bench.disk)  # at the time it all began: nothing expires while it is looked at
        turn(again)
        while again.read_pages():  # what is over a length limit must be out before it is looked at
            turn(again)
        return {name: found(again, name) for name in ("source", *self.targets)}


@pytest.mark.parametrize("reason", ["rejected", "expired", "maxlen"])
@pytest.mark.parametrize("targets", [("target",), ("target", "second")], ids=len)
@pytest.mark.parametrize("window", [1 << 20, 900], ids=["in memory", "paged"])
def test_after_a_crash_each_message_is_in_the_source_or_in_all_targets(
    reason: str, targets: tuple[str, ...], window: int
) -> None:
    moved = 0
    for steps in range(2 * COUNT + 6):
        story = Story(reason, targets, window)
        for number in range(steps):
            story.step(number)
        left = story.after_crash()
        for name in targets:
            assert sorted(left["source"] + left[name]) == numbered(story.durable), f"after {steps} steps"
        moved = max(moved, len(left[targets[0]]))
    assert moved >= COUNT - 4


def test_a_clean_stop_has_nothing_left_between_the_queues() -> None:
    story = Story("rejected", ("target",))
    for number in range(COUNT):
        story.step(number)
    for _ in range(5):
        entry = story.source.get()
        assert entry is not None
        story.source.reject(entry)
    again = story.bench.reopened(True)
    # No turn came after the rejections: they are in the source still.
    assert (found(again, "source"), found(again, "target")) == (numbered(COUNT), [])


def test_a_letter_of_a_purged_queue_is_published_all_the_same() -> None:
    story = Story("rejected", ("target",))
    for number in range(COUNT):
        story.step(number)
    entry = story.source.get()
    assert entry is not None
    story.source.reject(entry)
    assert story.source.purge() == COUNT - 1
    turn(story.bench)
    story.bench.commit()
    assert story.after_crash() == {"source": [], "target": numbered(1)}


def test_a_letter_of_a_deleted_queue_is_published_all_the_same() -> None:
    story = Story("rejected", ("target",))
    for number in range(COUNT):
        story.step(number)
    entry = story.source.get()
    assert entry is not None
    story.source.reject(entry)
    story.bench.vhost.delete_queue(story.source)
    turn(story.bench)
    story.bench.commit()
    again = story.bench.reopened(False)
    assert found(again, "target") == numbered(1)
    assert "source" not in again.vhost.queues


def test_a_letter_of_a_transient_queue_is_stored_where_it_goes() -> None:
    bench = Bench()
    declare(bench, "target")
    source = declare(bench, "source", False, dead_letter_exchange="", dead_letter_routing_key="target")
    source.publish(message())
    entry = source.get()
    assert entry is not None
    source.reject(entry)
    turn(bench)
    bench.commit()
    assert found(bench.reopened(False), "target") == [b"body"]


def test_the_store_holds_a_body_once_however_many_targets_there_are() -> None:
    story = Story("rejected", ("one", "two", "three"))
    story.source.publish(message())
    story.bench.commit()
    entry = story.source.get()
    assert entry is not None
    story.source.reject(entry)
    turn(story.bench)
    (batch,) = [story.bench.broker.take_batch()]
    assert batch is not None
    assert (len(batch.messages), len(batch.entries), len(batch.settled)) == (1, 3, 1)


def test_messages_alike_share_header_and_address_of_their_dead_letters() -> None:
    """Thousands die together; only their bodies are kept apart."""
    story = Story("rejected", ("target",))
    for _ in range(3):
        story.source.publish(alike())
    for _ in range(3):
        entry = story.source.get()
        assert entry is not None
        story.source.reject(entry)
    turn(story.bench)
    target = story.bench.vhost.queues["target"]
    assert isinstance(target, ClassicQueue)
    entries = story.bench.drain(target)
    assert len({id(entry.message.header) for entry in entries}) == 1
    assert len({id(entry.message.address) for entry in entries}) == 1
    assert len({entry.message.id for entry in entries}) == 3


def test_messages_alike_that_die_later_or_after_a_change_are_not_treated_alike() -> None:
    bench = Bench()
    targets = [declare(bench, name) for name in ("a", "b", "c")]
    exchange = bench.vhost.declare_exchange("dlx", "direct", False, False, False, {})
    source = declare(bench, "source", dead_letter_exchange="dlx")

    def die(reason: str) -> None:
        source.publish(alike())
        source.drop_head(reason)
        turn(bench)

    bench.vhost.bind(exchange, targets[0], "q", {})
    die("rejected")
    bench.broker.now += 1000
    die("rejected")
    die("maxlen")
    bench.vhost.bind(exchange, targets[1], "q", {})
    bench.vhost.bind(exchange, targets[2], "other", {})
    die("maxlen")
    source.settings = {**source.settings, "dead-letter-routing-key": "other"}
    die("maxlen")
    noted = []
    for target in targets:
        for entry in bench.drain(target):
            deaths: Any = plain(entry.message.header.table()["x-death"])
            (death,) = deaths
            noted.append((target.name, death["time"] - 1000, death["reason"], entry.message.address.routing_key))
    assert noted == [
        ("a", 0, "rejected", "q"),
        ("a", 1, "rejected", "q"),
        ("a", 1, "maxlen", "q"),
        ("a", 1, "maxlen", "q"),
        ("b", 1, "maxlen", "q"),
        ("c", 1, "maxlen", "other"),
    ]


# On the wire


def dead_lettered(client: LinkedClient, queue: str = "source", **arguments: object) -> None:
    given = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    client.call("queue.declare", queue=queue, arguments=given)


def get(client: LinkedClient, queue: str) -> Received | None:
    client.send("basic.get", queue=queue, no_ack=True)
    (got,) = client.received()
    return got if got.name == "basic.get-ok" else None


def take(client: LinkedClient, queue: str) -> Received:
    got = get(client, queue)
    assert got is not None, f"{queue} is empty"
    return got


def reject(client: LinkedClient, queue: str = "source") -> None:
    client.send("basic.get", queue=queue)
    client.send("basic.reject", delivery_tag=client.expect("basic.get-ok").values["delivery_tag"], requeue=False)
    assert client.received() == []


def headers(got: Received) -> dict[str, Any]:
    return dict(got.properties["headers"])


@pytest.fixture
def client() -> LinkedClient:
    client = Linked().client()
    client.call("queue.declare", queue="dead")
    return client


def test_a_rejected_message_goes_to_the_exchange_with_its_own_key(client: LinkedClient) -> None:
    client.call("exchange.declare", exchange="dlx", type="direct")
    client.call("queue.bind", queue="dead", exchange="dlx", routing_key="source")
    dead_lettered(client, dead_letter_exchange="dlx")
    client.publish("", "source", b"body", {"content_type": "a/b", "message_id": "m"})
    reject(client)
    got = take(client, "dead")
    assert (got.values["exchange"], got.values["routing_key"], got.values["redelivered"]) == ("dlx", "source", False)
    assert (got.body, got.properties["content_type"], got.properties["message_id"]) == (b"body", "a/b", "m")
    (entry,) = headers(got)["x-death"]
    assert list(entry) == ["count", "reason", "queue", "time", "exchange", "routing-keys"]
    assert (entry["count"], entry["reason"], entry["queue"]) == (1, "rejected", "source")
    assert (entry["time"], entry["exchange"], entry["routing-keys"]) == (
        client.linked.broker.now // 1000,
        "",
        ["source"],
    )


def test_the_default_exchange_and_a_key_of_the_queues(client: LinkedClient) -> None:
    dead_lettered(client, dead_letter_exchange="", dead_letter_routing_key="dead")
    client.publish("", "source", b"x", {"expiration": "60000"})
    reject(client)
    got = take(client, "dead")
    assert (got.values["exchange"], got.values["routing_key"]) == ("", "dead")
    assert "expiration" not in got.properties
    assert headers(got)["x-death"][0]["original-expiration"] == "60000"


def test_an_expired_message_and_one_over_the_limit_tell_their_reason(client: LinkedClient) -> None:
    dead_lettered(client, dead_letter_exchange="", dead_letter_routing_key="dead", message_ttl=1000, max_length=1)
    client.publish("", "source", b"first")
    client.publish("", "source", b"second")
    client.linked.advance(1000)
    reasons = [headers(take(client, "dead"))["x-death"][0]["reason"] for _ in range(2)]
    assert reasons == ["maxlen", "expired"]


def test_an_exchange_that_does_not_exist_drops_the_letter(client: LinkedClient) -> None:
    linked = client.linked
    client.call("queue.declare", queue="source", durable=True, arguments={"x-dead-letter-exchange": "none"})
    client.publish("", "source", b"x", {"delivery_mode": 2})
    linked.commit()
    reject(client)
    linked.commit()
    assert [row.messages for row in linked.reader.summary().queues if row.messages] == []
    # Once it exists, letters arrive.
    client.call("exchange.declare", exchange="none", type="fanout")
    client.call("queue.bind", queue="dead", exchange="none")
    client.publish("", "source", b"y")
    reject(client)
    assert take(client, "dead").body == b"y"
    client.call("exchange.delete", exchange="none")
    client.publish("", "source", b"z")
    reject(client)
    assert get(client, "dead") is None


def test_internal_and_alternate_exchanges_are_fine(client: LinkedClient) -> None:
    client.call("exchange.declare", exchange="last resort", type="fanout")
    client.call("queue.bind", queue="dead", exchange="last resort")
    client.call(
        "exchange.declare",
        exchange="dlx",
        type="direct",
        internal=True,
        arguments={"alternate-exchange": "last resort"},
    )
    dead_lettered(client, dead_letter_exchange="dlx")
    client.publish("", "source", b"x")
    reject(client)
    assert take(client, "dead").values["exchange"] == "dlx"


def test_nobodys_permissions_are_asked() -> None:
    linked = Linked()
    admin = linked.client()
    admin.call("queue.declare", queue="dead")
    dead_lettered(admin, dead_letter_exchange="", dead_letter_routing_key="dead")
    admin.publish("", "source", b"x")
    linked.add_user("reader", permissions=("^$", "^$", "^source$"))
    reject(linked.client(user="reader"))
    assert take(admin, "dead").body == b"x"


def test_a_headers_exchange_sees_the_letters_headers(client: LinkedClient) -> None:
    client.call("exchange.declare", exchange="dlx", type="headers")
    wanted = {"x-first-death-queue": "source", "x-match": "all"}
    # x- headers count with the -with-x forms only.
    client.call("queue.bind", queue="dead", exchange="dlx", arguments={**wanted, "x-match": "all-with-x"})
    dead_lettered(client, dead_letter_exchange="dlx")
    for body, own in ((b"1", {}), (b"2", {"own": 1})):
        client.publish("", "source", body, {"headers": own})
        reject(client)
        assert take(client, "dead").body == body


# CC and BCC


def test_keys_of_cc_count_and_those_of_bcc_are_gone(client: LinkedClient) -> None:
    client.call("exchange.declare", exchange="dlx", type="topic")
    for key in ("source", "copy", "blind"):
        client.call("queue.declare", queue=f"dead {key}")
        client.call("queue.bind", queue=f"dead {key}", exchange="dlx", routing_key=key)
    dead_lettered(client, dead_letter_exchange="dlx")
    client.publish("", "source", b"x", {"headers": {"CC": ["copy"], "BCC": ["blind"]}})
    reject(client)
    got = take(client, "dead source")
    assert headers(got)["x-death"][0]["routing-keys"] == ["source", "copy"]
    assert headers(got)["CC"] == ["copy"]
    assert "BCC" not in headers(got)
    assert take(client, "dead copy").values["routing_key"] == "source"
    assert get(client, "dead blind") is None


def test_cc_is_not_used_where_the_queue_gives_the_key_nor_ever_after(client: LinkedClient) -> None:
    client.call("exchange.declare", exchange="dlx", type="topic")
    for key in ("middle", "copy"):
        client.call("queue.declare", queue=f"dead {key}", arguments={"x-dead-letter-exchange": "dlx2"})
        client.call("queue.bind", queue=f"dead {key}", exchange="dlx", routing_key=key)
    client.call("exchange.declare", exchange="dlx2", type="topic")
    client.call("queue.bind", queue="dead", exchange="dlx2", routing_key="#")
    dead_lettered(client, dead_letter_exchange="dlx", dead_letter_routing_key="middle")
    client.publish("", "source", b"x", {"headers": {"CC": ["copy"]}})
    reject(client)
    assert get(client, "dead copy") is None
    reject(client, "dead middle")
    got = take(client, "dead")
    assert headers(got)["CC"] == ["copy"]
    assert [entry["routing-keys"] for entry in headers(got)["x-death"]] == [["middle"], ["source", "copy"]]


# Cycles


def test_retry_with_reject_and_a_waiting_queue_counts_and_never_loses(client: LinkedClient) -> None:
    dead_lettered(client, "work", dead_letter_exchange="", dead_letter_routing_key="wait")
    dead_lettered(client, "wait", dead_letter_exchange="", dead_letter_routing_key="work", message_ttl=100)
    client.publish("", "work", b"x")
    for _ in range(5):
        reject(client, "work")
        client.linked.advance(100)
    got = take(client, "work")
    assert [(entry["queue"], entry["reason"], entry["count"]) for entry in headers(got)["x-death"]] == [
        ("wait", "expired", 5),
        ("work", "rejected", 5),
    ]
    assert [headers(got)[f"x-{one}-death-queue"] for one in ("first", "last")] == ["work", "wait"]


def test_a_circle_of_expiry_is_cut_for_that_queue_only(client: LinkedClient) -> None:
    client.call("exchange.declare", exchange="dlx", type="fanout")
    dead_lettered(client, "first", dead_letter_exchange="dlx", message_ttl=100)
    dead_lettered(client, "other", dead_letter_exchange="dlx", message_ttl=100)
    for queue in ("first", "other", "dead"):
        client.call("queue.bind", queue=queue, exchange="dlx")
    client.publish("", "first", b"x")
    client.linked.advance(10_000)
    # first -> other and dead; other -> dead.
    assert [len(headers(take(client, "dead"))["x-death"]) for _ in range(2)] == [1, 2]
    for queue in ("first", "other", "dead"):
        assert get(client, queue) is None


def test_a_client_that_publishes_an_expired_message_again_never_loses_it(client: LinkedClient) -> None:
    """With its headers, as retry libraries do: the count goes on, and it is no circle."""
    dead_lettered(client, "work", dead_letter_exchange="", dead_letter_routing_key="dead", message_ttl=100)
    dead_lettered(client, "back", dead_letter_exchange="", dead_letter_routing_key="work", message_ttl=100)
    sent: dict[str, Any] = {}
    for count in range(1, 4):
        client.publish("", "back", b"x", {"headers": sent})
        client.linked.advance(1000)
        got = take(client, "dead")
        assert [entry["count"] for entry in headers(got)["x-death"]] == [count, count]
        sent = {
            name: value if name != "x-death" else [{**entry, "time": Typed("T", entry["time"])} for entry in value]
            for name, value in headers(got).items()
        }


def test_a_queue_may_be_its_own_target_where_a_consumer_rejects(client: LinkedClient) -> None:
    dead_lettered(client, dead_letter_exchange="", dead_letter_routing_key="source")
    client.publish("", "source", b"x")
    for _ in range(3):
        reject(client)
    assert headers(take(client, "source"))["x-death"][0]["count"] == 3


# Full targets


def test_a_full_target_that_refuses_loses_the_letter(client: LinkedClient) -> None:
    dead_lettered(client, "full", max_length=1, overflow="reject-publish")
    dead_lettered(client, dead_letter_exchange="", dead_letter_routing_key="full")
    for body in (b"1", b"2"):
        client.publish("", "source", body)
        reject(client)
    assert take(client, "full").body == b"1"
    assert get(client, "full") is None


def test_what_a_full_target_dead_letters_itself_moves_on_in_the_same_batch() -> None:
    bench = Bench()
    declare(bench, "end")
    declare(
        bench,
        "full",
        max_length=0,
        overflow="reject-publish-dlx",
        dead_letter_exchange="",
        dead_letter_routing_key="end",
    )
    source = declare(bench, "source", dead_letter_exchange="", dead_letter_routing_key="full")
    source.publish(message())
    bench.commit()
    entry = source.get()
    assert entry is not None
    source.reject(entry)
    bench.broker.run_turn()
    bench.commit()
    again = bench.reopened(False)
    target = again.vhost.queues["end"]
    assert isinstance(target, ClassicQueue)
    (left,) = again.drain(target)
    assert b"\x08rejected" in left.message.header.payload
    assert b"\x06maxlen" in left.message.header.payload


def test_full_queues_in_a_circle_end_it() -> None:
    bench = Bench()
    queues = [
        declare(
            bench,
            f"q{number}",
            max_length=0,
            overflow="reject-publish-dlx",
            dead_letter_exchange="",
            dead_letter_routing_key=f"q{(number + 1) % 300}",
        )
        for number in range(300)
    ]
    assert not queues[0].publish(message())
    turn(bench)
    assert not bench.shard.letters
    assert [queue.message_count() for queue in queues] == [0] * 300


# Bounds


def test_a_turn_publishes_so_many_letters_and_the_rest_waits() -> None:
    bench = Bench()
    target = declare(bench, "target")
    source = declare(bench, "source", dead_letter_exchange="", dead_letter_routing_key="target")
    for body in numbered(2500):
        source.publish(message(body))
        source.drop_head("rejected")
    bench.broker.run_turn()
    assert target.message_count() == 2000
    assert bench.broker.busy()
    bench.broker.run_turn()
    assert target.message_count() == 2500


def test_a_routing_key_longer_than_a_shortstr_is_cut() -> None:
    linked = Linked(MemoryStore(MemoryDisk()))
    client = linked.client()
    client.call("exchange.declare", exchange="dlx", type="fanout")
    client.call("queue.declare", queue="dead")
    client.call("queue.bind", queue="dead", exchange="dlx")
    dead_lettered(client, dead_letter_exchange="dlx", dead_letter_routing_key="é" * 300)
    client.publish("", "source", b"x")
    reject(client)
    assert take(client, "dead").values["routing_key"] == "é" * 127


def test_an_exchange_type_is_asked_each_time_where_keys_do_not_tell() -> None:
    """A route that hangs on more than the key is not remembered from one letter to the next."""
    bench = Bench()
    asked: list[str] = []

    class Turns(Exchange):
        def route(self, routing_key: str, header: Any, found: list[Any]) -> None:
            asked.append(routing_key)
            found.append(queues[len(asked) % 2])

    queues = [declare(bench, "a"), declare(bench, "b")]
    exchange = Turns(bench.vhost.name, "dlx", "turns", False, False, False, {})
    exchange.key_only = False
    bench.vhost.exchanges["dlx"] = exchange
    source = declare(bench, "source", dead_letter_exchange="dlx")
    for _ in range(4):
        source.publish(alike())
        source.drop_head("rejected")
    turn(bench)
    assert [queue.message_count() for queue in queues] == [2, 2]
