"""The connection class: negotiation, login, open, close and limits (behaviour 1.2)."""

from collections.abc import Iterator
from typing import Any

import pytest

from interop import facts

from .broker import Admin
from .client import Channel, Client, Target, amqplain, check_close
from .conftest import Connect, Names

differs = pytest.mark.differs


# start and start-ok


@pytest.fixture(scope="module")
def start(target: Target) -> dict[str, Any]:
    with Client(target) as client:
        return client.greet()


def test_start_offers_version_0_9_and_the_usual_mechanisms_and_locale(start: dict[str, Any]) -> None:
    assert (start["version_major"], start["version_minor"]) == (0, 9)
    assert sorted(start["mechanisms"].split()) == ["AMQPLAIN", "PLAIN"]
    assert start["locales"] == "en_US"


def test_server_properties_have_the_nine_keys_of_rabbitmq(start: dict[str, Any]) -> None:
    assert sorted(start["server_properties"]) == [
        "capabilities",
        "cluster_name",
        "copyright",
        "information",
        "platform",
        "product",
        "version",
    ]


def test_capabilities_are_all_advertised(start: dict[str, Any]) -> None:
    capabilities = dict(start["server_properties"]["capabilities"])
    capabilities.pop("accept_consumer_cancel_ok", None)
    assert capabilities == dict.fromkeys(
        [
            "publisher_confirms",
            "exchange_exchange_bindings",
            "basic.nack",
            "consumer_cancel_notify",
            "connection.blocked",
            "consumer_priorities",
            "authentication_failure_close",
            "per_consumer_qos",
            "direct_reply_to",
        ],
        True,
    )


@differs(facts.CANCEL_OK_ANNOUNCED)
def test_cancel_ok_is_advertised(start: dict[str, Any]) -> None:
    assert start["server_properties"]["capabilities"].get("accept_consumer_cancel_ok") is True


def test_product_is_rabbitmq(start: dict[str, Any]) -> None:
    assert start["server_properties"]["product"] == "RabbitMQ"


@differs(facts.VERSION)
def test_announced_version_is_3_13_7(start: dict[str, Any]) -> None:
    assert start["server_properties"]["version"] == "3.13.7"


def test_locale_is_not_validated(connect: Connect) -> None:
    connect(locale="fr_FR").check_alive()


def test_client_properties_may_be_anything(connect: Connect) -> None:
    connect(client_properties={"capabilities": "none", "connection_name": 5, "x": [None, {}]}).check_alive()


def test_client_may_have_no_capabilities(connect: Connect) -> None:
    connect(capabilities={}).check_alive()


def test_connection_name_is_accepted(connect: Connect) -> None:
    connect(client_properties={"connection_name": "Jürgens Dienst"}).check_alive()


# Login


def test_amqplain_logs_in(connect: Connect, target: Target) -> None:
    connect(mechanism="AMQPLAIN", response=amqplain(target.user, target.password)).check_alive()


LOGIN_REFUSED = "Login was refused using authentication mechanism {}. For details see the broker logfile."


@pytest.mark.parametrize("user", ["guest", "nobody-has-this-name"])
def test_bad_login_is_refused_at_once_in_the_same_words(dial: Connect, user: str) -> None:
    client = dial()
    client.greet()
    client.login(user=user, password="wrong")
    check_close(client.expect_close_frame(), 403, LOGIN_REFUSED.format("PLAIN"), None)


def test_bad_amqplain_login_names_its_mechanism(dial: Connect) -> None:
    client = dial()
    client.greet()
    client.login(mechanism="AMQPLAIN", response=amqplain("guest", "wrong"))
    check_close(client.expect_close_frame(), 403, LOGIN_REFUSED.format("AMQPLAIN"), None)


# tune


def test_tune_offers_rabbitmqs_defaults(dial: Connect) -> None:
    client = dial()
    client.greet()
    client.login()
    assert client.tune() == {"channel_max": 2047, "frame_max": 131072, "heartbeat": 60}


@pytest.mark.parametrize(
    "answer",
    [
        {"channel_max": 1},
        {"channel_max": 2047},
        {"frame_max": 4096},
        {"frame_max": 131072},
        {"heartbeat": 0},
        {"heartbeat": 1},
        {"heartbeat": 65535},
    ],
    ids=str,
)
def test_tune_ok_within_the_limits_is_used(connect: Connect, answer: dict[str, int]) -> None:
    connect(**answer).check_alive()


@differs(facts.TUNE)
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            {"channel_max": 0},
            "negotiated channel_max = 0 (no limit) is higher than the maximum allowed value (2047)",
        ),
        (
            {"channel_max": 2048},
            "negotiated channel_max = 2048 is higher than the maximum allowed value (2047)",
        ),
        (
            {"frame_max": 0},
            "negotiated frame_max = 0 (no limit) is higher than the maximum allowed value (131072)",
        ),
        (
            {"frame_max": 131073},
            "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)",
        ),
        (
            {"frame_max": 4095},
            "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)",
        ),
    ],
    ids=str,
)
def test_tune_ok_out_of_the_limits_is_not_allowed(dial: Connect, answer: dict[str, int], text: str) -> None:
    client = dial()
    client.greet()
    client.login()
    client.tune(**answer)
    check_close(client.expect_close_frame(), 530, text, "connection.tune")


# open


def test_open_ok_has_no_known_hosts(dial: Connect) -> None:
    client = dial()
    client.greet()
    client.login()
    client.tune()
    assert client.open() == {"known_hosts": ""}


def opening(dial: Connect, vhost: str, **login: Any) -> Client:
    """A connection that has just sent connection.open."""
    client = dial()
    client.greet()
    client.login(**login)
    client.tune()
    client.send("connection.open", virtual_host=vhost)
    return client


def test_missing_vhost_is_not_allowed(dial: Connect) -> None:
    opening(dial, "nope").expect_close(530, "vhost nope not found", "connection.open")


def test_vhost_name_is_exact(dial: Connect, vhost: str) -> None:
    name = vhost.upper()
    opening(dial, name).expect_close(530, f"vhost {name} not found", "connection.open")


@pytest.fixture(scope="module")
def stranger(admin: Admin, token: str) -> Iterator[str]:
    """A user without permissions; the password is the name."""
    user = f"stranger-{token}"
    admin.add_user(user, user)
    yield user
    admin.delete_user(user)


def test_vhost_without_permissions_is_refused(dial: Connect, vhost: str, stranger: str) -> None:
    opening(dial, vhost, user=stranger, password=stranger).expect_close(
        530, f"access to vhost '{vhost}' refused for user '{stranger}'", "connection.open"
    )


def test_vhost_at_its_connection_limit_is_refused(dial: Connect, admin: Admin, target: Target, name: Names) -> None:
    vhost = name("limited")
    admin.add_vhost(vhost)
    admin.set_permissions(target.user, vhost, ".*", ".*", ".*")
    admin.set_vhost_limit(vhost, "max-connections", 1)
    first = dial().connect(vhost=vhost)
    opening(dial, vhost).expect_close(
        530,
        f"access to vhost '{vhost}' refused for user '{target.user}': connection limit (1) is reached",
        "connection.open",
    )
    first.check_alive()
    first.hang_up()
    admin.delete_vhost(vhost)


def test_user_at_the_connection_limit_is_refused(dial: Connect, admin: Admin, vhost: str, name: Names) -> None:
    user = name("limited")
    admin.add_user(user, user)
    admin.set_permissions(user, vhost, "", "", "")
    admin.set_user_limit(user, "max-connections", 0)
    opening(dial, vhost, user=user, password=user).expect_close(
        530,
        f"connection refused for user '{user}': user connection limit (0) is reached",
        "connection.open",
    )
    admin.delete_user(user)


# Methods in the wrong state


@pytest.mark.parametrize(
    "method",
    [
        "connection.open",
        "connection.tune-ok",
        "connection.start-ok",
        "connection.secure-ok",
        "channel.open",
        "queue.declare",
        "basic.qos",
    ],
)
def test_method_in_the_wrong_state_is_a_channel_error(client: Client, method: str) -> None:
    client.send(method)
    client.expect_close(504, "unexpected method in connection state running", method)


# Closing


def test_client_close_deletes_exclusive_queues_before_close_ok(connect: Connect, other: Channel, name: Names) -> None:
    queue = name("q")
    for _ in range(5):
        owner = connect().channel()
        owner.call("queue.declare", queue=queue, exclusive=True)
        owner.client.close()
        other.call("queue.declare", queue=queue, exclusive=True)
        other.call("queue.delete", queue=queue)


def test_frames_after_a_clients_close_are_ignored(channel: Channel, other: Channel, vhost: str, name: Names) -> None:
    queue = name("q")
    channel.client.send("connection.close", reply_code=200)
    channel.send("queue.declare", queue=queue)
    channel.client.send("connection.open")
    channel.client.expect("connection.close-ok")
    other.refused(404, f"no queue '{queue}' in vhost '{vhost}'", "queue.declare", queue=queue, passive=True)


def test_hard_error_deletes_exclusive_queues_before_the_close_frame(
    connect: Connect, other: Channel, name: Names
) -> None:
    queue = name("q")
    for _ in range(5):
        owner = connect().channel()
        owner.call("queue.declare", queue=queue, exclusive=True)
        owner.send("channel.open")
        owner.client.expect_close_frame()
        other.call("queue.declare", queue=queue, exclusive=True)
        other.call("queue.delete", queue=queue)


def test_everything_but_close_ok_is_ignored_after_a_hard_error(
    channel: Channel, other: Channel, vhost: str, name: Names
) -> None:
    queue = name("q")
    channel.send("channel.open")
    channel.client.expect_close_frame()
    channel.send("queue.declare", queue=queue)
    channel.client.send("connection.open")
    channel.client.send_frame(7, 3, b"junk")
    channel.client.expect_nothing()
    channel.client.send("connection.close-ok")
    channel.client.expect_tcp_close()
    other.refused(404, f"no queue '{queue}' in vhost '{vhost}'", "queue.declare", queue=queue, passive=True)


def test_close_crossing_a_hard_error_is_answered(channel: Channel) -> None:
    channel.send("channel.open")
    channel.client.expect_close_frame()
    channel.client.send("connection.close", reply_code=200)
    channel.client.expect("connection.close-ok")


def test_deleting_a_vhost_forces_its_connections_closed(
    dial: Connect, admin: Admin, target: Target, name: Names
) -> None:
    vhost = name("doomed")
    admin.add_vhost(vhost)
    admin.set_permissions(target.user, vhost, ".*", ".*", ".*")
    client = dial().connect(vhost=vhost)
    admin.delete_vhost(vhost)
    check_close(client.expect_close_frame(), 320, f"vhost '{vhost}' is deleted", None)
    client.expect_tcp_close()
    assert client.witness is not None
    client.witness.check_alive()


def test_operator_may_force_a_connection_closed(dial: Connect, admin: Admin, vhost: str, stranger: str) -> None:
    admin.set_permissions(stranger, vhost, "", "", "")
    client = dial().connect(user=stranger, password=stranger)
    admin.close_connections(stranger, "night shift")
    client.expect_close(320, "night shift", None)


# Channels of a connection


def test_channel_number_is_not_limited_by_channel_max(connect: Connect) -> None:
    connect(channel_max=10).channel(2000).call("basic.qos")


def test_channel_number_may_be_65535(connect: Connect) -> None:
    connect().channel(65535).call("basic.qos")


def test_count_of_channels_is_limited_by_channel_max(connect: Connect) -> None:
    client = connect(channel_max=1)
    client.channel()
    client.send("channel.open", on=2)
    client.expect_close(530, "number of channels opened (1) has reached the negotiated channel_max (1)", None)


def test_closed_channels_do_not_count(connect: Connect) -> None:
    client = connect(channel_max=1)
    for _ in range(5):
        client.channel().close()


# update-secret


def test_update_secret_is_accepted_for_passwords(client: Client) -> None:
    client.send("connection.update-secret", new_secret="anything", reason="renewal")
    assert client.expect("connection.update-secret-ok") == {}
    client.check_alive()
