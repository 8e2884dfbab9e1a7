"""The basic class: prefetch, consuming, getting, settling and publishing (behaviour 1.7)."""

import re
from typing import Any

import pytest

from interop import facts

from .client import Channel, Client
from .conftest import Connect, Names

differs = pytest.mark.differs

THREE = [b"0", b"1", b"2"]


def publish(channel: Channel, queue: str, count: int) -> list[bytes]:
    """Publish the bodies 0, 1, 2 ... and return them."""
    bodies = [b"%d" % number for number in range(count)]
    for body in bodies:
        channel.publish("", queue, body)
    return bodies


# qos


def test_prefetch_size_is_not_implemented(channel: Channel) -> None:
    channel.fatal(540, "prefetch_size!=0 (10)", "basic.qos", prefetch_size=10)


def test_prefetch_count_limits_what_is_unacked(channel: Channel, queue: str) -> None:
    publish(channel, queue, 5)
    channel.call("basic.qos", prefetch_count=2)
    channel.call("basic.consume", queue=queue)
    assert channel.bodies(2) == [b"0", b"1"]
    channel.expect_nothing()
    channel.send("basic.ack", delivery_tag=1)
    assert channel.bodies(1) == [b"2"]
    channel.expect_nothing()


def test_prefetch_count_of_0_is_no_limit(channel: Channel, queue: str) -> None:
    wanted = publish(channel, queue, 50)
    channel.call("basic.qos", prefetch_count=0)
    channel.call("basic.consume", queue=queue)
    assert channel.bodies(50) == wanted


def test_no_ack_consumers_ignore_the_prefetch(channel: Channel, queue: str) -> None:
    wanted = publish(channel, queue, 10)
    channel.call("basic.qos", prefetch_count=1)
    channel.call("basic.consume", queue=queue, no_ack=True)
    assert channel.bodies(10) == wanted


def test_per_consumer_limit_counts_for_each_consumer(channel: Channel, queue: str) -> None:
    publish(channel, queue, 10)
    channel.call("basic.qos", prefetch_count=2)
    for tag in ("a", "b"):
        channel.call("basic.consume", queue=queue, consumer_tag=tag)
        tags = [channel.message().method["consumer_tag"] for _ in range(2)]
        assert tags == [tag, tag]
    channel.expect_nothing()


def test_running_consumers_keep_their_per_consumer_limit(channel: Channel, queue: str) -> None:
    publish(channel, queue, 10)
    channel.call("basic.qos", prefetch_count=2)
    channel.call("basic.consume", queue=queue)
    channel.bodies(2)
    channel.call("basic.qos", prefetch_count=5)
    channel.expect_nothing()


def test_global_limit_is_shared_by_the_consumers(channel: Channel, queue: str) -> None:
    publish(channel, queue, 10)
    channel.call("basic.qos", prefetch_count=3, global_=True)
    for tag in ("a", "b"):
        channel.call("basic.consume", queue=queue, consumer_tag=tag)
        if tag == "a":
            channel.bodies(3)
    channel.expect_nothing()


def test_both_limits_must_allow_a_delivery(channel: Channel, queue: str) -> None:
    publish(channel, queue, 10)
    channel.call("basic.qos", prefetch_count=2)
    channel.call("basic.qos", prefetch_count=3, global_=True)
    channel.call("basic.consume", queue=queue, consumer_tag="a")
    channel.bodies(2)
    channel.expect_nothing()
    channel.call("basic.consume", queue=queue, consumer_tag="b")
    channel.bodies(1)
    channel.expect_nothing()


def test_raised_global_limit_reaches_running_consumers(channel: Channel, queue: str) -> None:
    publish(channel, queue, 10)
    channel.call("basic.qos", prefetch_count=3, global_=True)
    channel.call("basic.consume", queue=queue)
    channel.bodies(3)
    channel.expect_nothing()
    channel.send("basic.qos", prefetch_count=5, global_=True)
    assert _next_bodies(channel, 2, "basic.qos-ok") == [b"3", b"4"]
    channel.expect_nothing()


def _next_bodies(channel: Channel, count: int, reply: str) -> list[bytes]:
    """``count`` deliveries and one reply, which may stand anywhere among them."""
    bodies: list[bytes] = []
    replied = False
    while len(bodies) < count or not replied:
        came = channel.client.next_frame(channel.number)
        channel.client.put_back(came)
        if came.describe().startswith("basic.deliver"):
            bodies.append(channel.message().body)
        else:
            channel.expect(reply)
            replied = True
    return bodies


def test_per_consumer_qos_removes_the_global_limit(channel: Channel, queue: str) -> None:
    publish(channel, queue, 10)
    channel.call("basic.qos", prefetch_count=3, global_=True)
    channel.call("basic.qos", prefetch_count=2)
    for tag in ("a", "b"):
        channel.call("basic.consume", queue=queue, consumer_tag=tag)
        channel.bodies(2)
    channel.expect_nothing()


def test_get_is_not_limited_by_the_prefetch(channel: Channel, queue: str) -> None:
    publish(channel, queue, 5)
    channel.call("basic.qos", prefetch_count=1)
    for body in THREE:
        message = channel.get(queue, no_ack=False)
        assert message is not None
        assert message.body == body


def test_what_was_got_does_not_count_against_consumers(channel: Channel, queue: str) -> None:
    publish(channel, queue, 5)
    for _ in range(2):
        channel.get(queue, no_ack=False)
    channel.call("basic.qos", prefetch_count=2)
    channel.call("basic.consume", queue=queue)
    assert channel.bodies(2) == [b"2", b"3"]


# consume


def test_consume_ok_comes_before_the_first_delivery(channel: Channel, queue: str) -> None:
    wanted = publish(channel, queue, 20)
    assert channel.call("basic.consume", queue=queue, consumer_tag="t") == {"consumer_tag": "t"}
    assert channel.bodies(20) == wanted


def test_empty_tag_is_replaced_by_a_random_one(channel: Channel, queue: str) -> None:
    tags = {channel.call("basic.consume", queue=queue)["consumer_tag"] for _ in range(3)}
    assert len(tags) == 3
    assert all(re.fullmatch(r"amq\.ctag-[A-Za-z0-9_-]{22}", tag) for tag in tags)


def test_duplicate_tag_is_a_connection_error(channel: Channel, queue: str) -> None:
    channel.call("basic.consume", queue=queue, consumer_tag="t")
    channel.fatal(530, "attempt to reuse consumer tag 't'", "basic.consume", queue=queue, consumer_tag="t")


def test_tag_is_private_to_its_channel(channel: Channel, queue: str) -> None:
    channel.call("basic.consume", queue=queue, consumer_tag="t")
    channel.client.channel().call("basic.consume", queue=queue, consumer_tag="t")


def test_tag_can_be_used_again_after_cancel(channel: Channel, queue: str) -> None:
    for _ in range(2):
        channel.call("basic.consume", queue=queue, consumer_tag="t")
        channel.call("basic.cancel", consumer_tag="t")


def test_no_local_is_ignored(channel: Channel, queue: str) -> None:
    channel.call("basic.consume", queue=queue, no_local=True, no_ack=True)
    channel.publish("", queue, b"x")
    assert channel.bodies(1) == [b"x"]


def test_exclusive_consumer_of_a_consumed_queue_is_refused(channel: Channel, queue: str, vhost: str) -> None:
    channel.call("basic.consume", queue=queue)
    channel.client.channel().refused(
        403,
        f"queue '{queue}' in vhost '{vhost}' in exclusive use",
        "basic.consume",
        queue=queue,
        exclusive=True,
    )


def test_exclusive_consumer_keeps_others_out_until_it_is_gone(
    channel: Channel, other: Channel, queue: str, vhost: str
) -> None:
    channel.call("basic.consume", queue=queue, consumer_tag="t", exclusive=True)
    other.refused(403, f"queue '{queue}' in vhost '{vhost}' in exclusive use", "basic.consume", queue=queue)
    assert other.client.channel().get(queue) is None
    channel.call("basic.cancel", consumer_tag="t")
    other.client.channel().call("basic.consume", queue=queue)


def test_priority_of_a_consumer_must_be_an_integer(channel: Channel, queue: str, vhost: str) -> None:
    channel.refused(
        406,
        f"invalid arg 'x-priority' for queue '{queue}' in vhost '{vhost}': \"expected integer, got longstr\"",
        "basic.consume",
        queue=queue,
        arguments={"x-priority": "high"},
    )


def test_unknown_consumer_arguments_are_ignored(channel: Channel, queue: str) -> None:
    channel.call("basic.consume", queue=queue, arguments={"x-foo": [1], "bar": None})


def test_consumers_are_served_in_turn(channel: Channel, queue: str) -> None:
    for tag in ("a", "b", "c"):
        channel.call("basic.consume", queue=queue, consumer_tag=tag, no_ack=True)
    publish(channel, queue, 6)
    assert [channel.message().method["consumer_tag"] for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_higher_priority_is_served_while_it_has_credit(channel: Channel, queue: str) -> None:
    channel.call("basic.qos", prefetch_count=2)
    for tag, priority in (("low", -1), ("high", 5), ("middle", 0)):
        arguments = {"x-priority": priority}
        channel.call("basic.consume", queue=queue, consumer_tag=tag, arguments=arguments)
    publish(channel, queue, 6)
    tags = [channel.message().method["consumer_tag"] for _ in range(6)]
    assert tags == ["high", "high", "middle", "middle", "low", "low"]


# cancel


def test_cancel_of_an_unknown_tag_is_answered(channel: Channel) -> None:
    assert channel.call("basic.cancel", consumer_tag="never-used") == {"consumer_tag": "never-used"}


@differs(facts.CANCEL_OK)
def test_cancel_ok_of_a_client_is_accepted(channel: Channel) -> None:
    channel.send("basic.cancel-ok", consumer_tag="t")
    channel.call("basic.qos")


def test_no_delivery_comes_after_cancel_ok(channel: Channel, queue: str) -> None:
    channel.call("basic.consume", queue=queue, consumer_tag="t")
    channel.call("basic.cancel", consumer_tag="t")
    publish(channel, queue, 3)
    channel.expect_nothing()
    assert channel.count(queue) == (3, 0)


def test_what_a_cancelled_consumer_holds_stays_with_the_channel(channel: Channel, queue: str) -> None:
    publish(channel, queue, 2)
    channel.call("basic.consume", queue=queue, consumer_tag="t")
    channel.bodies(2)
    channel.call("basic.cancel", consumer_tag="t")
    assert channel.count(queue) == (0, 0)
    channel.send("basic.ack", delivery_tag=1)
    channel.close()
    assert channel.client.channel().drain(queue) == [b"1"]


# deliver and get


def test_delivery_tags_count_per_channel_over_consumers_and_gets(channel: Channel, name: Names) -> None:
    queues = [channel.call("queue.declare", queue=name("q"))["queue"] for _ in range(2)]
    for place, queue in enumerate(queues):
        publish(channel, queue, 1)
        channel.call("basic.consume", queue=queue, no_ack=place == 0, consumer_tag=f"t{place}")
        assert channel.message().tag == place + 1
        channel.call("basic.cancel", consumer_tag=f"t{place}")
    publish(channel, queues[0], 2)
    for tag, no_ack in ((3, True), (4, False)):
        message = channel.get(queues[0], no_ack=no_ack)
        assert message is not None
        assert message.tag == tag
    publish(channel, queues[0], 1)
    second = channel.client.channel().get(queues[0])
    assert second is not None
    assert second.tag == 1


def test_deliver_names_exchange_and_routing_key_of_the_publish(channel: Channel, queue: str) -> None:
    channel.call("queue.bind", queue=queue, exchange="amq.topic", routing_key=f"{queue}.#")
    channel.call("basic.consume", queue=queue, consumer_tag="t")
    channel.publish("amq.topic", f"{queue}.a.b", b"x")
    assert channel.message().method == {
        "consumer_tag": "t",
        "delivery_tag": 1,
        "redelivered": False,
        "exchange": "amq.topic",
        "routing_key": f"{queue}.a.b",
    }


def test_get_ok_counts_what_is_left(channel: Channel, queue: str) -> None:
    publish(channel, queue, 3)
    left = []
    for _ in range(3):
        message = channel.get(queue, no_ack=False)
        assert message is not None
        left.append(message.method["message_count"])
    assert left == [2, 1, 0]
    assert channel.get(queue) is None


def test_get_with_no_ack_settles_at_once(channel: Channel, queue: str) -> None:
    publish(channel, queue, 1)
    assert channel.get(queue, no_ack=True) is not None
    channel.refused(406, "unknown delivery tag 1", "basic.ack", delivery_tag=1)


def test_get_takes_from_a_single_active_consumer_queue(channel: Channel, name: Names) -> None:
    arguments = {"x-single-active-consumer": True}
    queue = channel.call("queue.declare", queue=name("q"), arguments=arguments)["queue"]
    channel.call("basic.qos", prefetch_count=1)
    channel.call("basic.consume", queue=queue)
    publish(channel, queue, 2)
    assert channel.bodies(1) == [b"0"]
    assert channel.drain(queue) == [b"1"]


# ack, reject, nack


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("basic.ack", {"delivery_tag": 99}),
        ("basic.ack", {"delivery_tag": 99, "multiple": True}),
        ("basic.nack", {"delivery_tag": 99}),
        ("basic.nack", {"delivery_tag": 99, "multiple": True}),
        ("basic.reject", {"delivery_tag": 99}),
        ("basic.ack", {"delivery_tag": 2**64 - 1}),
        ("basic.nack", {"delivery_tag": 2**63, "multiple": True}),
        ("basic.ack", {"delivery_tag": 0}),
        ("basic.nack", {"delivery_tag": 0}),
        ("basic.reject", {"delivery_tag": 0}),
    ],
    ids=str,
)
def test_unknown_delivery_tag_is_refused(channel: Channel, queue: str, method: str, values: dict[str, Any]) -> None:
    publish(channel, queue, 1)
    channel.get(queue, no_ack=False)
    channel.refused(406, f"unknown delivery tag {values['delivery_tag']}", method, **values)


@pytest.mark.parametrize("method", ["basic.ack", "basic.nack", "basic.reject"])
def test_tag_can_be_settled_only_once(channel: Channel, queue: str, method: str) -> None:
    publish(channel, queue, 1)
    channel.get(queue, no_ack=False)
    channel.send("basic.ack", delivery_tag=1)
    channel.refused(406, "unknown delivery tag 1", method, delivery_tag=1)


@pytest.mark.parametrize("method", ["basic.ack", "basic.nack"])
def test_multiple_with_tag_0_and_nothing_outstanding_is_fine(channel: Channel, method: str) -> None:
    channel.send(method, delivery_tag=0, multiple=True)
    channel.call("basic.qos")


def test_multiple_with_tag_0_acks_all(channel: Channel, queue: str) -> None:
    publish(channel, queue, 3)
    channel.call("basic.consume", queue=queue, consumer_tag="t")
    channel.bodies(3)
    channel.send("basic.ack", delivery_tag=0, multiple=True)
    channel.close()
    assert channel.client.channel().drain(queue) == []


def test_multiple_acks_up_to_the_tag_across_consumers(channel: Channel, queue: str) -> None:
    for tag in ("a", "b"):
        channel.call("basic.consume", queue=queue, consumer_tag=tag)
    publish(channel, queue, 4)
    channel.bodies(4)
    channel.send("basic.ack", delivery_tag=3, multiple=True)
    channel.close()
    assert channel.client.channel().drain(queue) == [b"3"]


def test_nack_requeues_up_to_the_tag_in_place(channel: Channel, queue: str) -> None:
    publish(channel, queue, 4)
    for _ in range(3):
        channel.get(queue, no_ack=False)
    channel.send("basic.nack", delivery_tag=2, multiple=True, requeue=True)
    assert channel.drain(queue) == [b"0", b"1", b"3"]


@pytest.mark.parametrize("method", ["basic.nack", "basic.reject"])
def test_without_requeue_the_message_is_dropped(channel: Channel, queue: str, method: str) -> None:
    publish(channel, queue, 2)
    channel.get(queue, no_ack=False)
    channel.send(method, delivery_tag=1, requeue=False)
    assert channel.drain(queue) == [b"1"]


def test_requeued_message_keeps_its_place_and_is_redelivered(channel: Channel, queue: str) -> None:
    publish(channel, queue, 5)
    for _ in range(3):
        channel.get(queue, no_ack=False)
    channel.send("basic.reject", delivery_tag=3, requeue=True)
    channel.send("basic.reject", delivery_tag=1, requeue=True)
    messages = [channel.get(queue) for _ in range(4)]
    assert [(m.body, m.method["redelivered"]) for m in messages if m] == [
        (b"0", True),
        (b"2", True),
        (b"3", False),
        (b"4", False),
    ]


def test_redelivered_mark_stays_with_the_message(channel: Channel, queue: str) -> None:
    publish(channel, queue, 1)
    marks = []
    for _ in range(3):
        message = channel.get(queue, no_ack=False)
        assert message is not None
        marks.append(message.method["redelivered"])
        channel.send("basic.reject", delivery_tag=message.tag, requeue=True)
    assert marks == [False, True, True]


# recover


def test_recover_requeues_everything_of_the_channel(channel: Channel, queue: str) -> None:
    publish(channel, queue, 4)
    channel.get(queue, no_ack=False)
    channel.call("basic.qos", prefetch_count=2)
    channel.call("basic.consume", queue=queue, consumer_tag="t")
    channel.bodies(2)
    channel.call("basic.cancel", consumer_tag="t")
    assert channel.call("basic.recover", requeue=True) == {}
    messages = [channel.get(queue) for _ in range(4)]
    assert [(m.body, m.method["redelivered"]) for m in messages if m] == [
        (b"0", True),
        (b"1", True),
        (b"2", True),
        (b"3", False),
    ]


def test_recover_async_is_not_answered(channel: Channel, queue: str) -> None:
    publish(channel, queue, 1)
    channel.get(queue, no_ack=False)
    channel.send("basic.recover-async", requeue=True)
    channel.expect_nothing()
    message = channel.get(queue)
    assert message is not None
    assert message.method["redelivered"]


@pytest.mark.parametrize("method", ["basic.recover", "basic.recover-async"])
def test_recover_without_requeue_is_not_implemented(channel: Channel, method: str) -> None:
    channel.fatal(540, "requeue=false", method)


# publish


def test_publish_to_a_missing_exchange_is_not_found(channel: Channel, vhost: str) -> None:
    channel.publish_refused(404, f"no exchange 'nope' in vhost '{vhost}'", "nope", "k", b"x")


def test_immediate_is_not_implemented(channel: Channel, queue: str) -> None:
    channel.publish("", queue, b"x", immediate=True)
    channel.client.expect_close(540, "immediate=true", "basic.publish")


def test_unroutable_message_is_dropped_without_a_word(channel: Channel) -> None:
    channel.publish("", "no-such-queue", b"x")
    channel.expect_nothing()


def returned(channel: Channel) -> dict[str, Any]:
    """basic.return of the message of ``publish_mandatory``; its arguments."""
    message = channel.message("basic.return")
    assert (message.body, message.properties) == (b"body", PROPERTIES)
    return message.method


PROPERTIES = {"content_type": "text/plain", "headers": {"a": 1}, "message_id": "m"}


def publish_mandatory(channel: Channel, exchange: str, routing_key: str) -> None:
    channel.publish(exchange, routing_key, b"body", PROPERTIES, mandatory=True)


@pytest.mark.parametrize("exchange", ["", "amq.direct"])
def test_mandatory_unroutable_message_is_returned_as_it_was(channel: Channel, exchange: str) -> None:
    publish_mandatory(channel, exchange, "no-such-queue")
    assert returned(channel) == {
        "reply_code": 312,
        "reply_text": "NO_ROUTE",
        "exchange": exchange,
        "routing_key": "no-such-queue",
    }


def test_mandatory_routed_message_is_not_returned(channel: Channel, queue: str) -> None:
    publish_mandatory(channel, "", queue)
    assert channel.drain(queue) == [b"body"]
    channel.expect_nothing()


def test_mandatory_message_routed_by_the_alternate_is_not_returned(channel: Channel, queue: str, name: Names) -> None:
    alternate, exchange = name("ae"), name("e")
    channel.call("exchange.declare", exchange=alternate, type="fanout")
    arguments = {"alternate-exchange": alternate}
    channel.call("exchange.declare", exchange=exchange, type="direct", arguments=arguments)
    channel.call("queue.bind", queue=queue, exchange=alternate)
    publish_mandatory(channel, exchange, "k")
    assert channel.drain(queue) == [b"body"]
    channel.expect_nothing()


@pytest.mark.parametrize("alternate", ["amq.direct", "not-there"])
def test_return_names_the_exchange_of_the_publish(channel: Channel, name: Names, alternate: str) -> None:
    exchange = name("e")
    arguments = {"alternate-exchange": alternate}
    channel.call("exchange.declare", exchange=exchange, type="direct", arguments=arguments)
    publish_mandatory(channel, exchange, "unbound-key")
    assert returned(channel)["exchange"] == exchange


def test_return_comes_before_the_positive_confirm(channel: Channel) -> None:
    channel.call("confirm.select")
    for tag in range(1, 4):
        publish_mandatory(channel, "", "no-such-queue")
        returned(channel)
        assert channel.expect("basic.ack")["delivery_tag"] == tag


def test_unroutable_message_is_confirmed(channel: Channel) -> None:
    channel.call("confirm.select")
    channel.publish("", "no-such-queue", b"x")
    assert channel.expect("basic.ack") == {"delivery_tag": 1, "multiple": False}


def test_slow_reader_does_not_hold_up_others(connect: Connect, channel: Channel, name: Names) -> None:
    queue = channel.call("queue.declare", queue=name("q"))["queue"]
    sleeper: Client = connect()
    sleeper.channel().call("basic.consume", queue=queue, no_ack=True)
    for _ in range(100):
        channel.publish("", queue, bytes(100_000))
    second = channel.call("queue.declare", queue=name("q"))["queue"]
    channel.publish("", second, b"x")
    assert channel.drain(second) == [b"x"]
