"""Content properties: what passes through untouched and what is checked (behaviour 1.9)."""

import re
from typing import Any

import pytest

from interop import facts

from .broker import Admin
from .client import Channel
from .codec import Typed, encode_properties, shortstr, table
from .conftest import Connect, Names

differs = pytest.mark.differs


def echo(channel: Channel, queue: str, properties: dict[str, Any] | bytes) -> bytes:
    """The raw property block as a consumer gets it."""
    channel.publish("", queue, b"x", properties)
    message = channel.get(queue)
    assert message is not None
    return message.raw_properties


ALL_PROPERTIES = {
    "content_type": "text/plain",
    "content_encoding": "gzip",
    "headers": {"z": 1, "a": "two"},
    "delivery_mode": 2,
    "priority": 9,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "60000",
    "message_id": "m",
    "timestamp": 1700000000,
    "type": "t",
    "user_id": "guest",
    "app_id": "a",
    "cluster_id": "deprecated",
}


def test_all_properties_pass_through(channel: Channel, queue: str) -> None:
    properties = {**ALL_PROPERTIES, "user_id": channel.client.target.user}
    assert echo(channel, queue, properties) == encode_properties(properties)


def test_no_properties_pass_through(channel: Channel, queue: str) -> None:
    assert echo(channel, queue, {}) == b"\0\0"


@pytest.mark.parametrize(
    "value",
    [
        Typed("S", "text"),
        Typed("S", b"\xff\xfe not UTF-8"),
        Typed("S", b""),
        Typed("T", 253402300800),
        Typed("T", 2**64 - 1),
        Typed("t", True),
        Typed("t", False),
        Typed("b", -5),
        Typed("B", 200),
        Typed("s", -5),
        Typed("u", 5),
        Typed("I", 5),
        Typed("i", 4000000000),
        Typed("l", 5),
        Typed("L", 5),
        Typed("f", 1.5),
        Typed("d", 0.1),
        Typed("D", (2, 12345)),
        Typed("x", b"\0\1\2"),
        Typed("V", None),
        Typed("A", [Typed("b", 1), Typed("s", 1), Typed("A", []), Typed("F", {})]),
        Typed("F", {"z": Typed("l", 1), "a": Typed("B", 1), "": None}),
    ],
    ids=lambda value: f"{value.letter}-{str(value.value)[:20]}",
)
def test_header_value_keeps_its_type_and_width(channel: Channel, queue: str, value: Typed) -> None:
    properties = encode_properties({"headers": {"b": value, "a": 1}})
    assert echo(channel, queue, properties) == properties


@pytest.mark.parametrize(
    "properties",
    [
        {"content_type": "", "message_id": "", "expiration": "5000"},
        {"headers": {}},
        {"type": "", "app_id": "", "cluster_id": ""},
        {"headers": b"\x01k\x49\0\0\0\1\x01k\x49\0\0\0\2"},
        {"correlation_id": "x" * 255},
    ],
    ids=["empty strings", "empty table", "trailing empty strings", "a key twice", "longest string"],
)
def test_odd_property_blocks_pass_through(channel: Channel, queue: str, properties: dict[str, Any]) -> None:
    assert echo(channel, queue, properties) == encode_properties(properties)


UNKNOWN_MODE = differs(facts.DELIVERY_MODE)


@pytest.mark.parametrize("mode", [1, 2, *(pytest.param(mode, marks=UNKNOWN_MODE) for mode in (0, 7, 255))])
def test_delivery_mode_is_not_validated(channel: Channel, queue: str, mode: int) -> None:
    assert echo(channel, queue, {"delivery_mode": mode}) == encode_properties({"delivery_mode": mode})


@pytest.mark.parametrize("priority", [0, 10, 255])
def test_priority_is_not_validated(channel: Channel, queue: str, priority: int) -> None:
    assert echo(channel, queue, {"priority": priority}) == encode_properties({"priority": priority})


def test_properties_pass_through_a_delivery_and_a_redelivery(channel: Channel, queue: str) -> None:
    properties = encode_properties({"headers": {"b": Typed("b", 1)}, "content_type": ""})
    channel.publish("", queue, b"x", properties)
    channel.call("basic.consume", queue=queue)
    first = channel.message()
    channel.send("basic.reject", delivery_tag=first.tag, requeue=True)
    second = channel.message()
    assert first.raw_properties == second.raw_properties == properties


@differs(facts.BAD_PROPERTIES)
@pytest.mark.parametrize(
    "properties",
    [
        pytest.param(b"\x20\x00" + table(shortstr("k") + b"U\0\1"), id="unknown type"),
        pytest.param(b"\x20\x00\0\0\0\x09ab", id="short table"),
        pytest.param(b"\x80\x00\x05ab", id="short string"),
        pytest.param(b"\x80\x00\x01ab", id="octets left over"),
        pytest.param(b"\x00\x00a", id="octets without a flag"),
        pytest.param(b"\x00\x01\x00\x00", id="second word of flags"),
        pytest.param(b"\x20\x00" + table(shortstr("k") + b"F\0\0\0\5\1ktx"), id="table in the table"),
        pytest.param(b"\x20\x00" + table(shortstr("k") + b"A\0\0\0\2I\1"), id="array in the table"),
    ],
)
def test_undecodable_properties_close_the_connection(channel: Channel, queue: str, properties: bytes) -> None:
    channel.publish("", queue, b"x", properties)
    channel.client.expect_close(501, None, "basic.publish")


# expiration


@pytest.mark.parametrize("expiration", ["0", "5", "+5", "05", "315360000000"])
def test_good_expiration_is_accepted(channel: Channel, expiration: str) -> None:
    channel.publish("", "no-such-queue", b"x", {"expiration": expiration})
    channel.call("basic.qos")


@pytest.mark.parametrize(
    ("expiration", "why"),
    [
        ("abc", "no_integer"),
        ("", "no_integer"),
        (" 10", "no_integer"),
        ("1.5", '{leftover_string,".5"}'),
        ("10 ", '{leftover_string," "}'),
        ("10s", '{leftover_string,"s"}'),
        ("-1", "{value_negative,-1}"),
        ("315360000001", "{value_too_large,315360000001}"),
    ],
)
def test_bad_expiration_is_refused(channel: Channel, expiration: str, why: str) -> None:
    channel.publish_refused(
        406,
        f"invalid expiration '{expiration}': {why}",
        "",
        "no-such-queue",
        properties={"expiration": expiration},
    )


def test_expiration_is_kept_on_delivery(channel: Channel, queue: str) -> None:
    assert echo(channel, queue, {"expiration": "+60000"}) == encode_properties({"expiration": "+60000"})


# user-id


@pytest.mark.parametrize("user", ["bob", "", "GUEST"])
def test_user_id_of_somebody_else_is_refused(channel: Channel, user: str) -> None:
    own = channel.client.target.user
    channel.publish_refused(
        406,
        f"user_id property set to '{user}' but authenticated user was '{own}'",
        "",
        "no-such-queue",
        properties={"user_id": user},
    )


def test_impersonator_may_use_any_user_id(connect: Connect, admin: Admin, vhost: str, queue: str, name: Names) -> None:
    user = name("impersonator")
    admin.add_user(user, user, tag="impersonator")
    admin.set_permissions(user, vhost, ".*", ".*", ".*")
    channel = connect(user=user, password=user).channel()
    assert echo(channel, queue, {"user_id": "bob"}) == encode_properties({"user_id": "bob"})
    channel.client.sock.close()
    admin.delete_user(user)


# The order of the checks of a publish


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        pytest.param(
            {"expiration": "x", "user_id": "bob"},
            "invalid expiration",
            marks=differs(facts.CHECKS_ORDER),
        ),
        ({"expiration": "x", "headers": {"CC": "k"}}, "invalid expiration"),
        pytest.param(
            {"headers": {"CC": "k"}, "user_id": "bob"},
            "unacceptable_type_in_header",
            marks=differs(facts.CHECKS_ORDER),
        ),
    ],
    ids=["expiration before user-id", "expiration before CC", "CC before user-id"],
)
def test_first_failing_check_is_reported(channel: Channel, properties: dict[str, Any], text: str) -> None:
    channel.publish("", "no-such-queue", b"x", properties)
    channel.expect_close(406, re.compile(text), "basic.publish")


def test_missing_exchange_comes_before_bad_properties(channel: Channel, vhost: str) -> None:
    channel.publish_refused(404, f"no exchange 'nope' in vhost '{vhost}'", "nope", "k", properties={"expiration": "x"})
