"""Delayed messages through a whole broker, with time that stands still."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.store.memory import MemoryStore
from amqpd_delayed_message import register
from amqpd_delayed_message.exchange import KIND, DelayedExchange
from amqpd_random_exchange import register as register_random
from interop.conformance.codec import Typed
from tests.support.linked import Linked, LinkedClient

DURABLE = {"delivery_mode": 2}


def started(store: MemoryStore | None = None, now: int | None = None) -> Linked:
    return Linked(store, plugins=[register], **({} if now is None else {"now": now}))


def again(linked: Linked, after_ms: int = 0, crash: bool = True) -> Linked:
    """The broker after a restart."""
    assert isinstance(linked.store, MemoryStore)
    now = linked.broker.now + after_ms
    if crash:
        linked.crash()
    else:
        linked.stop()
    restarted = started(MemoryStore(linked.store.disk), now)
    restarted.settle()
    return restarted


def declare(client: LinkedClient, durable: bool = True, queues: tuple[str, ...] = ("q",), **arguments: Any) -> None:
    """The exchange ``x`` and queues bound to it by their names."""
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    table = {"x-delayed-type": "direct"} | named
    client.call("exchange.declare", exchange="x", type=KIND, durable=durable, arguments=table)
    for queue in queues:
        client.call("queue.declare", queue=queue, durable=True)
        client.call("queue.bind", queue=queue, exchange="x", routing_key=queue)


def exchange(linked: Linked) -> DelayedExchange:
    found = linked.broker.vhosts["/"].exchanges["x"]
    assert isinstance(found, DelayedExchange)
    return found


def delay(client: LinkedClient, milliseconds: Any, body: bytes = b"m", key: str = "q", **more: Any) -> None:
    flags = {"mandatory": more.pop("mandatory")} if "mandatory" in more else {}
    properties = {"headers": {"x-delay": milliseconds} | more.pop("headers", {})} | DURABLE | more
    client.publish("x", key, body, properties, **flags)


def waiting(linked: Linked, queue: str = "q") -> int:
    return linked.broker.vhosts["/"].queues[queue].message_count()


def test_a_message_comes_when_its_time_has_come() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    delay(client, 5000)
    linked.settle()
    linked.advance(4999)
    assert (waiting(linked), exchange(linked).schedule.count) == (0, 1)
    linked.advance(1)
    assert (waiting(linked), exchange(linked).schedule.count) == (1, 0)
    client.send("basic.get", queue="q")
    (came,) = client.received()
    assert came.properties["headers"] == {"x-delay": -5000}
    assert (came.values["exchange"], came.values["routing_key"]) == ("x", "q")


def test_messages_come_in_order_of_their_time() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    for milliseconds in (300, 100, 200, 100):
        delay(client, milliseconds, b"%d" % milliseconds)
    linked.settle()
    linked.advance(1000)
    assert client.taken() == [b"100", b"100", b"200", b"300"]


def test_the_same_header_again_is_due_from_then_on() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    delay(client, 100, b"one")
    linked.settle()
    linked.advance(60)
    delay(client, 100, b"two")
    delay(client, 100, b"six")
    linked.settle()
    linked.advance(40)
    assert waiting(linked) == 1
    linked.advance(59)
    assert waiting(linked) == 1
    linked.advance(1)
    assert client.taken() == [b"one", b"two", b"six"]


def test_without_a_delay_it_is_routed_at_once() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    client.publish("x", "q", b"plain", DURABLE)
    delay(client, 0, b"zero")
    delay(client, -7, b"negative")
    delay(client, 315_360_000_001, b"too long")
    delay(client, True, b"no number")
    assert client.taken() == [b"plain", b"zero", b"negative", b"too long", b"no number"]


def test_the_confirm_comes_after_the_commit() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    client.call("confirm.select")
    delay(client, 5000)
    assert client.names() == []
    linked.commit()
    assert client.names() == ["basic.ack"]


@pytest.mark.parametrize("delivery_mode", [1, 2])
def test_what_was_confirmed_survives_a_crash(delivery_mode: int) -> None:
    linked = started()
    client = linked.client()
    declare(client)
    client.call("confirm.select")
    delay(client, 5000, b"kept", delivery_mode=delivery_mode)
    linked.commit()
    assert client.names() == ["basic.ack"]
    delay(client, 5000, b"lost")
    linked = again(linked, 1000)
    assert (exchange(linked).schedule.count, exchange(linked).schedule.size) == (1, 4)
    linked.advance(3999)
    assert waiting(linked) == 0
    linked.advance(1)
    linked.settle()
    assert linked.client().taken() == [b"kept"]
    if delivery_mode == 2:
        linked = again(linked)
        assert waiting(linked) == 0


def test_publish_and_settle_are_one_batch() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    delay(client, 10)
    linked.settle()
    linked.advance(10)
    batch = linked.take()
    assert batch is not None
    assert (len(batch.messages), len(batch.settled)) == (1, 1)
    linked = again(linked, 10)
    assert (waiting(linked), exchange(linked).schedule.count) == (1, 0)


def test_a_clean_restart_keeps_what_waits() -> None:
    linked = started()
    declare(client := linked.client())
    for number in range(20):
        delay(client, 1000 + number, b"%d" % number)
    linked.settle()
    linked = again(linked, 500, crash=False)
    assert exchange(linked).schedule.count == 20
    linked.advance(2000)
    linked.settle()
    assert linked.client().taken() == [b"%d" % number for number in range(20)]


def test_a_transient_exchange_forgets_with_the_broker() -> None:
    linked = started()
    client = linked.client()
    declare(client, durable=False)
    delay(client, 1000)
    linked.settle()
    linked.advance(1000)
    assert waiting(linked) == 1
    delay(client, 1000)
    linked.settle()
    linked = again(linked)
    assert "x" not in linked.broker.vhosts["/"].exchanges
    assert linked.broker.vhosts["/"].internal_queues == {}


def test_more_than_the_window_waits_on_disk() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    schedule = exchange(linked).schedule
    schedule.window_messages_max = 100
    order = [(number * 7919) % 1000 for number in range(1000)]
    for number in order:
        delay(client, 1000 + number, b"%d" % number)
    linked.settle()
    assert (schedule.count, len(schedule.window) <= 100, len(schedule.unwritten)) == (1000, True, 0)
    for _ in range(20):
        linked.advance(100)
        linked.settle()
    assert client.taken() == [b"%d" % number for number in range(1000)]
    assert (schedule.count, schedule.size, len(schedule.window), len(schedule.gone)) == (0, 0, 0, 0)
    assert linked.reader.upcoming(int(schedule.id), (0, 0), 10, 1000) == []


def test_a_mandatory_message_is_returned_when_no_queue_is_bound_now() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    client.call("confirm.select")
    delay(client, 1000, key="nowhere", mandatory=True)
    assert client.names() == ["basic.return", "basic.ack"]
    delay(client, 1000, key="q", mandatory=True)
    linked.commit()
    assert client.names() == ["basic.ack"]
    linked.advance(1000)
    client.send("basic.get", queue="q")
    (came,) = client.received()
    assert came.properties["headers"] == {"x-delay": -1000}


def test_a_mandatory_message_is_returned_when_no_queue_is_bound_at_its_time() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    delay(client, 1000, b"back", mandatory=True)
    linked.settle()
    client.call("queue.unbind", queue="q", exchange="x", routing_key="q")
    linked.advance(1000)
    (came,) = client.received()
    assert (came.name, came.body, came.values["reply_code"]) == ("basic.return", b"back", 312)
    assert came.properties["headers"] == {"x-delay": -1000}
    assert exchange(linked).keeper.counts["returned"] == 1


def test_without_its_publisher_it_is_dead_lettered() -> None:
    linked = started()
    client = linked.client()
    client.call("queue.declare", queue="dead", durable=True)
    declare(client, x_dead_letter_exchange="", x_dead_letter_routing_key="dead")
    delay(client, 1000, b"mandatory", mandatory=True)
    delay(client, 1000, b"not")
    client.call("queue.unbind", queue="q", exchange="x", routing_key="q")
    client.hang_up()
    linked.settle()
    linked = again(linked)
    linked.advance(1000)
    client = linked.client()
    client.send("basic.get", queue="dead", no_ack=True)
    (came,) = client.received()
    death = came.properties["headers"]["x-death"][0]
    assert (came.body, death["reason"], death["queue"], death["exchange"]) == (
        b"mandatory",
        "delayed_unroutable",
        "x",
        "x",
    )
    assert "x-delayed-publisher" not in came.properties["headers"]
    assert client.taken("dead") == [b"not"]


def test_without_a_dead_letter_exchange_it_is_counted_and_reported() -> None:
    linked = started()
    declare(client := linked.client(), queues=())
    delay(client, 1000)
    delay(client, 1000)
    linked.settle()
    linked.advance(1000)
    assert exchange(linked).keeper.counts["unroutable"] == 2
    assert exchange(linked).schedule.count == 0
    (line,) = linked.broker.reports
    assert "exchange 'x' in vhost '/'" in line


def test_the_alternate_exchange_gets_it_at_its_time() -> None:
    linked = started()
    client = linked.client()
    client.call("exchange.declare", exchange="other", type="fanout")
    client.call("queue.declare", queue="rest", durable=True)
    client.call("queue.bind", queue="rest", exchange="other", routing_key="")
    declare(client, alternate_exchange="other")
    delay(client, 1000, key="nowhere", mandatory=True)
    assert waiting(linked, "rest") == 0
    linked.settle()
    linked.advance(1000)
    assert waiting(linked, "rest") == 1


def test_keys_of_cc_and_bcc_count_at_the_time() -> None:
    linked = started()
    client = linked.client()
    declare(client, queues=("a", "b", "c"))
    delay(client, 1000, key="a", headers={"CC": ["b"], "BCC": ["c"]})
    linked.settle()
    linked = again(linked)
    linked.advance(1000)
    client = linked.client()
    for queue in ("a", "b", "c"):
        client.send("basic.get", queue=queue)
        (came,) = client.received()
        assert came.properties["headers"] == {"x-delay": -1000, "CC": ["b"]}


def test_a_full_queue_gets_it_later() -> None:
    linked = started()
    client = linked.client()
    declare(client, queues=())
    client.call("queue.declare", queue="q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    client.call("queue.bind", queue="q", exchange="x", routing_key="q")
    delay(client, 1000, b"first")
    delay(client, 1000, b"second")
    linked.settle()
    linked.advance(1000)
    assert (waiting(linked), exchange(linked).schedule.count) == (1, 1)
    assert client.taken() == [b"first"]
    linked.advance(5000)
    assert client.taken() == [b"second"]


def test_no_more_wait_than_allowed() -> None:
    linked = started()
    client = linked.client()
    declare(client, x_delayed_max_pending=1)
    client.call("confirm.select")
    delay(client, 1000)
    delay(client, 1000)
    linked.commit()
    assert client.names() == ["basic.ack", "basic.nack"]


def test_a_request_to_cancel_is_taken_where_no_more_may_wait() -> None:
    linked = started()
    client = linked.client()
    declare(client, x_delayed_max_pending=1)
    client.call("confirm.select")
    delay(client, 1000, message_id="one")
    client.publish("x", "", b"", {"headers": {"x-delay-cancel": "one"}})
    linked.settle()
    assert set(client.names()) == {"basic.ack"}
    assert exchange(linked).schedule.count == 0


def test_a_rolled_back_transaction_delays_nothing() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    client.call("tx.select")
    delay(client, 1000, mandatory=True)
    client.call("tx.rollback")
    assert exchange(linked).schedule.count == 0
    delay(client, 1000)
    client.call("tx.commit")
    assert exchange(linked).schedule.count == 1


def test_a_request_cancels_what_has_that_message_id() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    client.call("confirm.select")
    for name in ("one", "two", "one"):
        delay(client, 1000, name.encode(), message_id=name)
    client.publish("x", "", b"", {"headers": {"x-delay-cancel": "one"}})
    linked.settle()
    assert exchange(linked).schedule.count == 1
    linked.advance(1000)
    assert client.taken() == [b"two"]
    assert exchange(linked).keeper.counts["cancelled"] == 2


def test_a_confirmed_request_survives_a_crash() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    client.call("confirm.select")
    delay(client, 1000, message_id="one")
    client.publish("x", "", b"", {"headers": {"x-delay-cancel": "one"}})
    batch = linked.take()
    linked.write()
    assert batch is not None
    linked = again(linked)
    linked.settle()
    assert exchange(linked).schedule.count == 0
    linked.advance(1000)
    assert waiting(linked) == 0


def test_a_mandatory_request_comes_back_when_there_is_nothing_to_cancel() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    client.publish("x", "", b"", {"headers": {"x-delay-cancel": "none"}}, mandatory=True)
    linked.settle()
    (came,) = client.received()
    assert (came.name, came.properties["headers"]) == ("basic.return", {"x-delay-cancel": "none"})
    assert exchange(linked).schedule.count == 0


def test_a_request_leaves_alone_what_is_published_after_it() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    delay(client, 1000, b"old", message_id="one")
    client.publish("x", "", b"", {"headers": {"x-delay-cancel": "one"}})
    delay(client, 1000, b"new", message_id="one")
    linked.settle()
    linked.advance(1000)
    assert client.taken() == [b"new"]


@pytest.mark.parametrize("written", [False, True])
def test_what_is_due_before_the_request_was_looked_up_does_not_come(written: bool) -> None:
    linked = started()
    client = linked.client()
    declare(client)
    delay(client, 1000, b"old", message_id="one")
    linked.settle()
    client.publish("x", "", b"", {"headers": {"x-delay-cancel": "one"}}, mandatory=True)
    if written:
        linked.commit()
    linked.advance(1000)
    delay(client, 1, b"new", message_id="one")
    linked.advance(1)
    linked.settle()
    assert client.names() == []
    assert exchange(linked).schedule.count == 0
    assert client.taken() == [b"new"]


def test_a_confirmed_request_holds_though_the_broker_was_down_at_the_time() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    delay(client, 1000, b"old", message_id="one")
    client.publish("x", "", b"", {"headers": {"x-delay-cancel": "one"}})
    linked.take()
    linked.write()
    linked = again(linked, 5000)
    linked.settle()
    assert (waiting(linked), exchange(linked).schedule.count) == (0, 0)
    assert exchange(linked).keeper.counts["cancelled"] == 1


def test_a_mandatory_request_for_a_thousand_does_not_come_back() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    for _ in range(1000):
        delay(client, 1000, message_id="one")
    client.publish("x", "", b"", {"headers": {"x-delay-cancel": "one"}}, mandatory=True)
    linked.settle()
    assert client.names() == []
    assert exchange(linked).schedule.count == 0


def test_a_request_that_was_dropped_cancels_nothing() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    client.publish("x", "", b"", {"headers": {"x-delay-cancel": "one"}})
    exchange(linked).schedule.purge()
    delay(client, 1000, message_id="one")
    linked.advance(1000)
    assert waiting(linked) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "Invalid argument, 'x-delayed-type' must be an existing exchange type"),
        ({"x-delayed-type": "nope"}, "Invalid argument, 'x-delayed-type' must be an existing exchange type"),
        ({"x-delayed-type": 7}, "Invalid argument, 'x-delayed-type' must be an existing exchange type"),
        ({"x-delayed-type": KIND}, "'x-delayed-message' can't be used for 'x-delayed-type'"),
        (
            {"x-delayed-type": "direct", "x-delayed-overdue": "never"},
            "Invalid argument, 'x-delayed-overdue' must be fire, skip or spread, not 'never'",
        ),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], text: str) -> None:
    linked = started()
    client = linked.client()
    client.send("exchange.declare", exchange="x", type=KIND, arguments=arguments)
    came = client.expect("channel.close")
    assert came.values["reply_code"] == 406
    assert came.values["reply_text"] == f"PRECONDITION_FAILED - {text}"


@pytest.mark.parametrize(("policy", "expected"), [("fire", [3, 4, 4]), ("skip", [0, 1, 1]), ("spread", [0, 2, 4])])
def test_overdue_after_downtime(policy: str, expected: list[int]) -> None:
    """Three are overdue and one is not: what came at once, in the first half of the spread, and at its end."""
    linked = started()
    client = linked.client()
    declare(client, x_delayed_overdue=policy, x_delayed_spread=9000)
    for milliseconds in (1000, 2000, 3000, 62_000):
        delay(client, milliseconds)
    linked.settle()
    linked = again(linked, 60_000)
    seen: list[int] = []
    for step in (0, 4000, 5000):
        linked.advance(step)
        linked.settle()
        seen.append(waiting(linked))
    assert seen == expected


def test_a_period_comes_again_until_it_is_over() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    client.publish("x", "q", b"m", {"headers": {"x-period": 1000, "x-repeat": 3}} | DURABLE)
    linked.settle()
    linked.advance(1000)
    assert (waiting(linked), exchange(linked).schedule.count) == (1, 1)
    linked.settle()
    linked = again(linked)
    linked.advance(5000)
    linked.settle()
    assert (waiting(linked), exchange(linked).schedule.count) == (3, 0)
    client = linked.client()
    client.send("basic.get", queue="q")
    (came,) = client.received()
    assert came.properties.get("headers", {}) == {}


def test_deleting_the_exchange_drops_what_waits() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    delay(client, 1000)
    linked.settle()
    client.call("exchange.delete", exchange="x")
    linked.settle()
    linked.advance(2000)
    assert waiting(linked) == 0
    assert again(linked).broker.vhosts["/"].internal_queues == {}


def test_a_policy_does_not_touch_what_waits() -> None:
    linked = started()
    client = linked.client()
    declare(client)
    assert "x" not in linked.broker.vhosts["/"].queues
    client.send("queue.declare", queue="x", passive=True)
    assert client.expect("channel.close").values["reply_code"] == 404


def test_a_binding_that_the_inner_type_refuses_is_none() -> None:
    linked = Linked(plugins=[register, register_random])
    client = linked.client()
    client.call("exchange.declare", exchange="x", type=KIND, arguments={"x-delayed-type": "x-local-random"})
    client.call("queue.declare", queue="q", durable=True)
    client.send("queue.bind", queue="q", exchange="x", routing_key="not empty")
    assert client.expect("channel.close").values["reply_code"] == 406
    assert exchange(linked).bindings == exchange(linked).inner.bindings == {}


def test_two_delayed_exchanges_delay_once() -> None:
    linked = started()
    client = linked.client()
    declare(client, queues=())
    client.call("exchange.declare", exchange="y", type=KIND, arguments={"x-delayed-type": "fanout"})
    client.call("queue.declare", queue="q")
    client.call("queue.bind", queue="q", exchange="y", routing_key="")
    client.call("exchange.bind", destination="y", source="x", routing_key="q")
    delay(client, Typed("b", 100))
    linked.settle()
    linked.advance(100)
    assert waiting(linked) == 1


def test_its_dead_letter_exchange_needs_the_right_to_write_there() -> None:
    linked = started()
    linked.add_user("bob", permissions=(".*", "x", ".*"))
    client = linked.client(user="bob")
    arguments = {"x-delayed-type": "direct", "x-dead-letter-exchange": "secret"}
    client.send("exchange.declare", exchange="x", type=KIND, arguments=arguments)
    assert client.expect("channel.close").values["reply_code"] == 403
