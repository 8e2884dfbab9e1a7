"""Length limits, through a linked client."""

from __future__ import annotations

import pytest

from tests.support.linked import Linked, LinkedClient


def limited(client: LinkedClient, **arguments: object) -> None:
    client.call("queue.declare", queue="q", arguments=arguments)
    client.call("confirm.select")


def bodies(client: LinkedClient) -> list[bytes]:
    """Every ready message, taken by basic.get."""
    found: list[bytes] = []
    while True:
        client.send("basic.get", queue="q", no_ack=True)
        (got,) = client.received()
        if got.name != "basic.get-ok":
            return found
        found.append(got.body)


def test_drop_head_keeps_the_newest_and_acks_the_publisher() -> None:
    client = Linked().client()
    limited(client, **{"x-max-length": 2})
    for number in range(5):
        client.publish("", "q", b"%d" % number)
    assert set(client.names()) == {"basic.ack"}
    assert bodies(client) == [b"3", b"4"]


def test_a_limit_in_octets_counts_bodies() -> None:
    client = Linked().client()
    limited(client, **{"x-max-length-bytes": 10})
    for body in (b"aaaa", b"bbbb", b"cccc"):
        client.publish("", "q", body)
    client.received()
    assert bodies(client) == [b"bbbb", b"cccc"]


def test_reject_publish_keeps_the_oldest_and_nacks_the_publisher() -> None:
    client = Linked().client()
    limited(client, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    client.publish("", "q", b"first")
    client.publish("", "q", b"second")
    assert client.names() == ["basic.ack", "basic.nack"]
    assert bodies(client) == [b"first"]


@pytest.mark.parametrize("overflow", ["drop-head", "reject-publish"])
def test_a_limit_of_0_delivers_to_waiting_consumers_only(overflow: str) -> None:
    client = Linked().client()
    limited(client, **{"x-max-length": 0, "x-overflow": overflow})
    client.publish("", "q", b"lost")
    client.received()
    assert bodies(client) == []


def test_messages_in_flight_do_not_count_and_a_requeue_over_the_limit_drops_the_head() -> None:
    client = Linked().client()
    limited(client, **{"x-max-length": 1})
    client.publish("", "q", b"in flight")
    client.received()
    client.send("basic.get", queue="q")
    tag = client.expect("basic.get-ok").values["delivery_tag"]
    client.publish("", "q", b"ready")
    client.received()
    client.send("basic.nack", delivery_tag=tag, requeue=True)
    client.received()
    assert bodies(client) == [b"ready"]


def test_dropped_persistent_messages_leave_the_store_too() -> None:
    linked = Linked()
    client = linked.client()
    client.call("queue.declare", queue="q", durable=True, arguments={"x-max-length": 1})
    for number in range(3):
        client.publish("", "q", b"%d" % number, {"delivery_mode": 2})
        linked.commit()
    (row,) = linked.store.reader().summary().queues
    assert (row.messages, row.bytes) == (1, 1)
