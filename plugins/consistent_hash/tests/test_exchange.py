"""The exchange in a whole broker."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.store.memory import MemoryStore
from amqpd_consistent_hash import KIND, register
from interop.conformance.codec import Typed
from tests.support.linked import Linked, LinkedClient

QUEUES = ("a", "b", "c")


def bound(client: LinkedClient, weights: dict[str, str], **arguments: Any) -> None:
    named = {name.replace("_", "-"): value for name, value in arguments.items()}
    client.call("exchange.declare", exchange="x", type=KIND, durable=True, arguments=named)
    for queue, weight in weights.items():
        client.call("queue.declare", queue=queue, durable=True)
        client.call("queue.bind", queue=queue, exchange="x", routing_key=weight)


def counts(linked: Linked) -> list[int]:
    return [queue.message_count() for _, queue in sorted(linked.broker.vhosts["/"].queues.items())]


def test_each_message_goes_to_one_queue_and_a_key_always_to_the_same() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, dict.fromkeys(QUEUES, "1"))
    for number in range(300):
        client.publish("x", f"{number % 30}", b"m")
    assert sum(counts(linked)) == 300
    assert all(count and count % 10 == 0 for count in counts(linked))


def test_placement_is_the_same_after_a_restart() -> None:
    linked = Linked(store=MemoryStore(), plugins=[register])
    client = linked.client()
    bound(client, {"a": "1", "b": "3", "c": "2"})
    client.call("queue.unbind", queue="a", exchange="x", routing_key="1")
    client.call("queue.bind", queue="a", exchange="x", routing_key="1")
    for number in range(100):
        client.publish("x", str(number), b"m")
    before = counts(linked)
    linked.stop()
    assert isinstance(linked.store, MemoryStore)
    linked = Linked(MemoryStore(linked.store.disk), plugins=[register])
    client = linked.client()
    for number in range(100):
        client.publish("x", str(number), b"m")
    assert counts(linked) == before


def test_only_the_routing_key_counts_not_cc() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, dict.fromkeys(QUEUES, "1"))
    for number in range(50):
        client.publish("x", "same", b"m", {"headers": {"CC": [str(number), "other"]}})
    assert sorted(counts(linked)) == [0, 0, 50]


@pytest.mark.parametrize(
    ("arguments", "properties"),
    [
        ({"hash_header": "user"}, lambda number: {"headers": {"user": number}}),
        ({"hash_header": "user"}, lambda number: {"headers": {"user": str(number)}}),
        ({"hash_property": "message_id"}, lambda number: {"message_id": str(number)}),
        ({"hash_property": "correlation_id"}, lambda number: {"correlation_id": str(number), "reply_to": "r"}),
        ({"hash_property": "timestamp"}, lambda number: {"timestamp": number}),
    ],
)
def test_a_header_or_property_is_hashed(arguments: dict[str, str], properties: Any) -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, dict.fromkeys(QUEUES, "1"), **arguments)
    for number in range(300):
        client.publish("x", "same", b"m", properties(number % 30))
    assert all(count and count % 10 == 0 for count in counts(linked))
    before = counts(linked)
    for number in range(60):
        client.publish("x", f"without {number}", b"m")
    assert sorted(new - old for new, old in zip(counts(linked), before, strict=True)) == [0, 0, 60]


def test_of_two_bindings_the_first_counts_and_then_the_other() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, {"a": "1", "b": "1"})
    client.call("queue.bind", queue="a", exchange="x", routing_key="1000")
    for number in range(400):
        client.publish("x", str(number), b"m")
    first = counts(linked)
    assert 130 < first[0] < 270
    client.call("queue.unbind", queue="a", exchange="x", routing_key="1")
    for number in range(400):
        client.publish("x", str(number), b"m")
    assert counts(linked)[0] - first[0] > 390


def test_without_bindings_a_mandatory_message_comes_back() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, {})
    client.publish("x", "k", b"m", mandatory=True)
    assert client.names() == ["basic.return"]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("x", 'The binding key must be an integer: <<"x">>'),
        ("", "The binding key must be an integer: <<>>"),
        (" 1", 'The binding key must be an integer: <<" 1">>'),
        ("1_0", 'The binding key must be an integer: <<"1_0">>'),
        ("\u0663", 'The binding key must be an integer: <<"\u0663">>'),
        ('"\n', 'The binding key must be an integer: <<"\\"\\n">>'),
        ("\u00c9", "The binding key must be an integer: <<195,137>>"),
        ("-0", "The binding key must be greater than 0"),
        ("0", "The binding key must be greater than 0"),
        ("-1", "The binding key must be greater than 0"),
    ],
)
def test_a_weight_that_is_none_is_refused(key: str, text: str) -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, {})
    client.call("queue.declare", queue="q")
    client.send("queue.bind", queue="q", exchange="x", routing_key=key)
    values = client.expect("channel.close").values
    assert (values["reply_code"], values["reply_text"]) == (406, f"PRECONDITION_FAILED - {text}")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"hash-header": "a", "hash-property": "message_id"},
            "hash-header and hash-property are mutually exclusive",
        ),
        ({"hash-property": "app_id"}, "Unsupported property: app_id"),
        ({"hash-property": ""}, "Unsupported property: "),
        ({"hash-header": 7}, "invalid type 'signedint' for arg 'hash-header' in exchange 'x' in vhost '/'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], text: str) -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    client.send("exchange.declare", exchange="x", type=KIND, arguments=arguments)
    values = client.expect("channel.close").values
    assert (values["reply_code"], values["reply_text"]) == (406, f"PRECONDITION_FAILED - {text}")


def test_a_weight_may_have_a_sign_and_noughts() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, {"a": "+1", "b": "003"})
    for number in range(400):
        client.publish("x", str(number), b"m")
    assert abs(counts(linked)[0] - 100) < 35


@pytest.mark.parametrize(
    "values",
    [
        [Typed(letter, 7) for letter in "bBsuIilL"],
        [Typed("f", 0.5), Typed("d", 0.5)],
        ["seven", Typed("S", b"seven")],
    ],
    ids=["integers", "floats", "text"],
)
def test_equal_values_of_a_header_are_equal_however_they_are_encoded(values: list[Any]) -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, {f"q{number:02}": "1" for number in range(20)}, hash_header="user")
    for value in values:
        client.publish("x", "k", b"m", {"headers": {"other": "x", "user": value, "more": 1}})
    assert sorted(counts(linked))[-2:] == [0, len(values)]


def test_values_of_any_type_can_be_hashed() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, dict.fromkeys(QUEUES, "1"), hash_header="user")
    values = [None, True, [1, "x"], {"a": 1}, Typed("T", 7), Typed("x", b"7"), Typed("D", (1, 5)), float("nan"), -1, ""]
    for value in values:
        client.publish("x", "k", b"m", {"headers": {"user": value}})
        client.publish("x", "k", b"m", {"headers": {"user": value}})
    assert sum(counts(linked)) == 2 * len(values)
    assert all(count % 2 == 0 for count in counts(linked))


def test_an_exchange_may_be_a_destination_beside_a_queue_of_its_name() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, {"y": "1"})
    client.call("exchange.declare", exchange="y", type="fanout")
    client.call("exchange.bind", destination="y", source="x", routing_key="1")
    client.call("queue.declare", queue="z")
    client.call("queue.bind", queue="z", exchange="y")
    for number in range(400):
        client.publish("x", str(number), b"m")
    assert sum(counts(linked)) == 400
    assert min(counts(linked)) > 140


def test_a_channel_hears_of_a_binding_that_comes_or_goes() -> None:
    """It remembers where a key goes."""
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, {"a": "1"})
    client.publish("x", "k", b"m")
    client.call("queue.declare", queue="b")
    client.call("queue.bind", queue="b", exchange="x", routing_key="1" + "0" * 30)
    client.publish("x", "k", b"m")
    assert counts(linked) == [1, 1]
    client.call("queue.delete", queue="b")
    client.publish("x", "k", b"m")
    assert counts(linked) == [2]


def test_a_queue_bound_twice_keeps_its_first_weight_through_a_restart() -> None:
    linked = Linked(MemoryStore(), plugins=[register])
    client = linked.client()
    bound(client, {"a": "9", "b": "1"})
    client.call("queue.bind", queue="a", exchange="x", routing_key="1")
    for number in range(400):
        client.publish("x", str(number), b"m")
    before = counts(linked)
    assert before[0] > 320
    linked.crash()
    assert isinstance(linked.store, MemoryStore)
    linked = Linked(MemoryStore(linked.store.disk), plugins=[register])
    client = linked.client()
    for number in range(400):
        client.publish("x", str(number), b"m")
    assert counts(linked) == before
