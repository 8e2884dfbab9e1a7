"""Delivery counts and the delivery limit, through a linked client."""

from __future__ import annotations

import pytest

from amqpd.broker.queue import NACKED, TIMED_OUT
from amqpd.store.memory import MemoryDisk, MemoryStore
from amqpd.wire.table import Field
from tests.features.declaring import counts, declare, get
from tests.queues.building import Bench, message
from tests.support.linked import Linked, LinkedClient

PERSISTENT = {"delivery_mode": 2}


def consuming(linked: Linked) -> LinkedClient:
    client = linked.client()
    client.call("basic.consume", queue="q", consumer_tag="t")
    return client


def give_back(client: LinkedClient, verb: str, tag: int) -> None:
    if verb == "basic.recover":
        client.call(verb, requeue=True)
    else:
        client.send(verb, delivery_tag=tag, requeue=True)


@pytest.mark.parametrize("verb", ["basic.reject", "basic.nack", "basic.recover"])
def test_a_quorum_queue_counts_what_comes_back(verb: str) -> None:
    linked = Linked()
    declare(linked, "quorum")
    client = consuming(linked)
    client.publish("", "q", b"x", {"headers": {"mine": 1}, "message_id": "m"})
    first = client.expect("basic.deliver")
    assert (counts(first), first.values["redelivered"]) == ((None, None), False)
    for tag in (1, 2):
        give_back(client, verb, tag)
        again = client.expect("basic.deliver")
        assert (counts(again), again.values["redelivered"]) == ((tag, tag), True)
        assert (again.properties["headers"]["mine"], again.properties["message_id"]) == (1, "m")


@pytest.mark.parametrize("end", ["channel", "connection"])
def test_the_end_of_a_channel_counts(end: str) -> None:
    linked = Linked()
    declare(linked, "quorum")
    client = consuming(linked)
    client.publish("", "q", b"x")
    if end == "channel":
        client.send("channel.close")
    else:
        client.hang_up()
    message = get(linked.client(), no_ack=True)
    assert message is not None
    assert counts(message) == (1, 1)


def test_the_first_get_of_a_quorum_queue_shows_0_and_the_first_delivery_nothing() -> None:
    linked = Linked()
    declare(linked, "quorum")
    client = linked.client()
    client.publish("", "q", b"x")
    message = get(client)
    assert message is not None
    assert counts(message) == (0, None)


def test_a_timeout_is_no_failed_delivery() -> None:
    linked = Linked()
    queue = declare(linked, "quorum", delivery_limit=0)
    client = linked.client()
    client.publish("", "q", b"x")
    get(client)
    entry = linked.clients[0].connection.channels[1].unacked.take(1)
    assert entry is not None
    queue.requeue(entry, TIMED_OUT)
    message = get(client)
    assert message is not None
    assert counts(message) == (0, 1)


def test_a_plain_queue_counts_nothing() -> None:
    linked = Linked()
    queue = declare(linked)
    assert not queue.returning
    client = consuming(linked)
    client.publish("", "q", b"x")
    client.send("basic.reject", delivery_tag=1, requeue=True)
    assert [counts(one) for one in client.received()] == [(None, None)] * 2


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_one_return_above_the_limit_goes_to_the_dead_letter_exchange_without_the_counts(kind: str) -> None:
    linked = Linked()
    declare(linked, "classic", "dead")
    declare(linked, kind, delivery_limit=2, dead_letter_exchange="", dead_letter_routing_key="dead")
    client = consuming(linked)
    client.publish("", "q", b"x", {"headers": {"mine": 1}, "delivery_mode": 2})
    for tag in (1, 2, 3):
        linked.commit()
        client.send("basic.nack", delivery_tag=tag, requeue=True)
    assert [counts(one) for one in client.received()] == [(None, None), (1, 1), (2, 2)]
    linked.commit()
    dead = get(client, "dead", no_ack=True)
    assert dead is not None
    headers = dead.properties["headers"]
    assert (counts(dead), headers["mine"], headers["x-death"][0]["reason"]) == ((None, None), 1, "delivery_limit")
    assert get(client) is None


def test_without_a_dead_letter_exchange_it_is_gone() -> None:
    linked = Linked()
    queue = declare(linked, delivery_limit=0)
    client = consuming(linked)
    client.publish("", "q", b"x", PERSISTENT)
    linked.commit()
    client.send("basic.reject", delivery_tag=1, requeue=True)
    linked.commit()
    assert (queue.message_count(), queue.unacked_count()) == (0, 0)
    assert linked.reader.summary().queues[0].messages == 0


@pytest.mark.parametrize(("arguments", "deliveries"), [({}, 21), ({"delivery_limit": -1}, 50)])
def test_a_quorum_queue_has_a_limit_of_20_unless_it_says_none(arguments: dict[str, int], deliveries: int) -> None:
    linked = Linked()
    declare(linked, "quorum", **arguments)
    client = consuming(linked)
    client.publish("", "q", b"x")
    for tag in range(1, 50):
        if len(client.inbox) == tag:
            client.send("basic.reject", delivery_tag=tag, requeue=True)
    assert len(client.received()) == deliveries


@pytest.mark.parametrize("clean", [True, False])
def test_counts_survive_a_restart(clean: bool) -> None:
    disk = MemoryDisk()
    linked = Linked(MemoryStore(disk))
    declare(linked, "quorum")
    client = linked.client()
    # Transient for the publisher; the queue stores it all the same.
    client.publish("", "q", b"x", {"headers": {"mine": 1}})
    client.send("basic.get", queue="q")
    client.send("basic.reject", delivery_tag=1, requeue=True)
    linked.commit()
    if clean:
        linked.stop()
    else:
        linked.crash()
    message = get(Linked(MemoryStore(disk)).client())
    assert message is not None
    assert (counts(message), message.properties["headers"]["mine"]) == ((1, 1), 1)


def test_what_was_counted_in_the_batch_that_inserts_it_is_stored_with_the_publishers_headers() -> None:
    linked = Linked()
    declare(linked, "quorum")
    client = consuming(linked)
    client.publish("", "q", b"x", PERSISTENT)
    client.send("basic.reject", delivery_tag=1, requeue=True)
    linked.commit()
    (stored,) = linked.reader.load(int(linked.broker.vhosts["/"].queues["q"].id) + 4, 0, 10, 1000)
    assert (stored.properties, stored.deliveries, stored.acquired) == (b"\x10\x00\x02", 1, 1)


def test_another_queue_with_the_same_message_does_not_see_the_counts() -> None:
    linked = Linked()
    declare(linked, "quorum")
    declare(linked, "classic", "other")
    client = linked.client()
    for name in ("q", "other"):
        client.call("queue.bind", queue=name, exchange="amq.fanout")
    client.publish("amq.fanout", "", b"x")
    get(client)
    client.send("basic.reject", delivery_tag=1, requeue=True)
    other = get(client, "other")
    assert other is not None
    assert counts(other) == (None, None)


def test_what_comes_back_again_and_again_before_the_next_batch_is_written_once() -> None:
    bench = Bench()
    queue = bench.vhost.declare_queue("q", "quorum", True, False, None, {"x-delivery-limit": Field("l", -1)})
    queue.publish(message())
    bench.commit()
    for _ in range(50):
        entry = queue.get()
        assert entry is not None
        queue.requeue(entry, NACKED)
    batch = bench.broker.take_batch()
    assert batch is not None
    assert [row[2:] for row in batch.counted] == [(50, 50)]
