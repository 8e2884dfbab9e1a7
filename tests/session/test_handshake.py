"""From the first octet to connection.open-ok, and every wrong turn on the way."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from amqpd.auth.passwords import SHA256, create_rabbitmq
from interop.conformance.codec import METHOD, PROTOCOL_HEADER, frame
from tests.support.linked import CAPABILITIES, PASSWORD, Linked, LinkedClient, method, publication

PLAIN = f"\0guest\0{PASSWORD}".encode()
NONE: Mapping[str, bool] = {}
OTHER_PLAIN = b"\0guest\0wrong"


def greeted(linked: Linked) -> LinkedClient:
    client = linked.dial()
    client.feed(PROTOCOL_HEADER)
    client.expect("connection.start")
    return client


def start_ok(response: bytes = PLAIN, mechanism: str = "PLAIN", capabilities: Mapping[str, bool] = NONE) -> bytes:
    properties = {"capabilities": dict(capabilities)}
    return method("connection.start-ok", 0, client_properties=properties, mechanism=mechanism, response=response)


def tuning(linked: Linked) -> LinkedClient:
    client = greeted(linked)
    client.feed(start_ok(capabilities=CAPABILITIES))
    client.expect("connection.tune")
    return client


def test_start_announces_what_clients_choose_their_behaviour_by(linked: Linked) -> None:
    client = linked.dial()
    client.feed(PROTOCOL_HEADER)
    start = client.expect("connection.start").values
    properties = start["server_properties"]
    assert (properties["product"], properties["version"]) == ("RabbitMQ", "3.13.7")
    assert set(properties["capabilities"]) == {
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
        "accept_consumer_cancel_ok",
    }
    assert (start["mechanisms"], start["locales"]) == ("PLAIN AMQPLAIN", "en_US")


def test_header_may_come_octet_by_octet_with_frames_behind_it(linked: Linked) -> None:
    client = linked.dial()
    for octet in PROTOCOL_HEADER[:-1]:
        client.feed(bytes([octet]))
    client.feed(PROTOCOL_HEADER[-1:] + start_ok())
    assert client.names() == ["connection.start", "connection.tune"]


@pytest.mark.parametrize("header", [b"GET / HTTP/1.1\r\n", b"AMQP\x00\x01\x00\x00", b"\x16", b"AMQX"])
def test_other_header_ends_the_connection(linked: Linked, header: bytes) -> None:
    client = linked.dial()
    client.feed(header)
    assert client.ended
    assert client.names() == []


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(start_ok(OTHER_PLAIN), id="password"),
        pytest.param(start_ok(b"nonsense", capabilities=CAPABILITIES), id="response"),
        pytest.param(start_ok(mechanism="NOSUCH", capabilities=CAPABILITIES), id="mechanism"),
        pytest.param(method("connection.open", 0), id="method"),
        pytest.param(method("channel.open", 1), id="channel"),
        pytest.param(frame(7, 0, b"junk"), id="frame"),
        pytest.param(frame(METHOD, 0, b"\0\x0a"), id="short method"),
        pytest.param(frame(METHOD, 0, b"\0\x0a\0\x0b\xff\xff"), id="undecodable"),
        pytest.param(frame(METHOD, 0, bytes(5000)), id="too large"),
        pytest.param(publication(), id="publish"),
    ],
)
def test_wrong_step_before_the_login_is_answered_with_silence(linked: Linked, wrong: bytes) -> None:
    client = greeted(linked)
    client.feed(wrong)
    client.feed(start_ok(capabilities=CAPABILITIES))  # too late
    linked.advance(2_999)
    assert not client.ended
    linked.advance(1)
    assert client.ended
    assert client.names() == []


def test_refused_login_is_told_to_a_client_that_can_hear_it(linked: Linked) -> None:
    client = greeted(linked)
    client.feed(start_ok(OTHER_PLAIN, capabilities=CAPABILITIES))
    close = client.expect("connection.close").values
    assert close["reply_code"] == 403
    assert (close["class_id"], close["method_id"]) == (0, 0)
    assert "Login was refused using authentication mechanism PLAIN." in close["reply_text"]


def test_frames_wait_while_the_password_is_checked(linked: Linked) -> None:
    client = greeted(linked)
    client.connection.receive_data(start_ok() + method("connection.tune-ok", 0, channel_max=9, frame_max=4096))
    assert len(linked.environment.logins) == 1
    assert not client.connection.wants_read()
    client.feed(method("connection.open", 0, virtual_host="/"))
    assert client.names() == ["connection.tune", "connection.open-ok"]


def test_connection_lost_while_the_password_is_checked_is_let_go(linked: Linked) -> None:
    client = greeted(linked)
    client.connection.receive_data(start_ok())
    client.connection.lost("gone")
    linked.turn()
    assert client.names() == []
    assert linked.broker.connections == {}


def test_user_changed_during_the_login_is_refused(linked: Linked) -> None:
    client = greeted(linked)
    client.connection.receive_data(start_ok(capabilities=CAPABILITIES))
    linked.users.set_password("guest", create_rabbitmq(b"new", b"salt", SHA256), SHA256)
    linked.turn()
    assert client.expect("connection.close").values["reply_code"] == 403


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"channel_max": 0}, "channel_max = 0 (no limit) is higher than the maximum allowed value (2047)"),
        ({"channel_max": 2048}, "channel_max = 2048 is higher than the maximum allowed value (2047)"),
        ({"frame_max": 0}, "frame_max = 0 (no limit) is higher than the maximum allowed value (131072)"),
        ({"frame_max": 4095}, "frame_max = 4095 is lower than the minimum allowed value (4096)"),
    ],
    ids=str,
)
def test_tune_ok_outside_the_bounds_is_not_allowed(linked: Linked, answer: dict[str, int], text: str) -> None:
    client = tuning(linked)
    client.send("connection.tune-ok", 0, **{"channel_max": 2047, "frame_max": 131072} | answer)
    close = client.expect("connection.close").values
    assert (close["reply_code"], close["reply_text"]) == (530, f"NOT_ALLOWED - negotiated {text}")
    assert (close["class_id"], close["method_id"]) == (10, 30)


@pytest.mark.parametrize(
    ("user", "vhost", "text"),
    [
        ("guest", "nope", "vhost nope not found"),
        ("nobody", "/", "access to vhost '/' refused for user 'nobody'"),
        ("guest", "full", "access to vhost 'full' refused for user 'guest': connection limit (0) is reached"),
        ("limited", "/", "connection refused for user 'limited': user connection limit (0) is reached"),
    ],
    ids=["no vhost", "no permission", "vhost limit", "user limit"],
)
def test_open_that_is_refused(linked: Linked, user: str, vhost: str, text: str) -> None:
    linked.add_user("nobody", permissions=None)
    linked.add_user("limited")
    linked.users.set_user_limit("limited", "max-connections", 0)
    linked.broker.create_vhost("full")
    linked.users.set_permissions("guest", "full", "", "", "")
    linked.users.set_vhost_limit("full", "max-connections", 0)
    client = greeted(linked)
    client.feed(start_ok(f"\0{user}\0{PASSWORD}".encode()))
    client.send("connection.tune-ok", 0, channel_max=2047, frame_max=131072)
    client.send("connection.open", 0, virtual_host=vhost)
    client.expect("connection.tune")
    close = client.expect("connection.close").values
    assert (close["reply_code"], close["reply_text"]) == (530, f"NOT_ALLOWED - {text}")
    assert (close["class_id"], close["method_id"]) == (10, 40)
