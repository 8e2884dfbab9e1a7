"""Dead-lettering and length limits (behaviour 2.2): what consumers see, down to the octets of x-death."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from interop import facts

from .client import PATIENCE, Channel, Message
from .codec import Typed
from .conftest import Names

differs = pytest.mark.differs

Declare = Callable[..., str]


@pytest.fixture
def dead(channel: Channel, name: Names) -> str:
    """A queue for dead letters."""
    return str(channel.call("queue.declare", queue=name("dead"))["queue"])


@pytest.fixture
def declare(channel: Channel, name: Names) -> Declare:
    """Declares a queue with these arguments, ``_`` for ``-`` and without ``x-``."""

    def declare_queue(queue: str = "", **arguments: Any) -> str:
        given = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
        return str(channel.call("queue.declare", queue=queue or name("q"), arguments=given)["queue"])

    return declare_queue


@pytest.fixture
def source(declare: Declare, dead: str) -> str:
    """A queue whose dead letters go to ``dead``."""
    return declare(dead_letter_exchange="", dead_letter_routing_key=dead)


def awaited(channel: Channel, queue: str) -> Message:
    """The next message of a queue; dead letters take a moment on RabbitMQ."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        message = channel.get(queue)
        if message is not None:
            return message
        time.sleep(0.01)
    raise AssertionError(f"nothing came to {queue}")


def reject(channel: Channel, queue: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while (message := channel.get(queue, no_ack=False)) is None:
        assert time.monotonic() < deadline, f"nothing came to {queue}"
        time.sleep(0.01)
    channel.send("basic.reject", delivery_tag=message.tag, requeue=False)


def deaths(message: Message) -> list[tuple[str, str, int]]:
    return [(one["queue"], one["reason"], one["count"]) for one in message.headers["x-death"]]


def field(name: str, kind: str, value: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + kind.encode() + value


def text(value: str) -> bytes:
    return len(value).to_bytes(4, "big") + value.encode()


def test_octets_of_the_first_death(channel: Channel, source: str, dead: str) -> None:
    before = int(time.time())
    channel.publish("", source, b"x", {"headers": {"CC": ["one", "two"]}, "expiration": "60000"})
    reject(channel, source)
    message = awaited(channel, dead)
    (death,) = message.headers["x-death"]
    assert before - 1 <= death["time"] <= int(time.time()) + 1
    keys = b"".join([b"S" + text(key) for key in (source, "one", "two")])
    entry = b"".join(
        [
            field("count", "l", (1).to_bytes(8, "big")),
            field("reason", "S", text("rejected")),
            field("queue", "S", text(source)),
            field("time", "T", death["time"].to_bytes(8, "big")),
            field("exchange", "S", text("")),
            field("routing-keys", "A", len(keys).to_bytes(4, "big") + keys),
            field("original-expiration", "S", text("60000")),
        ]
    )
    item = b"F" + len(entry).to_bytes(4, "big") + entry
    assert field("x-death", "A", len(item).to_bytes(4, "big") + item) in message.raw_properties
    assert "expiration" not in message.properties


def test_headers_of_the_first_death_stay(channel: Channel, declare: Declare, dead: str) -> None:
    second = declare(dead_letter_exchange="", dead_letter_routing_key=dead, max_length=0)
    first = declare(dead_letter_exchange="", dead_letter_routing_key=second)
    channel.publish("", first, b"x", {"headers": {"own": Typed("I", 7)}})
    reject(channel, first)
    message = awaited(channel, dead)
    assert deaths(message) == [(second, "maxlen", 1), (first, "rejected", 1)]
    assert message.headers["own"] == 7
    assert message.headers["x-first-death-queue"] == first
    assert message.headers["x-first-death-reason"] == "rejected"
    assert message.headers["x-first-death-exchange"] == ""


@differs(facts.LAST_DEATH)
def test_headers_of_the_last_death_follow(channel: Channel, declare: Declare, dead: str) -> None:
    second = declare(dead_letter_exchange="", dead_letter_routing_key=dead, max_length=0)
    first = declare(dead_letter_exchange="", dead_letter_routing_key=second)
    channel.publish("", first, b"x")
    reject(channel, first)
    message = awaited(channel, dead)
    assert message.headers.get("x-last-death-queue") == second
    assert message.headers.get("x-last-death-reason") == "maxlen"
    assert message.headers.get("x-last-death-exchange") == ""


def test_deliver_frame_names_the_exchange_and_the_new_key(channel: Channel, source: str, dead: str) -> None:
    channel.publish("amq.fanout", "other", b"x")
    channel.publish("", source, b"x")
    reject(channel, source)
    message = awaited(channel, dead)
    assert (message.method["exchange"], message.method["routing_key"]) == ("", dead)
    assert message.method["redelivered"] is False


@pytest.fixture
def copies(channel: Channel, declare: Declare, name: Names) -> dict[str, str]:
    """Queues by the key that a dead letter of a message with CC and BCC came with; the message is rejected."""
    exchange = name("dlx")
    channel.call("exchange.declare", exchange=exchange, type="direct", auto_delete=True)
    source = declare(dead_letter_exchange=exchange)
    queues = {}
    for key in (source, "copy", "blind"):
        queues[key] = declare()
        channel.call("queue.bind", queue=queues[key], exchange=exchange, routing_key=key)
    channel.publish("", source, b"x", {"headers": {"CC": ["copy"], "BCC": ["blind"]}})
    reject(channel, source)
    return queues


def test_own_keys_with_cc_and_no_word_of_bcc(channel: Channel, copies: dict[str, str]) -> None:
    source = next(iter(copies))
    for key in (source, "copy"):
        message = awaited(channel, copies[key])
        assert message.headers["x-death"][0]["routing-keys"] == [source, "copy"]
        assert message.headers["CC"] == ["copy"]
        assert "BCC" not in message.headers


@differs(facts.BCC_ONCE)
def test_keys_of_bcc_are_used_once(channel: Channel, copies: dict[str, str]) -> None:
    awaited(channel, copies["copy"])
    assert channel.get(copies["blind"]) is None


@differs(facts.CC_KEPT)
def test_cc_stays_where_the_queue_gives_the_key(channel: Channel, source: str, dead: str) -> None:
    channel.publish("", source, b"x", {"headers": {"CC": ["copy"]}})
    reject(channel, source)
    assert awaited(channel, dead).headers.get("CC") == ["copy"]


def test_retry_with_a_waiting_queue_counts(channel: Channel, declare: Declare, name: Names) -> None:
    work = name("work")
    wait = declare(dead_letter_exchange="", dead_letter_routing_key=work, message_ttl=10)
    declare(work, dead_letter_exchange="", dead_letter_routing_key=wait)
    channel.publish("", work, b"x")
    for _ in range(3):
        reject(channel, work)
    message = awaited(channel, work)
    assert deaths(message) == [(wait, "expired", 3), (work, "rejected", 3)]


def test_circle_without_a_rejection_is_cut(channel: Channel, declare: Declare, name: Names) -> None:
    queue = name("circle")
    declare(queue, dead_letter_exchange="", dead_letter_routing_key=queue, message_ttl=10)
    channel.publish("", queue, b"x")
    deadline = time.monotonic() + PATIENCE
    while channel.count(queue)[0]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)
    assert channel.count(queue)[0] == 0


def test_headers_published_again_are_counted_on(channel: Channel, source: str, dead: str) -> None:
    """3.13 and before count what a client sent; 4.0 does not, and clients that rely on it broke."""
    foreign = {"queue": source, "reason": "rejected", "count": Typed("l", 4), "note": "kept"}
    channel.publish("", source, b"x", {"headers": {"x-death": [foreign]}})
    reject(channel, source)
    message = awaited(channel, dead)
    assert deaths(message) == [(source, "rejected", 5)]
    assert message.headers["x-death"][0]["note"] == "kept"


@pytest.mark.parametrize("odd", ["text", Typed("I", 5), True], ids=str)
def test_x_death_that_is_no_array_is_replaced(channel: Channel, source: str, dead: str, odd: Any) -> None:
    channel.publish("", source, b"x", {"headers": {"x-death": odd}})
    reject(channel, source)
    assert deaths(awaited(channel, dead)) == [(source, "rejected", 1)]


@differs(facts.ODD_DEATH)
def test_a_death_that_is_no_table_is_left_alone(channel: Channel, source: str, dead: str) -> None:
    channel.publish("", source, b"x", {"headers": {"x-death": ["text"]}})
    reject(channel, source)
    message = awaited(channel, dead)
    assert message.headers["x-death"][0]["count"] == 1
    assert message.headers["x-death"][1] == "text"


@differs(facts.NO_CIRCLE)
def test_a_message_published_again_went_in_no_circle(channel: Channel, declare: Declare, name: Names) -> None:
    work = name("work")
    wait = declare(dead_letter_exchange="", dead_letter_routing_key=work, message_ttl=10)
    declare(work)
    sent = [{"queue": work, "reason": "expired", "count": Typed("l", 1)}]
    channel.publish("", wait, b"x", {"headers": {"x-death": sent}})
    assert awaited(channel, work).body == b"x"


def test_exchange_that_does_not_exist_drops_it(channel: Channel, declare: Declare, name: Names) -> None:
    queue = declare(dead_letter_exchange=name("nowhere"))
    channel.publish("", queue, b"x")
    reject(channel, queue)
    channel.publish("", queue, b"y")
    assert awaited(channel, queue).body == b"y"
    assert channel.get(queue) is None


# Length limits


def confirmed(channel: Channel, queue: str, *messages: bytes) -> list[str]:
    """Publish one after the other: ack or nack of each."""
    answers = []
    for body in messages:
        channel.publish("", queue, body)
        frame = channel.client.next_frame(channel.number)
        answers.append("ack" if frame.payload[:4] == b"\0\x3c\0\x50" else "nack")
    return answers


@pytest.mark.parametrize(
    ("overflow", "answers", "left", "dropped"),
    [
        ("drop-head", ["ack", "ack", "ack"], [b"2", b"3"], [b"1"]),
        ("reject-publish", ["ack", "ack", "nack"], [b"1", b"2"], []),
        ("reject-publish-dlx", ["ack", "ack", "nack"], [b"1", b"2"], [b"3"]),
    ],
)
def test_overflow(
    channel: Channel,
    declare: Declare,
    dead: str,
    overflow: str,
    answers: list[str],
    left: list[bytes],
    dropped: list[bytes],
) -> None:
    queue = declare(max_length=2, overflow=overflow, dead_letter_exchange="", dead_letter_routing_key=dead)
    channel.call("confirm.select")
    assert confirmed(channel, queue, b"1", b"2", b"3") == answers
    assert channel.drain(queue) == left
    for body in dropped:
        message = awaited(channel, dead)
        assert message.body == body
        assert deaths(message) == [(queue, "maxlen", 1)]
    assert channel.get(dead) is None


def test_both_limits(channel: Channel, declare: Declare) -> None:
    queue = declare(max_length=3, max_length_bytes=10)
    channel.call("confirm.select")
    assert confirmed(channel, queue, b"1", b"2", b"3", b"4", b"123456789") == ["ack"] * 5
    assert channel.drain(queue) == [b"4", b"123456789"]


def test_requeue_over_the_limit_drops_the_head(channel: Channel, declare: Declare, dead: str) -> None:
    queue = declare(max_length=1, dead_letter_exchange="", dead_letter_routing_key=dead)
    channel.publish("", queue, b"in flight")
    message = channel.get(queue, no_ack=False)
    assert message is not None
    channel.publish("", queue, b"ready")
    channel.send("basic.nack", delivery_tag=message.tag, requeue=True)
    assert awaited(channel, dead).body == b"in flight"
    assert channel.drain(queue) == [b"ready"]


@pytest.mark.parametrize(("overflow", "answer"), [("drop-head", "ack"), ("reject-publish", "nack")])
def test_limit_of_0_and_a_waiting_consumer(
    channel: Channel, other: Channel, declare: Declare, overflow: str, answer: str
) -> None:
    queue = declare(max_length=0, overflow=overflow)
    other.call("basic.consume", queue=queue, no_ack=True)
    channel.call("confirm.select")
    assert confirmed(channel, queue, b"x") == [answer]
    if answer == "ack":
        assert other.bodies(1) == [b"x"]
    other.expect_nothing()
