"""What fuzzing and reading for it found, kept as small as it can be."""

from __future__ import annotations

import struct

import pytest

from amqpd.spec.constants import BASIC_PUBLISH
from interop.conformance.codec import BODY, HEADER, METHOD, frame
from tests.support.linked import Linked, LinkedClient, method, publication

NO_ARGUMENTS = frame(METHOD, 1, BASIC_PUBLISH.to_bytes(4))


@pytest.mark.parametrize("before", [b"", publication("", "q", b"body"), method("queue.delete", queue="q")])
def test_a_publish_without_arguments_is_refused(before: bytes) -> None:
    """It was taken for a repetition of the publish before it."""
    client = Linked().client()
    client.call("queue.declare", queue="q")
    client.feed(before)
    client.received()
    client.feed(NO_ARGUMENTS + frame(HEADER, 1, b"\0\x3c" + bytes(9) + b"\x01\0\0") + frame(BODY, 1, b"x"))
    close = client.expect("connection.close")
    assert (close.values["reply_code"], close.values["reply_text"]) == (
        501,
        "FRAME_ERROR - cannot decode <<>>",
    )
    assert (close.values["class_id"], close.values["method_id"]) == (60, 40)


@pytest.mark.parametrize("number", [32767, 32768, 65535])
def test_a_channel_with_a_high_number_works(number: int) -> None:
    """Channel numbers are unsigned; the pure form could not write those above 32767."""
    linked = Linked()
    client = linked.client()
    client.call("channel.open", on=number)
    client.call("queue.declare", on=number, queue="q")
    client.call("confirm.select", on=number)
    client.call("basic.consume", on=number, queue="q", no_ack=True)
    client.publish("", "q", b"body", on=number)
    assert {(came.name, came.channel) for came in client.received()} == {
        ("basic.deliver", number),
        ("basic.ack", number),
    }


def test_empty_body_frames_are_not_kept() -> None:
    client = open_content(10)
    client.feed(frame(BODY, 1, b"") * 1000 + frame(BODY, 1, b"12345") + frame(BODY, 1, b"") * 1000)
    partial = client.connection.channels[1].partial
    assert partial is not None
    assert partial.getvalue() == b"12345"
    client.feed(frame(BODY, 1, b"67890"))
    client.send("basic.get", queue="q", no_ack=True)
    assert client.expect("basic.get-ok").body == b"1234567890"


def open_content(size: int) -> LinkedClient:
    """A client in the middle of a publish to the queue ``q``: the header is sent, the body is not."""
    client = Linked().client()
    client.call("queue.declare", queue="q")
    client.feed(method("basic.publish", exchange="", routing_key="q"))
    client.feed(frame(HEADER, 1, struct.pack(">HHQH", 60, 0, size, 0)))
    return client
