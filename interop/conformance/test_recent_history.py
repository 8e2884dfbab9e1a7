"""RabbitMQ's exchange type x-recent-history (behaviour 2.5). Where a broker has not got it, the tests are left out."""

from collections.abc import Callable
from typing import Any

import pytest

from interop import facts

from .client import Channel
from .codec import Typed
from .conftest import Names

differs = pytest.mark.differs

KIND, LENGTH, NO_STORE = "x-recent-history", "x-recent-history-length", "x-recent-history-no-store"

Declare = Callable[..., str]


@pytest.fixture
def declare(has_exchange_type: Callable[[str], bool], channel: Channel, name: Names) -> Declare:
    """Declares an exchange with a history; skips where there is no such type. Returns its name."""

    def declared(length: int | None = None, **arguments: Any) -> str:
        exchange = name("e")
        if not has_exchange_type(KIND):
            pytest.skip(f"no exchange type {KIND} here")
        if length is not None:
            arguments[LENGTH] = length
        channel.call("exchange.declare", exchange=exchange, type=KIND, arguments=arguments)
        return exchange

    return declared


def published(channel: Channel, exchange: str, *bodies: bytes, key: str = "", **properties: Any) -> None:
    """Publish and wait until the broker has done with it."""
    publisher = channel.client.channel()
    publisher.call("confirm.select")
    for number, body in enumerate(bodies):
        publisher.publish(exchange, key, body, properties)
        assert publisher.expect("basic.ack")["delivery_tag"] == number + 1
    publisher.close()


def test_a_new_binding_gets_the_history(declare: Declare, channel: Channel, queue: str) -> None:
    exchange = declare(3)
    published(channel, exchange, b"1", b"2", b"3", b"4")
    channel.call("queue.bind", queue=queue, exchange=exchange)
    published(channel, exchange, b"5")
    assert channel.drain(queue) == [b"2", b"3", b"4", b"5"]


def test_twenty_messages_without_a_length(declare: Declare, channel: Channel, queue: str) -> None:
    exchange = declare()
    published(channel, exchange, *[b"%d" % number for number in range(23)])
    channel.call("queue.bind", queue=queue, exchange=exchange)
    assert channel.drain(queue) == [b"%d" % number for number in range(3, 23)]


def test_a_second_binding_of_a_queue_gets_it_again(declare: Declare, channel: Channel, queue: str) -> None:
    exchange = declare(3)
    published(channel, exchange, b"1")
    for key in ("a", "b", "b"):
        channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
    assert channel.drain(queue) == [b"1", b"1"]


def test_keys_are_not_looked_at(declare: Declare, channel: Channel, queue: str) -> None:
    exchange = declare(3)
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="a")
    published(channel, exchange, b"1", key="b")
    assert channel.drain(queue) == [b"1"]


def test_the_history_looks_like_what_was_published(declare: Declare, channel: Channel, queue: str) -> None:
    exchange = declare(3)
    published(channel, exchange, b"1", key="the key", message_id="one", headers={"a": 1})
    channel.call("queue.bind", queue=queue, exchange=exchange)
    message = channel.get(queue)
    assert message is not None
    assert (message.method["exchange"], message.method["routing_key"]) == (exchange, "the key")
    assert not message.method["redelivered"]
    assert message.properties["message_id"] == "one"
    assert message.headers == {"a": 1}


@pytest.mark.parametrize(
    ("value", "kept"), [(True, False), (False, True), ("true", True), (1, True), (Typed("V", None), True)]
)
def test_no_store(declare: Declare, channel: Channel, queue: str, value: Any, kept: bool) -> None:
    exchange = declare(3)
    published(channel, exchange, b"1", headers={NO_STORE: value})
    channel.call("queue.bind", queue=queue, exchange=exchange)
    assert channel.drain(queue) == ([b"1"] if kept else [])


def test_a_message_of_several_keys_is_kept_once(declare: Declare, channel: Channel, queue: str) -> None:
    exchange = declare(3)
    published(channel, exchange, b"1", headers={"CC": ["more", "and more"]})
    channel.call("queue.bind", queue=queue, exchange=exchange)
    assert channel.drain(queue) == [b"1"]


def test_what_nobody_takes_is_returned_and_kept(declare: Declare, channel: Channel, queue: str) -> None:
    exchange = declare(3)
    channel.publish(exchange, "k", b"back", mandatory=True)
    assert channel.message("basic.return").body == b"back"
    channel.call("queue.bind", queue=queue, exchange=exchange)
    assert channel.drain(queue) == [b"back"]


def routed_history(channel: Channel, exchange: str, queue: str, other: str) -> list[bytes]:
    """What a queue gets that is bound with ``b`` to an exchange that is bound to the one with the history."""
    published(channel, exchange, b"b", key="b")
    published(channel, exchange, b"c", key="c", headers={"CC": ["b"]})
    channel.call("exchange.declare", exchange=other, type="direct", auto_delete=True)
    channel.call("queue.bind", queue=queue, exchange=other, routing_key="b")
    channel.call("exchange.bind", destination=other, source=exchange)
    return channel.drain(queue)


def test_a_bound_exchange_routes_the_history(declare: Declare, channel: Channel, queue: str, name: Names) -> None:
    assert sorted(routed_history(channel, declare(3), queue, name("e"))) == [b"b", b"c"]


@differs(facts.HISTORY_ORDER)
def test_a_bound_exchange_gets_the_oldest_first(declare: Declare, channel: Channel, queue: str, name: Names) -> None:
    assert routed_history(channel, declare(3), queue, name("e")) == [b"b", b"c"]


@differs(facts.HISTORY_NO_ROUTE)
def test_a_bound_exchange_may_find_no_route(declare: Declare, channel: Channel, name: Names) -> None:
    exchange, other = declare(3), name("e")
    published(channel, exchange, b"a", key="a")
    channel.call("exchange.declare", exchange=other, type="direct", auto_delete=True)
    channel.call("exchange.bind", destination=other, source=exchange)


def test_what_comes_through_another_exchange_is_kept(
    declare: Declare, channel: Channel, queue: str, name: Names
) -> None:
    exchange, other = declare(3), name("e")
    channel.call("exchange.declare", exchange=other, type="fanout")
    channel.call("exchange.bind", destination=exchange, source=other)
    published(channel, other, b"1")
    channel.call("queue.bind", queue=queue, exchange=exchange)
    message = channel.get(queue)
    assert message is not None
    assert (message.method["exchange"], message.body) == (other, b"1")
    channel.call("exchange.delete", exchange=other)


@differs(facts.HISTORY_TX)
def test_a_transaction_that_is_rolled_back_is_not_kept(declare: Declare, channel: Channel, queue: str) -> None:
    exchange = declare(3)
    publisher = channel.client.channel()
    publisher.call("tx.select")
    publisher.publish(exchange, "", b"no")
    publisher.call("tx.rollback")
    channel.call("queue.bind", queue=queue, exchange=exchange)
    assert channel.drain(queue) == []


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        (0, "0"),
        (-1, "-1"),
        ("x", '<<"x">>'),
        ("3", '<<"3">>'),
        ("", "<<>>"),
        (True, "true"),
        (Typed("d", 3.0), "3.0"),
        (Typed("V", None), "undefined"),
        (Typed("T", 5), "5"),
        (Typed("D", (0, 5)), "{0,5}"),
        ([Typed("I", 1)], "[{signedint,1}]"),
        ({}, "[]"),
        ({"a": "b"}, '[{<<"a">>,longstr,<<"b">>}]'),
    ],
)
def test_a_length_that_is_none(declare: Declare, channel: Channel, name: Names, length: Any, shown: str) -> None:
    declare()
    text = f"Invalid argument {shown}, '{LENGTH}' must be a positive integer"
    channel.refused(406, text, "exchange.declare", exchange=name("e"), type=KIND, arguments={LENGTH: length})


@differs(facts.HISTORY_LENGTH)
def test_a_length_may_be_an_unsigned_octet(declare: Declare, channel: Channel) -> None:
    declare(**{LENGTH: Typed("B", 200)})


def test_the_length_is_not_compared_when_it_is_declared_again(declare: Declare, channel: Channel) -> None:
    exchange = declare(3)
    channel.call("exchange.declare", exchange=exchange, type=KIND, arguments={LENGTH: 4})
