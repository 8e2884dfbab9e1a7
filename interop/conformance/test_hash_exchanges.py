"""Exchange types of RabbitMQ's plugins that choose one destination (behaviour 2.5): hashes and chance.

Where a broker has not got a type, its tests are left out.
"""

from collections.abc import Callable
from typing import Any

import pytest

from .client import Channel
from .conftest import Connect, Names

differs = pytest.mark.differs

HASH, MODULUS, RANDOM = "x-consistent-hash", "x-modulus-hash", "x-random"

Declare = Callable[..., str]


@pytest.fixture
def declare(connect: Connect, channel: Channel, name: Names) -> Declare:
    """Declares an exchange of a type; skips where there is no such type. Returns its name."""

    def declared(kind: str, arguments: dict[str, Any] | None = None) -> str:
        exchange = name("e")
        try:
            connect().channel().call("exchange.declare", exchange=name("e"), type=kind, auto_delete=True)
        except AssertionError:
            pytest.skip(f"no exchange type {kind} here")
        channel.call("exchange.declare", exchange=exchange, type=kind, arguments=arguments or {})
        return exchange

    return declared


def bound(channel: Channel, exchange: str, names: Names, *keys: str) -> list[str]:
    """Queues of our own, one bound with each key."""
    queues = [names("q") for _ in keys]
    for queue, key in zip(queues, keys, strict=True):
        channel.call("queue.declare", queue=queue, exclusive=True)
        channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
    return queues


def published(channel: Channel, exchange: str, queues: list[str], count: int, properties: Any = None) -> list[int]:
    """How many of ``count`` messages with different keys each queue got, which is then empty again."""
    publisher = channel.client.channel()
    publisher.call("confirm.select")
    for number in range(count):
        publisher.publish(exchange, f"key {number}", b"m", {} if properties is None else properties(number))
    open_tags = set(range(1, count + 1))
    while open_tags:  # RabbitMQ does not confirm in order
        ack = publisher.expect("basic.ack")
        tag = ack["delivery_tag"]
        open_tags -= {one for one in open_tags if one <= tag} if ack["multiple"] else {tag}
    publisher.close()
    counts = [channel.count(queue)[0] for queue in queues]
    for queue in queues:
        channel.call("queue.purge", queue=queue)
    return counts


@pytest.mark.parametrize("kind", [HASH, MODULUS, RANDOM])
def test_each_message_has_one_destination(declare: Declare, channel: Channel, name: Names, kind: str) -> None:
    exchange = declare(kind)
    queues = bound(channel, exchange, name, "1", "1", "1")
    counts = published(channel, exchange, queues, 900)
    assert sum(counts) == 900
    assert all(150 < count < 450 for count in counts), counts


@pytest.mark.parametrize("kind", [HASH, MODULUS, RANDOM])
def test_cc_adds_no_destination(declare: Declare, channel: Channel, name: Names, kind: str) -> None:
    exchange = declare(kind)
    queues = bound(channel, exchange, name, "1", "1", "1")
    counts = published(channel, exchange, queues, 90, lambda number: {"headers": {"CC": [f"{number}", "more"]}})
    assert sum(counts) == 90


@pytest.mark.parametrize("kind", [HASH, MODULUS])
def test_a_key_has_one_queue(declare: Declare, channel: Channel, name: Names, kind: str) -> None:
    exchange = declare(kind)
    queues = bound(channel, exchange, name, "1", "1", "1")
    counts = [published(channel, exchange, queues, 30) for _ in range(3)]
    assert counts[0] == counts[1] == counts[2]


@pytest.mark.parametrize("kind", [HASH, MODULUS, RANDOM])
def test_without_bindings_there_is_no_route(declare: Declare, channel: Channel, kind: str) -> None:
    exchange = declare(kind)
    channel.publish(exchange, "k", b"back", mandatory=True)
    assert channel.message("basic.return").body == b"back"


@pytest.mark.parametrize("kind", [MODULUS, RANDOM])
def test_a_queue_bound_twice_counts_twice(declare: Declare, channel: Channel, name: Names, kind: str) -> None:
    exchange = declare(kind)
    queues = bound(channel, exchange, name, "a", "b")
    channel.call("queue.bind", queue=queues[0], exchange=exchange, routing_key="again")
    first, second = published(channel, exchange, queues, 900)
    assert first + second == 900
    assert 500 < first < 700


# x-consistent-hash


def test_weights_are_the_shares(declare: Declare, channel: Channel, name: Names) -> None:
    exchange = declare(HASH)
    queues = bound(channel, exchange, name, "10", "20", "50")
    counts = published(channel, exchange, queues, 4000)
    assert sum(counts) == 4000
    for count, weight in zip(counts, (10, 20, 50), strict=True):
        assert abs(count / 4000 - weight / 80) < 0.05, counts


def test_a_second_binding_of_a_queue_is_ignored(declare: Declare, channel: Channel, name: Names) -> None:
    exchange = declare(HASH)
    queues = bound(channel, exchange, name, "1", "1")
    channel.call("queue.bind", queue=queues[0], exchange=exchange, routing_key="50")
    first, _ = published(channel, exchange, queues, 900)
    assert 300 < first < 600


@differs("nothing goes to the queue any more")
def test_a_second_binding_counts_when_the_first_is_gone(declare: Declare, channel: Channel, name: Names) -> None:
    exchange = declare(HASH)
    queues = bound(channel, exchange, name, "1", "1")
    channel.call("queue.bind", queue=queues[0], exchange=exchange, routing_key="3")
    channel.call("queue.unbind", queue=queues[0], exchange=exchange, routing_key="1")
    first, _ = published(channel, exchange, queues, 900)
    assert 550 < first < 800


@pytest.mark.parametrize(
    ("arguments", "properties"),
    [
        ({"hash-header": "user"}, lambda number: {"headers": {"user": str(number % 30)}}),
        ({"hash-property": "message_id"}, lambda number: {"message_id": str(number % 30)}),
        ({"hash-property": "correlation_id"}, lambda number: {"correlation_id": str(number % 30)}),
        ({"hash-property": "timestamp"}, lambda number: {"timestamp": number % 30}),
    ],
)
def test_a_header_or_property_is_hashed(
    declare: Declare, channel: Channel, name: Names, arguments: dict[str, str], properties: Any
) -> None:
    exchange = declare(HASH, arguments)
    queues = bound(channel, exchange, name, "1", "1", "1")
    counts = published(channel, exchange, queues, 300, properties)
    assert sum(counts) == 300
    assert all(count % 10 == 0 for count in counts), counts


def test_messages_without_the_header_go_to_one_queue(declare: Declare, channel: Channel, name: Names) -> None:
    exchange = declare(HASH, {"hash-header": "user"})
    queues = bound(channel, exchange, name, "1", "1", "1")
    assert sorted(published(channel, exchange, queues, 60)) == [0, 0, 60]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("x", 'The binding key must be an integer: <<"x">>'),
        ("1.5", 'The binding key must be an integer: <<"1.5">>'),
        ("1 ", 'The binding key must be an integer: <<"1 ">>'),
        ("", "The binding key must be an integer: <<>>"),
        ("0", "The binding key must be greater than 0"),
        ("-1", "The binding key must be greater than 0"),
    ],
)
def test_a_weight_that_is_none_is_refused(declare: Declare, channel: Channel, queue: str, key: str, text: str) -> None:
    exchange = declare(HASH)
    channel.refused(406, text, "queue.bind", queue=queue, exchange=exchange, routing_key=key)


def test_a_weight_may_have_a_sign(declare: Declare, channel: Channel, queue: str) -> None:
    channel.call("queue.bind", queue=queue, exchange=declare(HASH), routing_key="+2")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"hash-header": "a", "hash-property": "message_id"},
            "hash-header and hash-property are mutually exclusive",
        ),
        ({"hash-property": "app_id"}, "Unsupported property: app_id"),
    ],
)
def test_arguments_that_will_not_do(
    declare: Declare, channel: Channel, name: Names, arguments: dict[str, str], text: str
) -> None:
    declare(HASH)
    channel.refused(406, text, "exchange.declare", exchange=name("e"), type=HASH, arguments=arguments)


@differs("the connection is closed with 541")
@pytest.mark.parametrize("argument", ["hash-header", "hash-property"])
def test_an_argument_of_a_wrong_type(declare: Declare, channel: Channel, name: Names, argument: str) -> None:
    declare(HASH)
    text = f"Invalid argument, '{argument}' must be a string"
    channel.refused(406, text, "exchange.declare", exchange=name("e"), type=HASH, arguments={argument: 7})
