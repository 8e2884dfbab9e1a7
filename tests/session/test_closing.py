"""Closing channels and connections, and what crosses on the way."""

from __future__ import annotations

from typing import Any

import pytest

from interop.conformance.codec import BODY, HEADER, frame
from tests.support.linked import Linked, LinkedClient, method, publication

MISSING = method("queue.declare", queue="nosuch", passive=True)


def close_of(client: LinkedClient, name: str) -> tuple[int, str]:
    values = client.expect(name).values
    return values["reply_code"], values["reply_text"]


# A soft error closes the channel


def test_soft_error_closes_the_channel_only(client: LinkedClient) -> None:
    client.call("channel.open", on=2)
    client.feed(MISSING)
    came = client.expect("channel.close", on=1)
    assert came.values == {
        "reply_code": 404,
        "reply_text": "NOT_FOUND - no queue 'nosuch' in vhost '/'",
        "class_id": 50,
        "method_id": 10,
    }
    client.call("basic.qos", on=2)


def test_frames_behind_a_soft_error_are_dropped_until_close_ok(client: LinkedClient) -> None:
    client.feed(MISSING + method("queue.declare", queue="q") + publication("nosuch", "k", b"x"))
    client.feed(method("basic.ack", delivery_tag=7) + frame(BODY, 1, b"rest") + frame(HEADER, 1, bytes(14)))
    assert client.names() == ["channel.close"]
    client.feed(method("channel.close-ok") + method("channel.open"))
    client.expect("channel.open-ok")
    client.feed(method("queue.declare", queue="q", passive=True))
    assert close_of(client, "channel.close")[0] == 404


def test_close_crossing_a_close_is_answered(client: LinkedClient) -> None:
    client.feed(MISSING + method("channel.close"))
    assert client.names() == ["channel.close", "channel.close-ok"]
    client.feed(method("channel.close-ok") + method("channel.open"))
    assert client.names() == ["channel.open-ok"]


def test_open_before_close_ok_is_a_channel_error(client: LinkedClient) -> None:
    client.feed(MISSING + method("channel.open"))
    client.expect("channel.close")
    assert close_of(client, "connection.close") == (504, "CHANNEL_ERROR - second 'channel.open' seen")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("basic.ack", {"delivery_tag": 1}),
        ("basic.nack", {"delivery_tag": 1}),
        ("basic.reject", {"delivery_tag": 1}),
        ("basic.cancel-ok", {"consumer_tag": "t"}),
    ],
)
def test_what_crosses_a_close_hurts_nobody(client: LinkedClient, name: str, arguments: dict[str, Any]) -> None:
    client.call("channel.close")
    client.send(name, **arguments)
    client.call("channel.open")


def test_other_method_on_a_closed_channel_is_a_channel_error(client: LinkedClient) -> None:
    client.call("channel.close")
    client.send("basic.qos")
    assert close_of(client, "connection.close") == (504, "CHANNEL_ERROR - expected 'channel.open'")


@pytest.mark.parametrize("hard", [False, True], ids=["client's close", "soft error"])
def test_messages_in_flight_go_back_in_order_when_the_channel_ends(linked: Linked, hard: bool) -> None:
    client = linked.client(channels=2)
    client.call("queue.declare", on=2, queue="q")
    client.feed(b"".join([publication("", "q", body, on=2) for body in (b"1", b"2", b"3")]))
    client.call("basic.qos", prefetch_count=2)
    client.send("basic.consume", queue="q")
    client.expect("basic.consume-ok")
    assert client.bodies() == [b"1", b"2"]
    client.feed(MISSING if hard else method("channel.close"))
    client.received()
    client.send("basic.consume", on=2, queue="q", no_ack=True)
    client.expect("basic.consume-ok")
    came = client.received()
    assert [(one.body, one.values["redelivered"]) for one in came] == [
        (b"1", True),
        (b"2", True),
        (b"3", False),
    ]


def test_consumer_hears_that_its_queue_is_gone_after_the_delete_ok(client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    client.call("basic.consume", queue="q", consumer_tag="t")
    client.send("queue.delete", queue="q")
    assert client.names() == ["queue.delete-ok", "basic.cancel"]
    client.send("basic.cancel-ok", consumer_tag="t")
    client.call("basic.qos")


def test_cancel_ok_without_a_cancel_leaves_the_consumer_alone(client: LinkedClient) -> None:
    client.call("queue.declare", queue="q")
    client.call("basic.consume", queue="q", consumer_tag="t")
    client.send("basic.cancel-ok", consumer_tag="t")
    client.publish("", "q", b"x")
    assert client.bodies() == [b"x"]


def test_consumer_without_the_capability_is_cancelled_without_a_word(linked: Linked) -> None:
    client = linked.client(capabilities={})
    client.call("queue.declare", queue="q")
    client.call("basic.consume", queue="q", consumer_tag="t")
    client.send("queue.delete", queue="q")
    assert client.names() == ["queue.delete-ok"]


# A hard error closes the connection


def test_everything_but_close_ok_is_ignored_after_a_hard_error(linked: Linked, client: LinkedClient) -> None:
    client.send("channel.open")
    client.expect("connection.close")
    client.feed(method("queue.declare", queue="q") + frame(7, 3, b"junk") + method("connection.open", 0))
    assert client.names() == []
    client.send("connection.close-ok", 0)
    assert client.ended
    assert "q" not in linked.broker.vhosts["/"].queues


def test_close_crossing_a_hard_error_is_answered(client: LinkedClient) -> None:
    client.send("channel.open")
    client.expect("connection.close")
    client.send("connection.close", 0)
    client.expect("connection.close-ok")


def test_octets_that_are_no_frame_end_a_connection_that_closes(client: LinkedClient) -> None:
    client.send("channel.open")
    client.expect("connection.close")
    client.feed(frame(HEADER, 0, b"", end=0))
    assert client.ended


def test_exclusive_queue_is_gone_before_close_ok(linked: Linked, client: LinkedClient) -> None:
    client.call("queue.declare", queue="mine", exclusive=True)
    client.call("connection.close", on=0)
    assert client.ended
    linked.client().call("queue.declare", queue="mine", exclusive=True)


@pytest.mark.parametrize("how", ["hang_up", "hard error"])
def test_end_of_a_connection_leaves_nothing_behind(linked: Linked, how: str) -> None:
    client = linked.client(channels=3)
    client.call("queue.declare", queue="q")
    client.call("queue.declare", queue="mine", exclusive=True)
    client.call("queue.declare", queue="auto", auto_delete=True)
    client.publish("", "q", b"x")
    for on in (1, 2):
        client.send("basic.consume", on, queue="q")
    client.send("basic.consume", 3, queue="auto")
    if how == "hang_up":
        client.hang_up()
    else:
        client.send("channel.open")
    vhost = linked.broker.vhosts["/"]
    assert list(vhost.queues) == ["q"]
    assert vhost.queues["q"].consumers() == []
    assert (vhost.queues["q"].message_count(), vhost.queues["q"].unacked_count()) == (1, 0)


def test_operator_closes_with_320(linked: Linked, client: LinkedClient) -> None:
    client.connection.force_close("maintenance")
    linked.turn()
    assert close_of(client, "connection.close") == (320, "CONNECTION_FORCED - maintenance")


def test_error_of_one_connection_does_not_reach_another(linked: Linked, client: LinkedClient) -> None:
    other = linked.client()
    client.feed(b"\x01\x00\x01\x00\x00\x00\x00\x00")
    assert close_of(client, "connection.close")[0] == 501
    other.call("basic.qos")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"queue": "q" * 255}, "NOT_FOUND - no queue '" + "q" * 230 + "..."),
        ({"queue": "é" * 127}, "NOT_FOUND - no queue '" + "é" * 115 + "..."),
    ],
    ids=["octets", "characters"],
)
def test_long_reply_text_is_cut_between_characters(client: LinkedClient, values: dict[str, Any], text: str) -> None:
    client.send("queue.declare", passive=True, **values)
    assert close_of(client, "channel.close") == (404, text)


def test_blocked_connection_that_an_operator_closes_is_heard_again(linked: Linked, client: LinkedClient) -> None:
    linked.broker.set_alarm("memory", True)
    client.publish("", "nowhere", b"x")
    client.expect("connection.blocked")
    client.connection.force_close("enough")
    linked.turn()
    assert close_of(client, "connection.close")[0] == 320
    assert client.connection.wants_read()
    client.send("connection.close-ok", 0)
    assert client.ended


def test_connection_that_waits_for_a_page_when_an_operator_closes_it_is_heard_again(
    linked: Linked, client: LinkedClient
) -> None:
    shard = linked.broker.shard
    shard.window_bytes_min = shard.window_bytes_max = 0
    client.call("queue.declare", queue="q", durable=True)
    client.publish("", "q", b"x", {"delivery_mode": 2})
    linked.commit()
    client.send("basic.get", queue="q")
    client.connection.force_close("enough")
    linked.turn()
    assert close_of(client, "connection.close")[0] == 320
    client.send("connection.close-ok", 0)
    assert client.ended
    linked.load_pages()
    assert linked.broker.vhosts["/"].queues["q"].message_count() == 1
