"""Exchange types of RabbitMQ's plugins that choose one destination (behaviour 2.5): hashes and chance.

RabbitMQ 3.10 has not got x-local-random, and may run without the plugins: there the tests of a type that is missing
are left out.
"""

from collections.abc import Callable
from typing import Any

import pytest

from interop import facts

from .client import Channel
from .codec import Typed
from .conftest import BrokerUnderTest, Names

differs = pytest.mark.differs

HASH, MODULUS, RANDOM, LOCAL_RANDOM = "x-consistent-hash", "x-modulus-hash", "x-random", "x-local-random"

PROPERTIES = ("message_id", "correlation_id", "timestamp")

Declare = Callable[..., str]


@pytest.fixture
def declare(
    broker: BrokerUnderTest,
    has_exchange_type: Callable[[str], bool],
    unrecorded: Callable[[str], None],
    channel: Channel,
    name: Names,
) -> Declare:
    """Declares an exchange of a type; skips where RabbitMQ has no such type. Returns its name."""

    def declared(kind: str, arguments: dict[str, Any] | None = None) -> str:
        exchange = name("e")
        if broker.is_rabbitmq and not has_exchange_type(kind):
            pytest.skip(f"no exchange type {kind} here")
        if kind in (RANDOM, LOCAL_RANDOM):
            unrecorded("which queue gets a message is chance")
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


def test_cc_does_not_change_where_a_key_belongs(declare: Declare, channel: Channel, name: Names) -> None:
    exchange = declare(HASH)
    queues = bound(channel, exchange, name, "1", "1", "1")
    for header in ("CC", "BCC"):
        for number in range(30):
            channel.publish(exchange, "same", b"m", {"headers": {header: [f"{number}"]}})
    assert sorted(len(channel.drain(queue)) for queue in queues) == [0, 0, 60]


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_cc_belongs_to_what_the_modulus_is_taken_of(
    declare: Declare, channel: Channel, name: Names, header: str
) -> None:
    exchange = declare(MODULUS)
    queues = bound(channel, exchange, name, "1", "1", "1")
    for number in range(90):
        channel.publish(exchange, "same", b"m", {"headers": {header: [f"{number}"]}})
    counts = [len(channel.drain(queue)) for queue in queues]
    assert sum(counts) == 90
    assert min(counts) > 5, counts


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


@differs(facts.HASH_SECOND_BINDING)
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


@pytest.mark.parametrize(
    "arguments", [{"hash-header": "user"}, *({"hash-property": name} for name in PROPERTIES)], ids=str
)
def test_messages_without_what_is_hashed_go_to_one_queue(
    declare: Declare, channel: Channel, name: Names, arguments: dict[str, str]
) -> None:
    exchange = declare(HASH, arguments)
    queues = bound(channel, exchange, name, "1", "1", "1")
    assert sorted(published(channel, exchange, queues, 60)) == [0, 0, 60]
    assert sorted(published(channel, exchange, queues, 60, lambda number: {"headers": {"n": number}})) == [0, 0, 60]


def test_a_header_of_any_type_is_hashed(declare: Declare, channel: Channel, name: Names) -> None:
    exchange = declare(HASH, {"hash-header": "user"})
    queues = bound(channel, exchange, name, "1", "1", "1")
    values = [None, True, 7, 0.5, "s", "", [1], {"a": 1}, Typed("T", 7), Typed("x", b"7")]
    count = 3 * len(values)
    counts = published(channel, exchange, queues, count, lambda n: {"headers": {"user": values[n % len(values)]}})
    assert sum(counts) == count
    assert all(count % 3 == 0 for count in counts), counts


@differs(facts.HASH_WIDTHS)
def test_a_number_is_the_same_in_any_width(declare: Declare, channel: Channel, name: Names) -> None:
    exchange = declare(HASH, {"hash-header": "user"})
    queues = bound(channel, exchange, name, "1", "1", "1", "1")
    values = [Typed(letter, 7) for letter in "bsulI"]
    counts = published(channel, exchange, queues, len(values), lambda n: {"headers": {"user": values[n]}})
    assert sorted(counts) == [0, 0, 0, len(values)]


def placed(channel: Channel, exchange: str, queues: list[str]) -> dict[str, set[bytes]]:
    """Which of 300 keys each queue gets."""
    for number in range(300):
        channel.publish(exchange, f"key {number}", b"%d" % number)
    found = {queue: set(channel.drain(queue)) for queue in queues}
    assert sum(map(len, found.values())) == 300
    return found


def test_a_queue_that_comes_takes_its_share_and_no_other_key_moves(
    declare: Declare, channel: Channel, name: Names
) -> None:
    exchange = declare(HASH)
    queues = bound(channel, exchange, name, "1", "1", "1")
    before = placed(channel, exchange, queues)
    queues += bound(channel, exchange, name, "1")
    after = placed(channel, exchange, queues)
    assert all(after[queue] <= before[queue] for queue in before)
    assert 40 < len(after[queues[3]]) < 120


@differs(facts.HASH_STABLE)
def test_the_keys_of_a_queue_that_goes_are_shared_out_and_no_other_moves(
    declare: Declare, channel: Channel, name: Names
) -> None:
    exchange = declare(HASH)
    queues = bound(channel, exchange, name, "1", "1", "1", "1")
    before = placed(channel, exchange, queues)
    channel.call("queue.delete", queue=queues[0])
    after = placed(channel, exchange, queues[1:])
    assert all(before[queue] < after[queue] for queue in after)


def test_an_exchange_takes_its_share_like_a_queue(declare: Declare, channel: Channel, name: Names) -> None:
    exchange, fanout = declare(HASH), name("e")
    queues = bound(channel, exchange, name, "1")
    channel.call("exchange.declare", exchange=fanout, type="fanout")
    channel.call("exchange.bind", destination=fanout, source=exchange, routing_key="1")
    queues += bound(channel, fanout, name, "")
    counts = published(channel, exchange, queues, 600)
    assert sum(counts) == 600
    assert min(counts) > 200, counts


def test_declaring_again_compares_no_arguments(declare: Declare, channel: Channel) -> None:
    exchange = declare(HASH, {"hash-header": "user"})
    for arguments in ({}, {"hash-property": "message_id"}, {"hash-property": "unknown"}):
        channel.call("exchange.declare", exchange=exchange, type=HASH, arguments=arguments)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("x", 'The binding key must be an integer: <<"x">>'),
        ("1.5", 'The binding key must be an integer: <<"1.5">>'),
        ("1 ", 'The binding key must be an integer: <<"1 ">>'),
        ('a"b\n', 'The binding key must be an integer: <<"a\\"b\\n">>'),
        ("\u00e9", 'The binding key must be an integer: <<"\u00e9">>'),
        ("\u00c9", "The binding key must be an integer: <<195,137>>"),
        ("", "The binding key must be an integer: <<>>"),
        ("0", "The binding key must be greater than 0"),
        ("-1", "The binding key must be greater than 0"),
    ],
)
def test_a_weight_that_is_none_is_refused(declare: Declare, channel: Channel, queue: str, key: str, text: str) -> None:
    exchange = declare(HASH)
    channel.refused(406, text, "queue.bind", queue=queue, exchange=exchange, routing_key=key)


def test_a_weight_that_is_none_is_refused_for_an_exchange(declare: Declare, channel: Channel) -> None:
    text = 'The binding key must be an integer: <<"x">>'
    channel.refused(406, text, "exchange.bind", destination="amq.fanout", source=declare(HASH), routing_key="x")


def test_unbinding_what_could_not_be_bound_is_no_error(declare: Declare, channel: Channel, queue: str) -> None:
    channel.call("queue.unbind", queue=queue, exchange=declare(HASH), routing_key="x")


def test_a_weight_may_have_a_sign(declare: Declare, channel: Channel, queue: str) -> None:
    channel.call("queue.bind", queue=queue, exchange=declare(HASH), routing_key="+2")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"hash-header": "a", "hash-property": "message_id"},
            "hash-header and hash-property are mutually exclusive",
        ),
        ({"hash-header": "", "hash-property": "app_id"}, "hash-header and hash-property are mutually exclusive"),
        ({"hash-property": "app_id"}, "Unsupported property: app_id"),
        ({"hash-property": "message-id"}, "Unsupported property: message-id"),
        ({"hash-property": ""}, "Unsupported property: "),
    ],
)
def test_arguments_that_will_not_do(
    declare: Declare, channel: Channel, name: Names, arguments: dict[str, str], text: str
) -> None:
    declare(HASH)
    channel.refused(406, text, "exchange.declare", exchange=name("e"), type=HASH, arguments=arguments)


@differs(facts.HASH_ARGUMENTS)
@pytest.mark.parametrize("argument", ["hash-header", "hash-property"])
def test_an_argument_of_a_wrong_type(declare: Declare, channel: Channel, name: Names, argument: str) -> None:
    declare(HASH)
    exchange, vhost = name("e"), channel.client.target.vhost
    text = f"invalid type 'signedint' for arg '{argument}' in exchange '{exchange}' in vhost '{vhost}'"
    channel.refused(406, text, "exchange.declare", exchange=exchange, type=HASH, arguments={argument: 7})


# x-local-random: the texts are those of RabbitMQ 4


@pytest.mark.parametrize("key", ["k", "é ~"])
def test_local_random_is_bound_with_an_empty_key(declare: Declare, channel: Channel, queue: str, key: str) -> None:
    exchange = declare(LOCAL_RANDOM)
    text = f"Non empty binding '{key}' key not permitted"
    channel.refused(406, text, "queue.bind", queue=queue, exchange=exchange, routing_key=key)


def test_local_random_takes_no_exchange(declare: Declare, channel: Channel) -> None:
    exchange = declare(LOCAL_RANDOM)
    channel.refused(406, "Destination not found", "exchange.bind", destination="amq.fanout", source=exchange)


def test_local_random_takes_classic_queues_only(declare: Declare, channel: Channel, name: Names) -> None:
    exchange, queue = declare(LOCAL_RANDOM), name("q")
    channel.call("queue.declare", queue=queue, durable=True, arguments={"x-queue-type": "quorum"})
    text = "Queue type rabbit_quorum_queue not valid for this exchange type"
    channel.refused(406, text, "queue.bind", queue=queue, exchange=exchange)


def test_local_random_chooses_one_whatever_the_routing_key(declare: Declare, channel: Channel, name: Names) -> None:
    exchange = declare(LOCAL_RANDOM)
    queues = bound(channel, exchange, name, "", "", "")
    counts = published(channel, exchange, queues, 900)
    assert sum(counts) == 900
    assert all(200 < count < 400 for count in counts), counts
