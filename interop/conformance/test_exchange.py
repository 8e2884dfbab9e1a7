"""The exchange class (behaviour 1.5)."""

from typing import Any

import pytest

from .client import Channel
from .conftest import Names

differs = pytest.mark.differs

PREDECLARED = [
    ("amq.direct", "direct", False),
    ("amq.fanout", "fanout", False),
    ("amq.topic", "topic", False),
    ("amq.headers", "headers", False),
    ("amq.match", "headers", False),
    ("amq.rabbitmq.trace", "topic", True),
]


@pytest.fixture
def exchange(channel: Channel, name: Names) -> str:
    """A transient direct exchange."""
    exchange = name("e")
    channel.call("exchange.declare", exchange=exchange, type="direct")
    return exchange


# declare


@pytest.mark.parametrize(("exchange", "kind", "internal"), PREDECLARED)
def test_predeclared_exchange_is_durable_and_of_its_type(
    channel: Channel, exchange: str, kind: str, internal: bool
) -> None:
    channel.call("exchange.declare", exchange=exchange, type=kind, durable=True, internal=internal)


@pytest.mark.parametrize(("exchange", "kind", "internal"), PREDECLARED)
def test_predeclared_exchange_is_there(channel: Channel, exchange: str, kind: str, internal: bool) -> None:
    channel.call("exchange.declare", exchange=exchange, passive=True)


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_exchange_of_each_type_can_be_declared(channel: Channel, name: Names, kind: str) -> None:
    assert channel.call("exchange.declare", exchange=name("e"), type=kind) == {}


def test_cr_and_lf_are_removed_from_a_name(channel: Channel, name: Names) -> None:
    stem = name("e")
    channel.call("exchange.declare", exchange=stem + "\r\nz\n", type="direct")
    channel.call("exchange.declare", exchange=stem + "z", passive=True)


def test_name_may_be_any_utf_8_of_255_octets(channel: Channel, name: Names) -> None:
    exchange = (name("Ünïcode=?*") + " " + "é" * 128).encode()[:254].decode(errors="ignore")
    channel.call("exchange.declare", exchange=exchange, type="direct")
    channel.call("exchange.declare", exchange=exchange, passive=True)
    channel.call("exchange.delete", exchange=exchange)


def test_reserved_prefix_is_refused(channel: Channel) -> None:
    channel.refused(
        403,
        "exchange name 'amq.new' contains reserved prefix 'amq.*'",
        "exchange.declare",
        exchange="amq.new",
        type="direct",
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"durable": True}, "inequivalent arg 'durable' for {e}: received 'true' but current is 'false'"),
        (
            {"auto_delete": True},
            "inequivalent arg 'auto_delete' for {e}: received 'true' but current is 'false'",
        ),
        ({"internal": True}, "inequivalent arg 'internal' for {e}: received 'true' but current is 'false'"),
        ({"type": "fanout"}, "inequivalent arg 'type' for {e}: received 'fanout' but current is 'direct'"),
        (
            {"arguments": {"alternate-exchange": "amq.fanout"}},
            (
                "inequivalent arg 'alternate-exchange' for {e}: "
                "received the value 'amq.fanout' of type 'longstr' but current is none"
            ),
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_redeclaring_with_another_property_is_refused(
    channel: Channel, exchange: str, vhost: str, change: dict[str, Any], text: str
) -> None:
    full = text.format(e=f"exchange '{exchange}' in vhost '{vhost}'")
    channel.refused(406, full, "exchange.declare", **{"exchange": exchange, "type": "direct", **change})


def test_missing_argument_is_received_none(channel: Channel, name: Names, vhost: str) -> None:
    exchange = name("e")
    arguments = {"alternate-exchange": "amq.fanout"}
    channel.call("exchange.declare", exchange=exchange, type="direct", arguments=arguments)
    channel.refused(
        406,
        f"inequivalent arg 'alternate-exchange' for exchange '{exchange}' in vhost '{vhost}': "
        "received none but current is the value 'amq.fanout' of type 'longstr'",
        "exchange.declare",
        exchange=exchange,
        type="direct",
    )


def test_other_arguments_are_not_compared(channel: Channel, exchange: str) -> None:
    channel.call("exchange.declare", exchange=exchange, type="direct", arguments={"foo": 1})


def test_unknown_type_is_a_connection_error(channel: Channel, name: Names) -> None:
    channel.fatal(503, "unknown exchange type 'nosuch'", "exchange.declare", exchange=name("e"), type="nosuch")


def test_alternate_exchange_must_be_a_string(channel: Channel, name: Names, vhost: str) -> None:
    exchange = name("e")
    channel.refused(
        406,
        f"invalid type 'signedint' for arg 'alternate-exchange' in exchange '{exchange}' in vhost '{vhost}'",
        "exchange.declare",
        exchange=exchange,
        type="direct",
        arguments={"alternate-exchange": 5},
    )


def test_passive_declare_checks_existence_only(channel: Channel, exchange: str) -> None:
    channel.call("exchange.declare", exchange=exchange, passive=True, type="nosuch", durable=True, internal=True)


def test_passive_declare_of_a_missing_exchange_is_not_found(channel: Channel, vhost: str) -> None:
    channel.refused(
        404,
        f"no exchange 'xx' in vhost '{vhost}'",
        "exchange.declare",
        exchange="xx",
        type="direct",
        passive=True,
    )


# The default exchange


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("exchange.declare", {"exchange": "", "type": "direct"}),
        ("exchange.declare", {"exchange": "", "type": "direct", "passive": True}),
        ("exchange.delete", {"exchange": ""}),
        ("exchange.bind", {"destination": "amq.direct", "source": ""}),
        ("exchange.bind", {"destination": "", "source": "amq.direct"}),
        ("exchange.unbind", {"destination": "amq.direct", "source": ""}),
        ("exchange.unbind", {"destination": "", "source": "amq.direct"}),
        ("queue.bind", {"exchange": ""}),
        ("queue.unbind", {"exchange": ""}),
    ],
    ids=str,
)
def test_nothing_may_be_done_to_the_default_exchange(
    channel: Channel, queue: str, method: str, values: dict[str, Any]
) -> None:
    if method.startswith("queue."):
        values = {**values, "queue": queue, "routing_key": "k"}
    channel.refused(403, "operation not permitted on the default exchange", method, **values)


def test_default_exchange_routes_to_the_queue_of_the_name(channel: Channel, queue: str) -> None:
    channel.publish("", queue, b"x")
    assert channel.drain(queue) == [b"x"]


# Auto-delete and internal


def declare(channel: Channel, name: Names, **flags: Any) -> str:
    exchange = name("e")
    channel.call("exchange.declare", **{"exchange": exchange, "type": "fanout", **flags})
    return exchange


def missing(channel: Channel, exchange: str, vhost: str) -> None:
    channel.refused(
        404,
        f"no exchange '{exchange}' in vhost '{vhost}'",
        "exchange.declare",
        exchange=exchange,
        passive=True,
    )


def test_auto_delete_exchange_goes_with_its_last_binding(channel: Channel, queue: str, name: Names, vhost: str) -> None:
    exchange = declare(channel, name, auto_delete=True)
    for key in ("a", "b"):
        channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
    channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="a")
    channel.call("exchange.declare", exchange=exchange, passive=True)
    channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="b")
    missing(channel, exchange, vhost)


def test_auto_delete_exchange_goes_with_the_last_queue_bound_to_it(
    channel: Channel, queue: str, name: Names, vhost: str
) -> None:
    exchange = declare(channel, name, auto_delete=True)
    channel.call("queue.bind", queue=queue, exchange=exchange)
    channel.call("queue.delete", queue=queue)
    missing(channel, exchange, vhost)


def test_auto_delete_exchange_goes_with_the_last_exchange_bound_to_it(
    channel: Channel, name: Names, vhost: str
) -> None:
    exchange = declare(channel, name, auto_delete=True)
    destination = declare(channel, name)
    channel.call("exchange.bind", destination=destination, source=exchange)
    channel.call("exchange.delete", exchange=destination)
    missing(channel, exchange, vhost)


def test_auto_delete_exchange_stays_while_it_is_only_a_destination(channel: Channel, name: Names) -> None:
    exchange = declare(channel, name, auto_delete=True)
    source = declare(channel, name)
    channel.call("exchange.bind", destination=exchange, source=source)
    channel.call("exchange.unbind", destination=exchange, source=source)
    channel.call("exchange.declare", exchange=exchange, passive=True)


def test_auto_delete_exchange_that_was_never_bound_stays(channel: Channel, queue: str, name: Names) -> None:
    exchange = declare(channel, name, auto_delete=True)
    channel.call("queue.unbind", queue=queue, exchange=exchange)
    channel.publish(exchange, "k", b"x")
    channel.call("exchange.declare", exchange=exchange, passive=True)


def test_publish_to_an_internal_exchange_is_refused(channel: Channel, name: Names, vhost: str) -> None:
    exchange = declare(channel, name, internal=True)
    channel.publish_refused(
        403, f"cannot publish to internal exchange '{exchange}' in vhost '{vhost}'", exchange, "k", b"x"
    )


def test_internal_exchange_is_reached_by_a_binding(channel: Channel, queue: str, name: Names) -> None:
    internal, source = declare(channel, name, internal=True), declare(channel, name)
    channel.call("exchange.bind", destination=internal, source=source)
    channel.call("queue.bind", queue=queue, exchange=internal)
    channel.publish(source, "k", b"x")
    assert channel.drain(queue) == [b"x"]


def test_internal_exchange_is_reached_as_an_alternate(channel: Channel, queue: str, name: Names) -> None:
    internal = declare(channel, name, internal=True)
    source = declare(channel, name, arguments={"alternate-exchange": internal})
    channel.call("queue.bind", queue=queue, exchange=internal)
    channel.publish(source, "k", b"x")
    assert channel.drain(queue) == [b"x"]


# delete


def test_deleting_a_missing_exchange_is_fine(channel: Channel) -> None:
    assert channel.call("exchange.delete", exchange="never-declared") == {}


@pytest.mark.parametrize("exchange", ["amq.direct", "amq.topic", "amq.rabbitmq.trace"])
def test_deleting_a_system_exchange_is_refused(channel: Channel, vhost: str, exchange: str) -> None:
    channel.refused(
        403,
        f"deletion of system exchange '{exchange}' in vhost '{vhost}' not allowed",
        "exchange.delete",
        exchange=exchange,
    )


def test_deleting_a_bound_exchange_if_unused_is_refused(
    channel: Channel, queue: str, exchange: str, vhost: str
) -> None:
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="k")
    channel.refused(
        406,
        f"exchange '{exchange}' in vhost '{vhost}' in use",
        "exchange.delete",
        exchange=exchange,
        if_unused=True,
    )


def test_deleting_an_unbound_exchange_if_unused_works(channel: Channel, exchange: str, vhost: str) -> None:
    channel.call("exchange.delete", exchange=exchange, if_unused=True)
    missing(channel, exchange, vhost)


# bind and unbind


@pytest.mark.parametrize("end", ["destination", "source"])
def test_binding_a_missing_exchange_is_not_found(channel: Channel, exchange: str, vhost: str, end: str) -> None:
    ends = {"destination": exchange, "source": exchange, end: "nox"}
    channel.refused(404, f"no exchange 'nox' in vhost '{vhost}'", "exchange.bind", **ends)


def test_unbinding_a_missing_binding_is_fine(channel: Channel, exchange: str) -> None:
    assert channel.call("exchange.unbind", destination=exchange, source="amq.fanout") == {}


@pytest.mark.parametrize("end", ["destination", "source"])
def test_unbinding_a_missing_exchange_is_fine(channel: Channel, exchange: str, end: str) -> None:
    assert channel.call("exchange.unbind", **{"destination": exchange, "source": exchange, end: "nox"}) == {}


def test_cycle_of_bindings_delivers_one_copy(channel: Channel, queue: str, name: Names) -> None:
    one, two = declare(channel, name), declare(channel, name)
    channel.call("exchange.bind", destination=one, source=two)
    channel.call("exchange.bind", destination=two, source=one)
    channel.call("exchange.bind", destination=one, source=one)
    for exchange in (one, two):
        channel.call("queue.bind", queue=queue, exchange=exchange)
    channel.publish(one, "k", b"x")
    assert channel.drain(queue) == [b"x"]


def test_unbound_exchange_gets_nothing_more(channel: Channel, queue: str, name: Names) -> None:
    source, destination = declare(channel, name), declare(channel, name)
    channel.call("queue.bind", queue=queue, exchange=destination)
    channel.call("exchange.bind", destination=destination, source=source, routing_key="k")
    channel.publish(source, "k", b"1")
    channel.call("exchange.unbind", destination=destination, source=source, routing_key="k")
    channel.publish(source, "k", b"2")
    assert channel.drain(queue) == [b"1"]
