"""Frames, the protocol header and the order of a content's frames (behaviour 1.1)."""

import re
from typing import Any

import pytest

from interop import facts

from .client import Channel, Client, amqplain
from .codec import (
    BODY,
    HEADER,
    HEARTBEAT,
    METHOD,
    METHODS,
    PROTOCOL_HEADER,
    encode_arguments,
    frame,
    longstr,
    shortstr,
    table,
)
from .conftest import Connect, Names

differs = pytest.mark.differs


# The protocol header


def test_header_of_0_9_1_is_answered_with_start(dial: Connect) -> None:
    assert dial().greet()["version_minor"] == 9


def test_header_of_0_9_is_taken_as_0_9_1(dial: Connect) -> None:
    assert dial().greet(b"AMQP\x01\x01\x00\x09")["version_minor"] == 9


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"AMQP\x01\x01\x08\x00", id="0-8", marks=differs(facts.OLD_HEADER)),
        pytest.param(b"AMQP\x00\x00\x08\x02", id="0-8-2"),
        pytest.param(b"AMQP\x00\x00\x09\x02", id="0-9-2"),
        pytest.param(b"AMQP\x00\x01\x00\x00", id="1.0"),
        pytest.param(b"GET / HT", id="http"),
        pytest.param(b"\x16\x03\x01\x00\xa5\x01\x00\x00", id="tls"),
    ],
)
def test_other_header_is_answered_with_ours_and_the_end(dial: Connect, header: bytes) -> None:
    client = dial()
    client.send_bytes(header)
    assert client.expect_raw(8) == PROTOCOL_HEADER
    client.expect_tcp_close()


def test_header_may_come_octet_by_octet(dial: Connect) -> None:
    client = dial()
    for octet in PROTOCOL_HEADER:
        client.send_bytes(bytes([octet]))
    client.expect("connection.start")


def test_health_checks_that_say_nothing_leave_the_broker_serving(dial: Connect) -> None:
    for _ in range(5):
        dial().sock.close()
    dial().connect().check_alive()


# Frames


def test_frames_may_come_octet_by_octet(client: Client) -> None:
    for octet in frame(METHOD, 1, encode_arguments(METHODS["channel.open"], {})):
        client.send_bytes(bytes([octet]))
    client.expect("channel.open-ok", on=1)


def test_wrong_end_octet_is_a_frame_error(client: Client) -> None:
    client.send_frame(HEARTBEAT, 0, b"", end=0xCD)
    client.expect_close(501, "type 8, all octets = <<>>: {invalid_frame_end_marker,205}")


@pytest.mark.parametrize("number", [0, 1])
def test_unknown_frame_type_is_a_frame_error(client: Client, number: int) -> None:
    client.channel(1)
    client.send_frame(7, number, b"abc")
    client.expect_close(501, 'type 7, all octets = <<"abc">>: unknown_frame')


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b"abc\x01", "all octets = <<97,98,99,1>>"),
        (b"abcdefghijklmnopq", 'first 16 octets = <<"abcdefghijklmnop">>'),
    ],
    ids=["not printable", "long"],
)
def test_frame_error_shows_what_came(client: Client, payload: bytes, shown: str) -> None:
    client.send_frame(7, 0, payload)
    client.expect_close(501, f"type 7, {shown}: unknown_frame")


def test_frame_too_short_for_a_method_is_an_unknown_frame(channel: Channel) -> None:
    channel.send_frame(METHOD, b"\0\x32")
    channel.client.expect_close(501, "type 1, all octets = <<0,50>>: unknown_frame")


def test_content_frame_on_channel_0_is_unexpected(client: Client) -> None:
    client.send_frame(HEADER, 0, bytes(14))
    client.expect_close(505, f"type 2, all octets = <<{','.join('0' * 14)}>>")


def test_frame_of_exactly_frame_max_is_accepted(channel: Channel, queue: str) -> None:
    body = bytes(131064)
    channel.publish(routing_key=queue, body=body)
    assert channel.drain(queue) == [body]


def test_frame_eight_octets_too_long_is_tolerated(channel: Channel, queue: str) -> None:
    channel.send("basic.publish", routing_key=queue)
    channel.send_header(131072)
    channel.send_frame(BODY, bytes(131072))
    assert channel.drain(queue) == [bytes(131072)]


def test_longer_frame_is_a_frame_error(channel: Channel, queue: str) -> None:
    channel.send("basic.publish", routing_key=queue)
    channel.send_header(131073)
    channel.client.send_bytes(frame(BODY, 1, bytes(131073))[:7])
    channel.client.expect_close(501, re.compile(r"frame_too_large,131073,131064"))


def test_negotiated_frame_max_is_the_limit(connect: Connect, name: Names) -> None:
    channel = connect(frame_max=8192).channel()
    channel.client.send_bytes(frame(BODY, 1, bytes(8193))[:7])
    channel.client.expect_close(501, re.compile(r"frame_too_large,8193,8184"))


def test_server_splits_bodies_at_frame_max(channel: Channel, queue: str) -> None:
    body = bytes(range(250)) * 1200
    channel.publish(routing_key=queue, body=body)
    message = channel.get(queue)
    assert message is not None
    assert (message.body, message.frames) == (body, [131064, 131064, 37872])


def test_server_splits_bodies_at_the_negotiated_frame_max(connect: Connect, name: Names) -> None:
    channel = connect(frame_max=8192).channel()
    queue = channel.call("queue.declare", queue=name("q"), exclusive=True)["queue"]
    channel.publish(routing_key=queue, body=bytes(20000))
    message = channel.get(queue)
    assert message is not None
    assert message.frames == [8184, 8184, 3632]


def test_start_ok_of_just_under_4096_octets_is_accepted(dial: Connect) -> None:
    client = dial()
    client.greet()
    client.login(client_properties={"filler": "x" * 3700})
    client.tune()
    client.open()


def test_frame_over_4096_octets_before_tune_ends_the_connection(dial: Connect) -> None:
    client = dial()
    client.greet()
    client.login(client_properties={"filler": "x" * 8192})
    client.expect_tcp_close()


def test_heartbeat_on_a_channel_is_an_unexpected_frame(client: Client) -> None:
    client.channel(1)
    client.send_frame(HEARTBEAT, 1, b"")
    client.expect_close(505, re.compile("type 8"))


def test_heartbeats_are_not_answered(client: Client) -> None:
    client.send_frame(HEARTBEAT, 0, b"")
    client.expect_nothing()
    client.check_alive()


# The frames of a content


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        pytest.param(METHOD, encode_arguments(METHODS["basic.qos"], {}), id="method"),
        pytest.param(BODY, b"abc", id="body"),
    ],
)
def test_frame_in_place_of_the_header_is_unexpected(channel: Channel, kind: int, payload: bytes) -> None:
    channel.send("basic.publish", routing_key="x")
    channel.send_frame(kind, payload)
    channel.client.expect_close(
        505, "expected content header for class 60, got non content header frame instead", "basic.publish"
    )


def test_header_of_another_class_is_unexpected(channel: Channel) -> None:
    channel.send("basic.publish", routing_key="x")
    channel.send_header(0, class_id=50)
    channel.client.expect_close(
        505, "expected content header for class 60, got one for class 50 instead", "basic.publish"
    )


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        pytest.param(METHOD, encode_arguments(METHODS["basic.qos"], {}), id="method"),
        pytest.param(HEADER, bytes(14), id="header"),
    ],
)
def test_frame_in_place_of_the_body_is_unexpected(channel: Channel, kind: int, payload: bytes) -> None:
    channel.send("basic.publish", routing_key="x")
    channel.send_header(5)
    channel.send_frame(kind, payload)
    channel.client.expect_close(505, "expected content body, got non content body frame instead", "basic.publish")


@pytest.mark.parametrize(
    ("kind", "payload"),
    [pytest.param(HEADER, b"\x00\x3c" + bytes(12), id="header"), pytest.param(BODY, b"abc", id="body")],
)
def test_content_frame_without_a_publish_is_unexpected(channel: Channel, kind: int, payload: bytes) -> None:
    channel.send_frame(kind, payload)
    channel.client.expect_close(505, "expected method frame, got non method frame instead")


def test_other_channels_may_speak_between_the_frames_of_a_content(client: Client, queue: str) -> None:
    one, two = client.channel(), client.channel()
    one.send("basic.publish", routing_key=queue)
    two.call("basic.qos")
    one.send_header(6)
    two.publish(routing_key=queue, body=b"two")
    one.send_frame(BODY, b"one")
    two.call("basic.qos")
    one.send_frame(BODY, b"111")
    one.call("basic.qos")
    assert one.drain(queue) == [b"two", b"one111"]


def test_size_0_completes_the_message_without_a_body_frame(channel: Channel, queue: str) -> None:
    channel.publish(routing_key=queue)
    channel.call("basic.consume", queue=queue, no_ack=True)
    message = channel.message()
    assert (message.body, message.frames) == (b"", [])
    channel.expect_nothing()


def test_empty_body_frames_are_accepted_within_a_content(channel: Channel, queue: str) -> None:
    channel.send("basic.publish", routing_key=queue)
    channel.send_header(4)
    for part in (b"", b"ab", b"", b"", b"cd"):
        channel.send_frame(BODY, part)
    assert channel.drain(queue) == [b"abcd"]


@differs(facts.BODY_TOO_LONG)
@pytest.mark.parametrize("parts", [[b"abcdef"], [b"abc", b"def"]], ids=["one frame", "two frames"])
def test_body_longer_than_announced_is_a_frame_error(channel: Channel, parts: list[bytes]) -> None:
    channel.send("basic.publish", routing_key="x")
    channel.send_header(4)
    for part in parts:
        channel.send_frame(BODY, part)
    channel.client.expect_close(501, "content body frame exceeds remaining content size", "basic.publish")


# Message size

MAX_MESSAGE_SIZE = 134217728


@differs(facts.MESSAGE_SIZE)
def test_too_large_message_closes_the_channel_at_its_header(channel: Channel) -> None:
    channel.send("basic.publish", routing_key="x")
    channel.send_header(MAX_MESSAGE_SIZE + 1)
    channel.expect_close(
        406,
        f"message size {MAX_MESSAGE_SIZE + 1} is larger than configured max size {MAX_MESSAGE_SIZE}",
        "basic.publish",
    )


@differs(facts.MESSAGE_SIZE)
def test_body_of_a_too_large_message_is_swallowed(channel: Channel) -> None:
    channel.send("basic.publish", routing_key="x")
    channel.send_header(MAX_MESSAGE_SIZE + 1)
    for _ in range(3):
        channel.send_frame(BODY, bytes(1000))
    channel.expect("channel.close")
    channel.send_frame(BODY, bytes(1000))
    channel.send("channel.close-ok")
    channel.client.channel(channel.number).call("basic.qos")
    channel.client.expect_nothing()


def test_message_of_the_maximum_size_may_be_announced(channel: Channel) -> None:
    channel.send("basic.publish", routing_key="x")
    channel.send_header(MAX_MESSAGE_SIZE)
    channel.send_frame(BODY, bytes(1000))
    channel.expect_nothing()
    channel.client.check_alive()


@differs(facts.HUGE_MESSAGE)
def test_header_of_more_than_512_mib_is_a_frame_error(channel: Channel) -> None:
    channel.send("basic.publish", routing_key="x")
    channel.send_header(536870913)
    channel.client.expect_close(
        501, "content body size 536870913 exceeds maximum allowed size 536870912", "basic.publish"
    )


# Methods that cannot be decoded or are not for the server


def arguments(class_id: int, method_id: int, rest: bytes) -> bytes:
    return class_id.to_bytes(2, "big") + method_id.to_bytes(2, "big") + rest


QUEUE_DECLARE = METHODS["queue.declare"]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(arguments(50, 10, b""), id="no arguments"),
        pytest.param(arguments(50, 10, b"\0\0\x05ab"), id="short name"),
        pytest.param(arguments(50, 10, b"\0\0\x01q\0\0\0\0\x63ab"), id="short table"),
        pytest.param(encode_arguments(QUEUE_DECLARE, {"queue": "q"}) + b"x", id="octets left over"),
    ],
)
def test_undecodable_arguments_are_a_frame_error(channel: Channel, payload: bytes) -> None:
    channel.send_frame(METHOD, payload)
    channel.client.expect_close(501, re.compile(r"cannot decode <<"), "queue.declare")


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("basic.publish", {"routing_key": "x"}),
        ("basic.ack", {"delivery_tag": 1}),
        ("basic.consume", {"queue": "q"}),
        ("basic.get", {"queue": "q"}),
        ("queue.delete", {"queue": "q"}),
        ("exchange.declare", {"exchange": "e", "type": "direct"}),
        ("tx.select", {}),
        ("channel.close", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_octets_left_over_are_a_frame_error(channel: Channel, method: str, values: dict[str, Any]) -> None:
    channel.send_frame(METHOD, encode_arguments(METHODS[method], values) + b"x")
    channel.client.expect_close(501, re.compile("cannot decode <<"), method)


def test_shortstr_that_is_not_utf_8_is_a_frame_error(channel: Channel) -> None:
    channel.send_frame(METHOD, encode_arguments(QUEUE_DECLARE, {"queue": b"\xff\xfe"}))
    channel.client.expect_close(501, "Malformed UTF-8 in shortstr")


@differs(facts.UNKNOWN_METHOD)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(shortstr("k") + b"U" + b"\0\1", id="unknown type"),
        pytest.param(shortstr("k"), id="no value"),
        pytest.param(shortstr("k") + b"S" + longstr("abc")[:-1], id="short value"),
    ],
)
def test_undecodable_table_closes_the_connection(channel: Channel, body: bytes) -> None:
    payload = encode_arguments(QUEUE_DECLARE, {"queue": "q", "arguments": body})
    channel.send_frame(METHOD, payload)
    channel.client.expect_close(501, re.compile(r"cannot decode <<"), "queue.declare")


@differs(facts.UNKNOWN_METHOD)
@pytest.mark.parametrize("ids", [(60, 99), (99, 10)], ids=str)
def test_unknown_method_is_an_invalid_command(channel: Channel, ids: tuple[int, int]) -> None:
    channel.send_frame(METHOD, arguments(*ids, b""))
    channel.client.expect_close(503, None, ids)


@differs(facts.UNKNOWN_METHOD)
def test_unknown_method_on_channel_0_is_an_invalid_command(client: Client) -> None:
    client.send_frame(METHOD, 0, arguments(10, 99, b""))
    client.expect_close(503, None, (10, 99))


@pytest.mark.parametrize(
    "method",
    [
        "channel.open-ok",
        "queue.declare-ok",
        "exchange.bind-ok",
        "basic.consume-ok",
        "basic.get-empty",
        "confirm.select-ok",
        "tx.commit-ok",
    ],
)
def test_method_of_the_server_is_an_invalid_command(channel: Channel, method: str) -> None:
    channel.fatal(503, "unimplemented method", method)


@pytest.mark.parametrize("method", ["basic.deliver", "basic.return", "basic.get-ok"])
def test_content_method_of_the_server_is_an_invalid_command(channel: Channel, method: str) -> None:
    channel.send(method)
    channel.send_header(0)
    channel.client.expect_close(503, "unimplemented method", method)


def test_channel_close_ok_with_nothing_to_close_is_an_invalid_command(channel: Channel) -> None:
    channel.fatal(503, "unimplemented method", "channel.close-ok")


def test_long_reply_text_is_cut_to_255_octets_with_dots(channel: Channel, vhost: str) -> None:
    full = f"NOT_FOUND - no queue '{'q' * 250}' in vhost '{vhost}'"
    channel.send("queue.declare", queue="q" * 250, passive=True)
    assert channel.expect("channel.close")["reply_text"] == full[:252] + "..."


@differs(facts.CUT_TEXT)
def test_long_reply_text_is_cut_between_characters(channel: Channel) -> None:
    channel.send("queue.declare", queue="q" + "é" * 124, passive=True)
    text = channel.expect("channel.close")["reply_text"]
    assert text == "NOT_FOUND - no queue 'q" + "é" * 114 + "..."


def test_tables_use_their_length_and_not_their_content(channel: Channel, name: Names) -> None:
    ok = channel.call("queue.declare", queue=name("q"), arguments=table({"x-a": "b"})[4:])
    assert ok["message_count"] == 0


def test_amqplain_response_is_a_table_without_its_length(dial: Connect) -> None:
    client = dial()
    client.connect(mechanism="AMQPLAIN", response=amqplain(client.target.user, client.target.password))
    client.check_alive()
