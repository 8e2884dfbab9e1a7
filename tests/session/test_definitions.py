"""Replies to durable definitions wait for the disk, and a full journal pauses only who fills it."""

from __future__ import annotations

from tests.support.linked import Linked, method, publication


def test_declare_ok_of_a_durable_queue_waits_for_its_commit() -> None:
    linked = Linked()
    client = linked.client()
    client.send("queue.declare", queue="q", durable=True)
    assert client.names() == []
    linked.commit()
    assert client.names() == ["queue.declare-ok"]


def test_a_second_declarer_waits_for_the_first_ones_commit() -> None:
    linked = Linked()
    first, second = linked.client(), linked.client()
    first.send("queue.declare", queue="q", durable=True)
    first.send("exchange.declare", exchange="x", type="fanout", durable=True)
    second.send("queue.declare", queue="q", durable=True)
    second.send("exchange.declare", exchange="x", type="fanout", durable=True)
    assert second.names() == []
    linked.commit()
    assert second.names() == ["queue.declare-ok", "exchange.declare-ok"]


def test_a_declare_of_what_is_on_disk_is_answered_at_once() -> None:
    linked = Linked()
    client = linked.client()
    client.call("queue.declare", queue="q", durable=True)
    client.send("queue.declare", queue="q", durable=True)
    assert client.names() == ["queue.declare-ok"]


def test_a_full_journal_pauses_the_publisher_and_not_the_consumer() -> None:
    linked = Linked()
    publisher, consumer = linked.client(), linked.client()
    publisher.call("queue.declare", queue="q", durable=True)
    linked.broker.journal.open_bytes_max = 1000
    publisher.publish("", "q", b"x" * 2000, {"delivery_mode": 2})
    consumer.send("basic.qos", prefetch_count=1)
    assert not publisher.connection.wants_read()
    assert consumer.connection.wants_read()
    linked.commit()
    assert publisher.connection.wants_read()


def test_a_declare_right_behind_publishes_counts_what_the_queue_keeps() -> None:
    linked = Linked()
    client = linked.client()
    for name, arguments in (("short", {"x-max-length": 1}), ("brief", {"x-message-ttl": 0})):
        client.call("queue.declare", queue=name, arguments=arguments)
        published = b"".join(publication("", name, b"%d" % number) for number in range(3))
        client.feed(published + method("queue.declare", 1, queue=name, passive=True))
        kept = 1 if name == "short" else 0
        assert client.expect("queue.declare-ok").values["message_count"] == kept
