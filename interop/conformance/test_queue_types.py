"""Priorities, single active consumers, quorum queues, delivery limits and timeouts (behaviour 2.2, 2.3)."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from interop import facts

from .client import Channel, Message
from .conftest import Connect, Names

differs = pytest.mark.differs

Declare = Callable[..., str]


@pytest.fixture
def declare(channel: Channel, name: Names) -> Declare:
    """Declares a durable queue: declare("quorum", **{"x-delivery-limit": 2}) -> its name."""

    def declare_queue(kind: str = "classic", **arguments: Any) -> str:
        table = {"x-queue-type": kind, **arguments}
        return str(channel.call("queue.declare", queue=name(kind), durable=True, arguments=table)["queue"])

    return declare_queue


def publish(publisher: Channel, queue: str, *bodies: bytes, **properties: Any) -> None:
    for body in bodies:
        publisher.publish("", queue, body, properties)
        publisher.expect("basic.ack")


def consume(channel: Channel, queue: str, tag: str, prefetch: int = 0, **arguments: Any) -> None:
    channel.call("basic.qos", prefetch_count=prefetch)
    channel.call("basic.consume", queue=queue, consumer_tag=tag, arguments=arguments)


def seen(message: Message) -> tuple[bytes, bool]:
    return message.body, message.method["redelivered"]


def count(message: Message) -> int | None:
    """x-delivery-count."""
    value = message.headers.get("x-delivery-count")
    return None if value is None else int(value)


# Priority queues


def prioritized(publisher: Channel, queue: str, *priorities: int) -> None:
    """Bodies are the priority and the number of the message."""
    for number, priority in enumerate(priorities):
        publish(publisher, queue, b"%d:%d" % (priority, number), **({"priority": priority} if priority >= 0 else {}))


def test_higher_priorities_come_first(channel: Channel, publisher: Channel, declare: Declare) -> None:
    queue = declare(**{"x-max-priority": 5})
    prioritized(publisher, queue, 0, 3, 5, 3, 1, 5)
    assert channel.drain(queue) == [b"5:2", b"5:5", b"3:1", b"3:3", b"1:4", b"0:0"]


def test_above_the_maximum_counts_as_the_maximum_and_none_as_0(
    channel: Channel, publisher: Channel, declare: Declare
) -> None:
    queue = declare(**{"x-max-priority": 5})
    prioritized(publisher, queue, -1, 5, 9, 5, 255, 0)
    assert channel.drain(queue) == [b"5:1", b"9:2", b"5:3", b"255:4", b"-1:0", b"0:5"]


def test_a_requeued_message_keeps_its_place_in_its_level(
    channel: Channel, publisher: Channel, declare: Declare
) -> None:
    queue = declare(**{"x-max-priority": 5})
    prioritized(publisher, queue, 2, 2, 1)
    first = channel.get(queue, no_ack=False)
    assert first is not None
    prioritized(publisher, queue, 5)
    channel.send("basic.nack", delivery_tag=first.tag, requeue=True)
    assert channel.drain(queue) == [b"5:0", b"2:0", b"2:1", b"1:2"]


def test_a_full_priority_queue_drops_its_highest_priority(
    channel: Channel, publisher: Channel, declare: Declare
) -> None:
    queue = declare(**{"x-max-priority": 5, "x-max-length": 2})
    prioritized(publisher, queue, 0, 5, 3)
    assert channel.drain(queue) == [b"3:2", b"0:0"]


@differs(facts.QUORUM_PRIORITIES)
def test_a_quorum_queue_has_priorities_and_4_where_there_is_none(
    channel: Channel, publisher: Channel, declare: Declare
) -> None:
    queue = declare("quorum")
    prioritized(publisher, queue, 3, -1, 4, 5, 31, 40)
    assert channel.drain(queue) == [b"31:4", b"40:5", b"5:3", b"-1:1", b"4:2", b"3:0"]


# Single active consumer

SINGLE = {"x-single-active-consumer": True}
KINDS = pytest.mark.parametrize("kind", ["classic", "quorum"])


@KINDS
def test_the_first_consumer_gets_everything(channel: Channel, publisher: Channel, declare: Declare, kind: str) -> None:
    queue = declare(kind, **SINGLE)
    consume(channel, queue, "a")
    consume(channel, queue, "b")
    publish(publisher, queue, b"0", b"1")
    assert [channel.message().method["consumer_tag"] for _ in range(2)] == ["a", "a"]
    channel.expect_nothing()


@KINDS
def test_the_next_one_takes_over_what_was_in_flight_on_a_channel_that_ends(
    channel: Channel, other: Channel, publisher: Channel, declare: Declare, kind: str
) -> None:
    queue = declare(kind, **SINGLE)
    first = channel.client.channel()
    consume(first, queue, "a", prefetch=2)
    consume(other, queue, "b", prefetch=2)
    publish(publisher, queue, b"0", b"1", b"2")
    assert first.bodies(2) == [b"0", b"1"]
    first.close()
    assert [seen(other.message()) for _ in range(2)] == [(b"0", True), (b"1", True)]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("classic", marks=differs(facts.SINGLE_GOES_ON)),
        "quorum",
    ],
)
def test_a_cancelled_consumer_keeps_what_is_in_flight_and_the_next_goes_on(
    channel: Channel, other: Channel, publisher: Channel, declare: Declare, kind: str
) -> None:
    queue = declare(kind, **SINGLE)
    consume(channel, queue, "a", prefetch=2)
    consume(other, queue, "b", prefetch=2)
    publish(publisher, queue, b"0", b"1", b"2", b"3", b"4")
    assert channel.bodies(2) == [b"0", b"1"]
    channel.call("basic.cancel", consumer_tag="a")
    assert [seen(other.message()) for _ in range(2)] == [(b"2", False), (b"3", False)]
    channel.send("basic.ack", delivery_tag=2, multiple=True)
    channel.expect_nothing()


@pytest.mark.parametrize(
    "kind",
    [
        "classic",
        pytest.param("quorum", marks=differs(facts.QUORUM_ACTIVE)),
    ],
)
def test_the_highest_priority_takes_over(channel: Channel, publisher: Channel, declare: Declare, kind: str) -> None:
    queue = declare(kind, **SINGLE)
    first = channel.client.channel()
    for on, tag, priority in ((first, "a", 9), (channel, "b", 1), (channel, "c", 5)):
        consume(on, queue, tag, **{"x-priority": priority})
    first.close()
    publish(publisher, queue, b"x")
    assert channel.message().method["consumer_tag"] == "c"


@differs(facts.QUORUM_ACTIVE)
def test_a_higher_priority_takes_over_a_quorum_queue_once_nothing_is_in_flight(
    channel: Channel, other: Channel, publisher: Channel, declare: Declare
) -> None:
    queue = declare("quorum", **SINGLE)
    consume(channel, queue, "a", prefetch=1)
    publish(publisher, queue, b"0", b"1")
    assert channel.bodies(1) == [b"0"]
    consume(other, queue, "b", **{"x-priority": 5})
    other.expect_nothing()
    channel.send("basic.ack", delivery_tag=1)
    assert other.bodies(1) == [b"1"]


def test_an_exclusive_consumer_is_refused_on_a_classic_queue(channel: Channel, declare: Declare, vhost: str) -> None:
    queue = declare(**SINGLE)
    text = f"queue '{queue}' in vhost '{vhost}' in exclusive use"
    channel.refused(403, text, "basic.consume", queue=queue, exclusive=True)


@pytest.mark.parametrize("arguments", [{}, SINGLE], ids=["plain", "single"])
def test_a_quorum_queue_ignores_exclusive(channel: Channel, declare: Declare, arguments: dict[str, Any]) -> None:
    queue = declare("quorum", **arguments)
    for tag in ("a", "b"):
        channel.call("basic.consume", queue=queue, consumer_tag=tag, exclusive=True)


def test_get_takes_the_next_message_of_a_classic_queue(channel: Channel, publisher: Channel, declare: Declare) -> None:
    queue = declare(**SINGLE)
    publish(publisher, queue, b"x")
    message = channel.get(queue)
    assert message is not None
    assert message.body == b"x"


def test_get_is_refused_on_a_quorum_queue(channel: Channel, declare: Declare, vhost: str) -> None:
    queue = declare("quorum", **SINGLE)
    text = (
        f"cannot obtain access to locked queue '{queue}' in vhost '{vhost}'. basic.get operations are not supported "
        "by quorum queues with single active consumer"
    )
    channel.refused(405, text, "basic.get", queue=queue)


# Consumer priorities


@KINDS
def test_consumers_of_the_highest_priority_take_turns_and_each_gets_what_it_has_room_for(
    channel: Channel, publisher: Channel, declare: Declare, kind: str
) -> None:
    queue = declare(kind)
    for tag, priority in (("low", 0), ("a", 5), ("b", 5)):
        consume(channel, queue, tag, prefetch=2, **{"x-priority": priority})
    publish(publisher, queue, *(b"%d" % number for number in range(8)))
    messages = [channel.message() for _ in range(6)]
    assert [message.method["consumer_tag"] for message in messages] == ["a", "b", "a", "b", "low", "low"]
    channel.send("basic.ack", delivery_tag=messages[4].tag)
    assert channel.message().method["consumer_tag"] == "low"
    channel.send("basic.ack", delivery_tag=messages[1].tag)
    assert channel.message().method["consumer_tag"] == "b"


# Delivery counts

VERBS = pytest.mark.parametrize("verb", ["basic.reject", "basic.nack", "basic.recover"])


def give_back(channel: Channel, verb: str, tag: int) -> None:
    if verb == "basic.recover":
        channel.call(verb, requeue=True)
    else:
        channel.send(verb, delivery_tag=tag, requeue=True)


@VERBS
def test_a_quorum_queue_counts_what_comes_back(
    channel: Channel, publisher: Channel, declare: Declare, verb: str
) -> None:
    queue = declare("quorum")
    publish(publisher, queue, b"x", headers={"mine": 1}, message_id="m")
    consume(channel, queue, "t")
    message = channel.message()
    assert (count(message), seen(message)) == (None, (b"x", False))
    for tag in (1, 2):
        give_back(channel, verb, tag)
        message = channel.message()
        assert (count(message), seen(message)) == (tag, (b"x", True))
        assert (message.headers["mine"], message.properties["message_id"]) == (1, "m")


@differs(facts.ACQUIRED)
def test_a_quorum_queue_counts_how_often_a_message_was_handed_out(
    channel: Channel, publisher: Channel, declare: Declare
) -> None:
    queue = declare("quorum")
    publish(publisher, queue, b"x")
    consume(channel, queue, "t")
    channel.message()
    channel.send("basic.nack", delivery_tag=1, requeue=True)
    assert channel.message().headers.get("x-acquired-count") == 1


def test_the_end_of_a_channel_and_of_a_connection_count(
    channel: Channel, connect: Connect, publisher: Channel, declare: Declare
) -> None:
    queue = declare("quorum")
    publish(publisher, queue, b"x")
    consume(channel, queue, "t")
    first = connect()
    channel.message()
    channel.close()
    consume(one := first.channel(), queue, "u")
    assert count(one.message()) == 1
    first.close()
    consume(two := connect().channel(), queue, "v")
    assert count(two.message()) == 2


def test_the_first_get_shows_a_count_of_0(channel: Channel, publisher: Channel, declare: Declare) -> None:
    queue = declare("quorum")
    publish(publisher, queue, b"x", headers={"x-delivery-count": "mine", "other": 1})
    message = channel.get(queue, no_ack=False)
    assert message is not None
    assert message.headers == {"x-delivery-count": 0, "other": 1}


def test_the_first_delivery_leaves_a_publishers_own_count(
    channel: Channel, publisher: Channel, declare: Declare
) -> None:
    queue = declare("quorum")
    publish(publisher, queue, b"x", headers={"x-delivery-count": "mine"})
    consume(channel, queue, "t")
    assert channel.message().headers == {"x-delivery-count": "mine"}


def test_a_dead_letter_does_not_carry_the_count(channel: Channel, publisher: Channel, declare: Declare) -> None:
    dead = declare()
    queue = declare("quorum", **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    consume(channel, dead, "dead")
    publish(publisher, queue, b"x", headers={"mine": 1})
    consume(channel, queue, "t")
    channel.message()
    channel.send("basic.nack", delivery_tag=1, requeue=True)
    assert count(channel.message()) == 1
    channel.send("basic.reject", delivery_tag=2, requeue=False)
    message = channel.message()
    assert (message.method["consumer_tag"], count(message), message.headers["mine"]) == ("dead", None, 1)


@differs(facts.REQUEUED_PLACE)
def test_what_comes_back_to_a_quorum_queue_keeps_its_place(
    channel: Channel, publisher: Channel, declare: Declare
) -> None:
    queue = declare("quorum")
    publish(publisher, queue, b"0", b"1", b"2")
    first = channel.get(queue, no_ack=False)
    assert first is not None
    channel.send("basic.nack", delivery_tag=first.tag, requeue=True)
    assert channel.drain(queue) == [b"0", b"1", b"2"]


# Delivery limits


@pytest.mark.parametrize("verb", ["basic.reject", "basic.nack"])
@pytest.mark.parametrize("limit", [0, 2])
def test_above_its_limit_a_message_goes_to_the_dead_letter_exchange(
    channel: Channel, publisher: Channel, declare: Declare, verb: str, limit: int
) -> None:
    dead = declare()
    queue = declare(
        "quorum",
        **{"x-delivery-limit": limit, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead},
    )
    consume(channel, dead, "dead")
    publish(publisher, queue, b"x")
    consume(channel, queue, "t")
    for tag in range(1, limit + 2):
        assert channel.message().method["consumer_tag"] == "t"
        channel.send(verb, delivery_tag=tag, requeue=True)
    message = channel.message()
    assert (message.method["consumer_tag"], count(message)) == ("dead", None)
    assert message.headers["x-death"][0]["reason"] == "delivery_limit"


@differs(facts.DEFAULT_LIMIT)
def test_a_quorum_queue_has_a_limit_of_20(channel: Channel, publisher: Channel, declare: Declare) -> None:
    queue = declare("quorum")
    publish(publisher, queue, b"x")
    consume(channel, queue, "t")
    for tag in range(1, 22):
        channel.message()
        channel.send("basic.reject", delivery_tag=tag, requeue=True)
    channel.expect_nothing()


@differs(facts.QUORUM_ONLY)
def test_a_classic_queue_may_have_a_delivery_limit(channel: Channel, publisher: Channel, declare: Declare) -> None:
    queue = declare(**{"x-delivery-limit": 1})
    publish(publisher, queue, b"x")
    consume(channel, queue, "t")
    channel.message()
    channel.send("basic.reject", delivery_tag=1, requeue=True)
    assert count(channel.message()) == 1
    channel.send("basic.reject", delivery_tag=2, requeue=True)
    channel.expect_nothing()


# Delayed retry and acknowledgement timeout

RETRY_SECONDS = 0.4
RETRY = {"x-delayed-retry-type": "all", "x-delayed-retry-min": round(RETRY_SECONDS * 1000)}


@differs(facts.DELAYED_RETRY)
@KINDS
def test_what_comes_back_waits(channel: Channel, publisher: Channel, declare: Declare, kind: str) -> None:
    queue = declare(kind, **RETRY)
    publish(publisher, queue, b"x")
    consume(channel, queue, "t")
    channel.message()
    rejected = time.monotonic()
    channel.send("basic.reject", delivery_tag=1, requeue=True)
    assert seen(channel.message()) == (b"x", True)
    # The broker counts whole milliseconds, from when it began to read what had come.
    assert time.monotonic() - rejected >= RETRY_SECONDS - 0.02


@differs(facts.CONSUMER_TIMEOUT)
@KINDS
def test_a_consumer_that_takes_too_long_is_cancelled(
    channel: Channel, publisher: Channel, declare: Declare, kind: str
) -> None:
    queue = declare(kind)
    publish(publisher, queue, b"x")
    consume(channel, queue, "t", **{"x-consumer-timeout": 200})
    channel.message()
    assert channel.expect("basic.cancel") == {"consumer_tag": "t", "no_wait": True}
    channel.send("basic.ack", delivery_tag=1)
    message = channel.get(queue)
    assert message is not None
    assert seen(message) == (b"x", True)
