"""Delayed retry, through a linked client and its clock."""

from __future__ import annotations

import pytest

from amqpd.queues import delayed
from amqpd.queues.classic import ClassicQueue
from amqpd.store.memory import MemoryDisk, MemoryStore
from tests.features.declaring import declare, get
from tests.support.linked import Linked, LinkedClient


def retrying(kind: str = "all", limit: int = -1, **more: int | str) -> tuple[Linked, LinkedClient, ClassicQueue]:
    linked = Linked()
    arguments: dict[str, int | str] = {"delayed_retry_type": kind, "delayed_retry_min": 100, "delayed_retry_max": 250}
    queue = declare(linked, delivery_limit=limit, **{**arguments, **more})
    client = linked.client()
    client.call("basic.consume", queue="q", consumer_tag="t")
    return linked, client, queue


def waits(linked: Linked, client: LinkedClient) -> int:
    """Milliseconds until the next delivery."""
    for passed in range(0, 1001, 10):
        if client.inbox:
            client.expect("basic.deliver")
            return passed
        linked.advance(10)
    raise AssertionError("it does not come back")


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_the_delay_grows_with_the_delivery_count_up_to_the_longest(kind: str) -> None:
    linked = Linked()
    declare(linked, kind, delayed_retry_type="failed", delayed_retry_min=100, delayed_retry_max=250)
    client = linked.client()
    client.call("basic.consume", queue="q", consumer_tag="t")
    client.publish("", "q", b"x")
    client.expect("basic.deliver")
    seen = []
    for tag in range(1, 5):
        client.send("basic.reject", delivery_tag=tag, requeue=True)
        seen.append(waits(linked, client))
    assert seen == [100, 200, 250, 250]


@pytest.mark.parametrize(
    ("kind", "verb", "delay"),
    [
        ("all", "basic.reject", 100),
        ("all", "basic.nack", 100),
        ("failed", "basic.reject", 100),
        ("failed", "basic.nack", 0),
        ("returned", "basic.reject", 0),
        ("returned", "basic.nack", 100),
        ("disabled", "basic.reject", 0),
    ],
)
def test_the_type_says_what_waits(kind: str, verb: str, delay: int) -> None:
    linked, client, _ = retrying(kind)
    client.publish("", "q", b"x")
    client.expect("basic.deliver")
    client.send(verb, delivery_tag=1, requeue=True)
    assert waits(linked, client) == delay


def test_the_end_of_a_connection_is_a_failed_delivery() -> None:
    linked, client, queue = retrying("failed")
    client.publish("", "q", b"x")
    client.hang_up()
    assert (queue.message_count(), queue.unacked_count(), queue.delayed_count()) == (0, 1, 1)
    linked.advance(100)
    assert (queue.message_count(), queue.unacked_count(), queue.delayed_count()) == (1, 0, 0)


def test_others_are_delivered_meanwhile_and_it_comes_back_to_its_place() -> None:
    linked, client, _ = retrying()
    client.call("basic.cancel", consumer_tag="t")
    for body in (b"1", b"2", b"3"):
        client.publish("", "q", body)
    get(client)
    client.send("basic.nack", delivery_tag=1, requeue=True)
    second = get(client)
    assert second is not None
    assert second.body == b"2"
    linked.advance(100)
    first = get(client)
    assert first is not None
    assert (first.body, first.values["redelivered"]) == (b"1", True)


def test_what_is_above_the_delivery_limit_does_not_wait() -> None:
    linked, client, queue = retrying(limit=1)
    client.publish("", "q", b"x")
    client.send("basic.reject", delivery_tag=1, requeue=True)
    linked.advance(100)
    client.send("basic.reject", delivery_tag=2, requeue=True)
    assert (queue.message_count(), queue.unacked_count()) == (0, 0)
    assert not linked.broker.next_deadline()


def test_a_purge_takes_what_waits() -> None:
    linked, client, queue = retrying()
    client.publish("", "q", b"x", {"delivery_mode": 2})
    linked.commit()
    client.send("basic.nack", delivery_tag=1, requeue=True)
    assert client.received()[-1].name == "basic.deliver"
    assert client.call("queue.purge", queue="q") == {"message_count": 1}
    linked.commit()
    assert (queue.unacked_count(), linked.reader.summary().queues[0].messages) == (0, 0)
    linked.advance(1000)
    assert client.received() == []


def test_the_end_of_the_queue_takes_what_waits() -> None:
    linked, client, queue = retrying()
    client.publish("", "q", b"x")
    client.send("basic.nack", delivery_tag=1, requeue=True)
    linked.broker.vhosts["/"].delete_queue(queue)
    linked.turn()
    assert not linked.broker.next_deadline()


def test_time_to_live_goes_on_while_it_waits() -> None:
    linked, client, queue = retrying()
    client.publish("", "q", b"x", {"expiration": "60"})
    client.expect("basic.deliver")
    client.send("basic.nack", delivery_tag=1, requeue=True)
    linked.advance(59)
    assert queue.unacked_count() == 1
    linked.advance(2)
    assert (queue.message_count(), queue.unacked_count()) == (0, 0)
    linked.advance(500)
    assert client.received() == []


def test_after_a_restart_it_is_ready_at_once() -> None:
    disk = MemoryDisk()
    linked = Linked(MemoryStore(disk))
    declare(linked, delayed_retry_type="all", delayed_retry_min=60_000)
    client = linked.client()
    client.publish("", "q", b"x", {"delivery_mode": 2})
    get(client)
    client.send("basic.nack", delivery_tag=1, requeue=True)
    linked.commit()
    linked.stop()
    message = get(Linked(MemoryStore(disk)).client())
    assert message is not None
    assert message.values["redelivered"]


def test_other_settings_leave_what_waits_where_it_is() -> None:
    linked, client, queue = retrying()
    client.publish("", "q", b"x")
    client.expect("basic.deliver")
    client.send("basic.nack", delivery_tag=1, requeue=True)
    queue.settings = {}
    queue.reconfigure(linked.broker.registry.queue_features)
    assert waits(linked, client) == 100


def test_above_the_most_that_may_wait_the_first_one_comes_back_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delayed, "DELAYED_MAX", 2)
    _, client, _ = retrying()
    for body in (b"1", b"2", b"3"):
        client.publish("", "q", body)
    client.received()
    for tag in (1, 2, 3):
        client.send("basic.nack", delivery_tag=tag, requeue=True)
    assert client.bodies() == [b"1"]
    monkeypatch.setattr(delayed, "DELAYED_BYTES_MAX", 1)
    client.send("basic.nack", delivery_tag=4, requeue=True)
    assert client.bodies() == [b"2", b"3"]
