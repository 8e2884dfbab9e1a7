"""Heartbeats and the other deadlines of a connection, with time in hand."""

from __future__ import annotations

from typing import Any

from interop.conformance.codec import HEARTBEAT, PROTOCOL_HEADER, frame
from tests.support.linked import Linked, LinkedClient, method, publication

BEAT = frame(HEARTBEAT, 0, b"")


def test_idle_server_sends_a_heartbeat_every_half_interval(linked: Linked) -> None:
    client = linked.client(heartbeat=10)
    linked.advance(5_000)  # open-ok was sent in this one
    assert client.names() == []
    for _ in range(4):
        linked.advance(4_999)
        assert client.names() == []
        client.feed(BEAT)
        linked.advance(1)
        assert client.names() == ["heartbeat"]


def test_server_that_sent_something_sends_no_heartbeat(linked: Linked) -> None:
    client = linked.client(heartbeat=10)
    for _ in range(4):
        linked.advance(4_000)
        client.call("basic.qos")
        linked.advance(1_000)
        assert client.names() == []


def test_heartbeat_is_not_sent_behind_what_the_client_does_not_read(linked: Linked) -> None:
    client = linked.client(heartbeat=10)
    client.call("queue.declare", queue="q")
    client.call("basic.consume", queue="q", no_ack=True)
    client.reading = False
    client.publish("", "q", b"x")
    for _ in range(6):
        linked.advance(5_000)
        client.feed(BEAT)
    client.read_again()
    assert client.names() == ["basic.deliver"]


def test_silent_client_is_dropped_without_a_frame_after_two_to_three_intervals(linked: Linked) -> None:
    client = linked.client(heartbeat=10)
    client.received()
    linked.advance(10_000)
    client.feed(BEAT)
    linked.advance(20_000)
    assert not client.ended
    linked.advance(10_000)
    assert client.ended
    assert set(client.names()) == {"heartbeat"}
    assert linked.log.lines == [("lost", "missed heartbeats from client")]


def test_any_octet_counts_as_a_sign_of_life(linked: Linked) -> None:
    client = linked.client(heartbeat=10)
    for octet in method("basic.qos") * 3:
        linked.advance(9_000)
        client.feed(bytes([octet]))
    assert not client.ended
    assert client.names().count("basic.qos-ok") == 3


def test_heartbeat_of_0_lets_both_sides_be_silent(linked: Linked) -> None:
    client = linked.client(heartbeat=0)
    client.received()
    linked.advance(100_000_000)
    assert client.names() == []
    assert not client.ended


def test_blocked_client_may_be_silent(linked: Linked) -> None:
    client = linked.client(heartbeat=10)
    linked.broker.set_alarm("memory", True)
    client.publish("", "nowhere", b"x")
    linked.advance(1_000_000)
    assert not client.ended


def test_closed_connection_leaves_no_deadline(linked: Linked) -> None:
    client = linked.client(heartbeat=10)
    client.call("connection.close", on=0, reply_code=200)
    assert client.ended
    assert linked.broker.next_deadline() == 0


# The handshake and the close


def test_handshake_must_finish_in_time(linked: Linked) -> None:
    client = linked.dial()
    linked.advance(9_000)
    client.feed(PROTOCOL_HEADER)
    linked.advance(999)
    assert not client.ended
    linked.advance(1)
    assert client.ended
    assert client.names() == ["connection.start"]


def test_finished_handshake_has_no_deadline(linked: Linked) -> None:
    client = linked.client()
    linked.advance(1_000_000)
    assert not client.ended


def test_close_ok_is_awaited_for_a_heartbeat_and_half_a_minute_at_most(linked: Linked) -> None:
    for heartbeat, patience in ((0, 30_000), (5, 5_000), (600, 30_000)):
        client = linked.client(heartbeat=heartbeat)
        client.send("channel.open")
        client.expect("connection.close")
        linked.advance(patience - 1)
        assert not client.ended
        linked.advance(1)
        assert client.ended


def test_peer_that_sent_no_frame_is_dropped_after_three_seconds(linked: Linked) -> None:
    client = linked.client()
    client.feed(frame(HEARTBEAT, 0, b"", end=0))
    client.expect("connection.close")
    linked.advance(2_999)
    assert not client.ended
    linked.advance(1)
    assert client.ended


# Alarms


def blocked(linked: Linked, **steps: Any) -> LinkedClient:
    client = linked.client(**steps)
    linked.broker.set_alarm("disk", True)
    linked.turn()
    return client


def test_publisher_hears_that_it_is_blocked_and_nothing_that_comes_after(linked: Linked) -> None:
    client = blocked(linked)
    client.feed(publication("", "nowhere", b"x") + method("basic.qos"))
    came = client.expect("connection.blocked")
    assert came.values == {"reason": "low on disk"}
    assert client.names() == []
    assert not client.connection.wants_read()
    linked.broker.set_alarm("disk", False)
    linked.turn()
    assert client.names() == ["connection.unblocked", "basic.qos-ok"]
    assert client.connection.wants_read()


def test_publisher_without_the_capability_is_blocked_without_a_word(linked: Linked) -> None:
    client = blocked(linked, capabilities={})
    client.feed(publication("", "nowhere", b"x") + method("basic.qos"))
    assert client.names() == []
    linked.broker.set_alarm("disk", False)
    linked.turn()
    assert client.names() == ["basic.qos-ok"]


def test_connection_that_does_not_publish_goes_on(linked: Linked) -> None:
    client = blocked(linked)
    client.call("basic.qos")
    assert client.names() == []


def test_blocked_message_arrives_once_the_alarm_is_over(linked: Linked) -> None:
    client = linked.client()
    client.call("queue.declare", queue="q")
    linked.broker.set_alarm("disk", True)
    client.publish("", "q", b"x" * 10)
    linked.broker.set_alarm("disk", False)
    linked.turn()
    client.received()
    assert client.call("queue.declare", queue="q", passive=True)["message_count"] == 1
