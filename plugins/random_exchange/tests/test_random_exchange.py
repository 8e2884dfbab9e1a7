"""One destination for each message, by chance."""

from __future__ import annotations

import pytest

from amqpd_random_exchange import LOCAL_RANDOM, RANDOM, register
from tests.support.linked import Linked, LinkedClient


def bound(client: LinkedClient, kind: str, keys: dict[str, str]) -> None:
    client.call("exchange.declare", exchange="x", type=kind)
    for queue, key in keys.items():
        client.call("queue.declare", queue=queue)
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


def test_local_random_takes_queues_with_an_empty_key_only() -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, LOCAL_RANDOM, {"a": "", "b": "", "c": "key"})
    client.call("exchange.declare", exchange="y", type="fanout")
    client.call("exchange.bind", destination="y", source="x", routing_key="")
    client.call("queue.declare", queue="d")
    client.call("queue.bind", queue="d", exchange="y", routing_key="")
    for _ in range(400):
        client.publish("x", "key", b"m")
    found = counts(linked)
    assert found[2:] == [0, 0]
    assert sum(found) == 400
    assert all(140 < count < 260 for count in found[:2])


@pytest.mark.parametrize("kind", [RANDOM, LOCAL_RANDOM])
def test_nothing_bound_is_nowhere_to_go(kind: str) -> None:
    linked = Linked(plugins=[register])
    client = linked.client()
    bound(client, kind, {"q": ""})
    client.call("queue.unbind", queue="q", exchange="x", routing_key="")
    client.publish("x", "", b"m", mandatory=True)
    assert client.names() == ["basic.return"]
