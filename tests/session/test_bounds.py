"""What one client can make a broker keep is bounded, and ends with the client."""

from __future__ import annotations

from amqpd.session.prefetch import UNACKED_MAX
from tests.support.linked import Linked, LinkedClient, method, publication

PERSISTENT = {"delivery_mode": 2}


def test_deleted_exclusive_queues_are_forgotten(client: LinkedClient) -> None:
    client.call("queue.declare", queue="kept", exclusive=True)
    for _ in range(500):
        name = client.call("queue.declare", exclusive=True)["queue"]
        client.call("queue.delete", queue=name)
    assert len(client.connection.exclusive_queues) < 100
    client.hang_up()
    assert not client.linked.broker.vhosts["/"].queues


def test_connection_that_ended_waits_for_nothing(linked: Linked) -> None:
    linked.broker.journal.open_bytes_max = 1000
    client = linked.client()
    client.call("queue.declare", queue="q", durable=True)
    client.publish("", "q", bytes(2000), PERSISTENT)
    assert client.connection.paused
    client.hang_up()
    assert not linked.broker.throttled


def paged_queue(linked: Linked, client: LinkedClient) -> None:
    """A queue ``q`` whose one message is on disk only."""
    shard = linked.broker.shard
    shard.window_bytes_min = shard.window_bytes_max = 0
    client.call("queue.declare", queue="q", durable=True)
    client.publish("", "q", b"paged", PERSISTENT)
    linked.commit()


def test_page_does_not_let_a_throttled_connection_go_on(linked: Linked) -> None:
    client = linked.client()
    paged_queue(linked, client)
    client.call("queue.declare", queue="r", durable=True)
    linked.broker.journal.open_bytes_max = 1000
    client.feed(publication("", "r", bytes(2000), PERSISTENT) + method("basic.get", queue="q"))
    assert client.connection.waiting_get is not None
    assert client.connection.paused
    linked.load_pages()
    assert client.expect("basic.get-ok").body == b"paged"
    assert client.connection.paused
    linked.commit()
    assert not client.connection.paused


def test_commit_does_not_ask_twice_for_a_page(linked: Linked) -> None:
    client = linked.client()
    paged_queue(linked, client)
    client.send("basic.get", queue="q")
    for _ in range(3):
        client.connection.room_again()
    assert len(linked.broker.waiting_for_page) == 1
    linked.load_pages()
    assert client.names() == ["basic.get-ok"]


def test_gets_behind_a_reply_that_waits_for_the_disk_are_not_gathered_in_memory(linked: Linked) -> None:
    client = linked.client(channels=2)
    client.call("queue.declare", queue="q")
    client.feed(b"".join([publication("", "q", bytes(1000)) for _ in range(50)]))
    client.feed(method("queue.declare", queue="d", durable=True) + method("basic.get", queue="q") * 50)
    assert client.names() == []
    assert sum(len(reply) for reply in client.connection.channels[1].replies) < 1000
    linked.commit()
    assert client.names() == ["queue.declare-ok"] + ["basic.get-ok"] * 50


def test_client_that_ends_while_a_get_waits_for_the_disk_leaves_nothing(linked: Linked) -> None:
    client = linked.client()
    client.call("queue.declare", queue="q")
    client.publish("", "q", b"x")
    client.feed(method("queue.declare", queue="d", durable=True) + method("basic.get", queue="q"))
    client.hang_up()
    linked.commit()
    assert linked.broker.vhosts["/"].queues["q"].message_count() == 1


def test_all_consumers_go_on_once_the_channel_is_below_what_it_may_leave_unacknowledged(
    client: LinkedClient,
) -> None:
    for name in ("a", "b"):
        client.call("queue.declare", queue=name)
        client.send("basic.consume", queue=name, consumer_tag=name)
        client.expect("basic.consume-ok")
    client.publish("", "a", b"first")
    client.expect("basic.deliver")
    client.connection.channels[1].prefetch.in_flight = UNACKED_MAX
    client.publish("", "b", b"held")
    assert client.names() == []
    client.send("basic.ack", delivery_tag=1)
    assert client.bodies() == [b"held"]


def test_peer_that_has_not_read_one_large_message_is_still_heard(linked: Linked) -> None:
    """It may be in the middle of a write of its own, and read only after that."""
    client = linked.client()
    client.call("queue.declare", queue="q")
    client.reading = False
    client.publish("", "q", bytes(6_000_000))
    client.send("basic.get", queue="q", no_ack=True)
    assert client.connection.outbox.unsent > 6_000_000
    client.publish("", "q", b"heard")
    assert linked.broker.vhosts["/"].queues["q"].message_count() == 1


def test_peer_that_reads_nothing_of_many_messages_is_not_heard(linked: Linked) -> None:
    client = linked.client()
    client.call("queue.declare", queue="q")
    client.reading = False
    client.feed(b"".join([publication("", "q", bytes(100_000)) for _ in range(100)]))
    client.feed(method("basic.get", queue="q", no_ack=True) * 100)
    assert client.connection.unread
    assert 40 < linked.broker.vhosts["/"].queues["q"].message_count() < 70
