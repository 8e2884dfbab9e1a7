"""One destination for each message, by chance."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.store.memory import MemoryStore
from amqpd_random_exchange import LOCAL_RANDOM, RANDOM, register
from tests.support.linked import Linked, LinkedClient


def bound(client: LinkedClient, kind: str, keys: dict[str, str], durable: bool = False) -> None:
    client.call("exchange.declare", exchange="x", type=kind, durable=durable)
    for queue, key in keys.items():
        client.call("queue.declare", queue=queue, durable=durable)
        client.call("queue.bind", queue=queue, exchange="x", routing_key=key)


def counts(linked: Linked) -> list[int]:
    return [queue.message_count() for _, queue in sorted(linked.broker.vhosts["/"].queues.items())]


def test_each_message_goes_to_one_queue_whatever_its_key() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, RANDOM, {"a": "1", "b": "", "c": "#"})
    for _ in range(600):
        client.publish("x", "k", b"m", {"headers": {"CC": ["l", "m"]}})
    assert sum(counts(linked)) == 600
    assert all(150 < count < 250 for count in counts(linked))


def test_a_queue_bound_twice_is_met_twice_as_often() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, RANDOM, {"a": "1", "b": "1"})
    client.call("queue.bind", queue="a", exchange="x", routing_key="2")
    for _ in range(600):
        client.publish("x", "k", b"m")
    assert 350 < counts(linked)[0] < 450


def test_local_random_chooses_among_its_queues_whatever_the_routing_key() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, LOCAL_RANDOM, {"a": "", "b": ""})
    for _ in range(400):
        client.publish("x", "key", b"m", {"headers": {"CC": ["l"]}})
    assert sum(counts(linked)) == 400
    assert all(140 < count < 260 for count in counts(linked))


@pytest.mark.parametrize(
    ("method", "values", "text"),
    [
        ("queue.bind", {"queue": "q", "routing_key": "k"}, "Non empty binding 'k' key not permitted"),
        ("queue.bind", {"queue": "quorum"}, "Queue type rabbit_quorum_queue not valid for this exchange type"),
        ("exchange.bind", {"destination": "amq.fanout"}, "Destination not found"),
    ],
)
def test_local_random_binds_classic_queues_with_an_empty_key_only(
    method: str, values: dict[str, Any], text: str
) -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, LOCAL_RANDOM, {"q": ""})
    client.call("queue.declare", queue="quorum", durable=True, arguments={"x-queue-type": "quorum"})
    source: dict[str, Any] = {"source": "x"} if method == "exchange.bind" else {"exchange": "x"}
    client.send(method, **source, **values)
    closed = client.expect("channel.close").values
    assert (closed["reply_code"], closed["reply_text"]) == (406, f"PRECONDITION_FAILED - {text}")
    assert [one.destination.name for one in linked.broker.vhosts["/"].exchanges["x"].bindings.values()] == ["q"]


@pytest.mark.parametrize("kind", [RANDOM, LOCAL_RANDOM])
def test_chance_is_the_same_after_a_restart(kind: str) -> None:
    linked = Linked(MemoryStore(), plugins=[register])
    bound(linked.client(), kind, {"a": "", "b": "", "c": ""}, durable=True)
    first = chosen(linked, 50)
    linked.crash()
    assert isinstance(linked.store, MemoryStore)
    again = Linked(MemoryStore(linked.store.disk), plugins=[register])
    assert chosen(again, 50) == first
    assert set(first) == {"a", "b", "c"}
    assert chosen(again, 50) != first


def chosen(linked: Linked, count: int) -> list[str]:
    """The queues of ``count`` messages, in order."""
    client = linked.client()
    for queue in "abc":
        client.send("basic.consume", queue=queue, consumer_tag=queue, no_ack=True)
    client.received()
    for _ in range(count):
        client.publish("x", "k", b"m")
    return [came.values["consumer_tag"] for came in client.received()]


@pytest.mark.parametrize("kind", [RANDOM, LOCAL_RANDOM])
def test_nothing_bound_is_nowhere_to_go(kind: str) -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, kind, {"q": ""})
    client.call("queue.unbind", queue="q", exchange="x", routing_key="")
    client.publish("x", "", b"m", mandatory=True)
    assert client.names() == ["basic.return"]
