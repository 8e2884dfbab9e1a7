"""The queue class (behaviour 1.6)."""

import re
from typing import Any

import pytest

from interop import facts

from .client import Channel
from .codec import Typed
from .conftest import Connect, Names

differs = pytest.mark.differs

LOCKED = (
    "cannot obtain exclusive access to locked queue '{}' in vhost '{}'. It could be originally declared on "
    "another connection or the exclusive property value does not match that of the original declaration."
)


def declare(channel: Channel, name: Names, **values: Any) -> str:
    return str(channel.call("queue.declare", **{"queue": name("q"), **values})["queue"])


def missing(channel: Channel, queue: str, vhost: str) -> None:
    channel.refused(404, f"no queue '{queue}' in vhost '{vhost}'", "queue.declare", queue=queue, passive=True)


# Names


def test_name_may_be_any_utf_8_of_255_octets(channel: Channel, name: Names) -> None:
    queue = (name("Ünïcode=?* ") + "é" * 128).encode()[:254].decode(errors="ignore")
    assert channel.call("queue.declare", queue=queue)["queue"] == queue
    channel.publish("", queue, b"x")
    message = channel.get(queue)
    assert message is not None
    assert message.method["routing_key"] == queue


def test_cr_and_lf_are_removed_from_a_name(channel: Channel, name: Names) -> None:
    stem = name("q")
    assert channel.call("queue.declare", queue=stem + "\r\nz")["queue"] == stem + "z"


def test_reserved_prefix_is_refused(channel: Channel) -> None:
    channel.refused(
        403,
        "queue name 'amq.foo' contains reserved prefix 'amq.*'",
        "queue.declare",
        queue="amq.foo",
    )


def test_reserved_prefix_is_not_looked_at_by_passive_declare(channel: Channel, vhost: str) -> None:
    missing(channel, "amq.foo", vhost)


def test_server_named_queue_can_be_declared_passively_by_its_name(channel: Channel) -> None:
    queue = channel.call("queue.declare", exclusive=True)["queue"]
    assert channel.count(queue) == (0, 0)


def test_reserved_prefix_is_refused_even_if_the_queue_exists(channel: Channel) -> None:
    queue = channel.call("queue.declare", exclusive=True)["queue"]
    channel.refused(
        403,
        f"queue name '{queue}' contains reserved prefix 'amq.*'",
        "queue.declare",
        queue=queue,
        exclusive=True,
    )


def test_server_named_queue_has_a_random_base64_name(channel: Channel) -> None:
    names = {channel.call("queue.declare", exclusive=True)["queue"] for _ in range(5)}
    assert len(names) == 5
    assert all(re.fullmatch(r"amq\.gen-[A-Za-z0-9_-]{22}", queue) for queue in names)


@pytest.mark.parametrize("kind", ["quorum", "stream"])
def test_server_named_queue_cannot_be_replicated(channel: Channel, kind: str) -> None:
    channel.refused(
        406,
        f"Cannot declare a server-named queue for type rabbit_{kind}_queue",
        "queue.declare",
        durable=True,
        arguments={"x-queue-type": kind},
    )


# The last declared queue


def test_empty_name_means_the_last_declared_queue(channel: Channel, name: Names) -> None:
    declare(channel, name)
    queue = declare(channel, name)
    channel.call("queue.bind", exchange="amq.direct", routing_key=queue + "-key")
    channel.publish("amq.direct", queue + "-key", b"0")
    channel.publish("", queue, b"1")
    assert channel.drain("") == [b"0", b"1"]
    channel.publish("", queue, b"2")
    assert channel.call("queue.purge")["message_count"] == 1
    channel.call("queue.unbind", exchange="amq.direct", routing_key=queue + "-key")
    channel.call("basic.consume", no_ack=True)
    channel.publish("", queue, b"3")
    assert channel.bodies(1) == [b"3"]
    channel.call("queue.delete")


def test_empty_name_and_key_bind_the_queue_under_its_name(channel: Channel, queue: str) -> None:
    channel.call("queue.bind", exchange="amq.direct")
    channel.publish("amq.direct", queue, b"x")
    assert channel.drain(queue) == [b"x"]


def test_empty_name_with_a_key_keeps_the_key(channel: Channel, queue: str) -> None:
    channel.call("queue.bind", exchange="amq.direct", routing_key=queue + "-key")
    channel.publish("amq.direct", queue, b"1")
    channel.publish("amq.direct", queue + "-key", b"2")
    assert channel.drain(queue) == [b"2"]


@pytest.mark.parametrize(
    "method", ["queue.bind", "queue.unbind", "queue.purge", "queue.delete", "basic.consume", "basic.get"]
)
def test_empty_name_without_a_declared_queue_is_not_found(channel: Channel, method: str) -> None:
    values = {"exchange": "amq.direct"} if method.endswith("bind") else {}
    channel.refused(404, "no previously declared queue", method, **values)


def test_passive_declare_of_the_empty_name_is_not_found(channel: Channel, vhost: str) -> None:
    channel.refused(404, f"no queue '' in vhost '{vhost}'", "queue.declare", passive=True)


# declare-ok


def test_declare_ok_counts_ready_messages_and_consumers(channel: Channel, queue: str) -> None:
    for _ in range(3):
        channel.publish("", queue)
    channel.get(queue, no_ack=False)
    assert channel.count(queue) == (2, 0)
    channel.call("basic.qos", prefetch_count=1)
    channel.call("basic.consume", queue=queue)
    channel.message()
    ok = channel.call("queue.declare", queue=queue)
    assert ok == {"queue": queue, "message_count": 1, "consumer_count": 1}


def test_inactive_single_active_consumers_are_counted(channel: Channel, name: Names) -> None:
    queue = declare(channel, name, arguments={"x-single-active-consumer": True})
    for _ in range(2):
        channel.call("basic.consume", queue=queue)
    assert channel.count(queue) == (0, 2)


# Equivalence


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ({}, {"durable": True}, "inequivalent arg 'durable' for {q}: received 'true' but current is 'false'"),
        ({"durable": True}, {}, "inequivalent arg 'durable' for {q}: received 'false' but current is 'true'"),
        (
            {},
            {"auto_delete": True},
            "inequivalent arg 'auto_delete' for {q}: received 'true' but current is 'false'",
        ),
        (
            {"arguments": {"x-max-length": 5}},
            {"arguments": {"x-max-length": 6}},
            "inequivalent arg 'x-max-length' for {q}: received '6' but current is '5'",
        ),
        (
            {"arguments": {"x-max-length": 5}},
            {},
            ("inequivalent arg 'x-max-length' for {q}: received none but current is the value '5' of type 'signedint'"),
        ),
        (
            {},
            {"arguments": {"x-dead-letter-exchange": "dlx"}},
            (
                "inequivalent arg 'x-dead-letter-exchange' for {q}: "
                "received the value 'dlx' of type 'longstr' but current is none"
            ),
        ),
        (
            {"arguments": {"x-overflow": "drop-head"}},
            {"arguments": {"x-overflow": "reject-publish"}},
            "inequivalent arg 'x-overflow' for {q}: received 'reject-publish' but current is 'drop-head'",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_redeclaring_with_another_property_is_refused(
    channel: Channel, vhost: str, name: Names, first: dict[str, Any], second: dict[str, Any], text: str
) -> None:
    queue = declare(channel, name, **first)
    full = text.format(q=f"queue '{queue}' in vhost '{vhost}'")
    channel.refused(406, full, "queue.declare", queue=queue, **second)


@pytest.mark.parametrize("argument", ["x-max-length", "x-message-ttl", "x-expires", "x-max-priority"])
def test_redeclaring_with_another_number_is_refused(channel: Channel, vhost: str, name: Names, argument: str) -> None:
    queue = declare(channel, name, arguments={argument: 200})
    channel.refused(
        406,
        f"inequivalent arg '{argument}' for queue '{queue}' in vhost '{vhost}': received '201' but current is '200'",
        "queue.declare",
        queue=queue,
        arguments={argument: 201},
    )


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ({}, "quorum", "received the value 'quorum' of type 'longstr' but current is none"),
        ({}, "stream", "received the value 'stream' of type 'longstr' but current is none"),
        ("classic", "quorum", "received 'quorum' but current is 'classic'"),
        ("quorum", "classic", "received 'classic' but current is 'quorum'"),
        ("quorum", {}, "received none but current is the value 'quorum' of type 'longstr'"),
        ("quorum", "stream", "received 'stream' but current is 'quorum'"),
    ],
    ids=str,
)
def test_redeclaring_with_another_type_is_refused(
    channel: Channel, vhost: str, name: Names, first: Any, second: Any, text: str
) -> None:
    given = [{"x-queue-type": kind} if kind else {} for kind in (first, second)]
    queue = declare(channel, name, durable=True, arguments=given[0])
    full = f"inequivalent arg 'x-queue-type' for queue '{queue}' in vhost '{vhost}': {text}"
    channel.refused(406, full, "queue.declare", queue=queue, durable=True, arguments=given[1])


@pytest.mark.parametrize(
    ("kind", "foreign"),
    [
        ("classic", {"x-max-in-memory-length": 5}),
        ("classic", {"x-quorum-initial-group-size": 1}),
        ("classic", {"x-max-age": "1D"}),
        ("quorum", {"x-max-priority": 5}),
        ("quorum", {"x-queue-mode": "lazy"}),
        ("quorum", {"x-queue-version": 2}),
        ("quorum", {"x-queue-master-locator": "client-local"}),
    ],
    ids=str,
)
def test_redeclaring_does_not_look_at_arguments_of_other_types(
    channel: Channel, name: Names, kind: str, foreign: dict[str, Any]
) -> None:
    table = {"x-queue-type": kind}
    queue = declare(channel, name, durable=True, arguments=table)
    channel.call("queue.declare", queue=queue, durable=True, arguments={**table, **foreign})


@pytest.mark.parametrize("argument", ["x-delivery-limit", "x-max-in-memory-length", "x-max-length", "x-message-ttl"])
def test_redeclaring_a_quorum_queue_with_another_number_is_refused(
    channel: Channel, vhost: str, name: Names, argument: str
) -> None:
    table = {"x-queue-type": "quorum", argument: 200}
    queue = declare(channel, name, durable=True, arguments=table)
    channel.refused(
        406,
        f"inequivalent arg '{argument}' for queue '{queue}' in vhost '{vhost}': received '201' but current is '200'",
        "queue.declare",
        queue=queue,
        durable=True,
        arguments={**table, argument: 201},
    )


def test_the_first_of_several_differences_is_told(channel: Channel, vhost: str, name: Names) -> None:
    queue = declare(channel, name)
    table: dict[str, Any] = {
        "x-single-active-consumer": True,
        "x-overflow": "drop-head",
        "x-max-priority": 3,
        "x-max-length-bytes": 5,
        "x-max-length": 5,
        "x-dead-letter-exchange": "a",
        "x-message-ttl": 5,
        "x-expires": 50000,
    }
    for key in reversed(list(table)):
        told = re.compile(f"inequivalent arg '{key}' for queue '{queue}' in vhost '{vhost}'.*")
        fresh = channel.client.channel()
        fresh.refused(406, told, "queue.declare", queue=queue, arguments=table)
        del table[key]


def test_a_float_is_no_integer(channel: Channel, vhost: str, name: Names) -> None:
    queue = declare(channel, name, arguments={"x-max-length": 5})
    text = f"inequivalent arg 'x-max-length' for queue '{queue}' in vhost '{vhost}': received '5.0' but current is '5'"
    channel.refused(406, text, "queue.declare", queue=queue, arguments={"x-max-length": 5.0})


def test_exclusive_mismatch_is_resource_locked(channel: Channel, vhost: str, queue: str) -> None:
    channel.refused(405, LOCKED.format(queue, vhost), "queue.declare", queue=queue, exclusive=True)


def test_unknown_arguments_are_not_compared(channel: Channel, name: Names) -> None:
    queue = declare(channel, name, arguments={"x-foo": 1})
    channel.call("queue.declare", queue=queue, arguments={"x-bar": "2"})


@pytest.mark.parametrize("letter", ["b", "B", "s", "u", "I", "i", "l", "L"])
def test_integers_compare_by_value(channel: Channel, name: Names, letter: str) -> None:
    queue = declare(channel, name, arguments={"x-max-length": 5})
    channel.call("queue.declare", queue=queue, arguments={"x-max-length": Typed(letter, 5)})


def test_classic_is_the_same_as_no_queue_type(channel: Channel, queue: str) -> None:
    channel.call("queue.declare", queue=queue, arguments={"x-queue-type": "classic"})


def test_passive_declare_compares_nothing(channel: Channel, queue: str) -> None:
    channel.call(
        "queue.declare",
        queue=queue,
        passive=True,
        durable=True,
        auto_delete=True,
        arguments={"x-max-length": "bad"},
    )


def test_passive_declare_of_a_missing_queue_is_not_found(channel: Channel, vhost: str) -> None:
    missing(channel, "never-declared", vhost)


def test_exclusive_durable_queue_is_equal_to_an_exclusive_one(channel: Channel, name: Names) -> None:
    queue = declare(channel, name, exclusive=True, durable=True)
    channel.call("queue.declare", queue=queue, exclusive=True)
    channel.call("queue.declare", queue=queue, exclusive=True, durable=True)


def test_transient_non_exclusive_queue_is_allowed(channel: Channel, name: Names) -> None:
    assert declare(channel, name, durable=False)


# Exclusive


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("queue.declare", {"exclusive": True}),
        ("queue.declare", {}),
        ("queue.declare", {"passive": True}),
        ("basic.get", {}),
        ("basic.consume", {}),
        ("queue.delete", {}),
        ("queue.purge", {}),
        ("queue.bind", {"exchange": "amq.direct", "routing_key": "k"}),
    ],
    ids=str,
)
def test_exclusive_queue_is_locked_for_other_connections(
    channel: Channel, other: Channel, vhost: str, name: Names, method: str, values: dict[str, Any]
) -> None:
    queue = declare(channel, name, exclusive=True)
    other.refused(405, LOCKED.format(queue, vhost), method, queue=queue, **values)


def test_unbinding_nothing_from_anothers_exclusive_queue_is_fine(channel: Channel, other: Channel, name: Names) -> None:
    queue = declare(channel, name, exclusive=True)
    other.call("queue.unbind", queue=queue, exchange="amq.direct", routing_key="never-bound")


def test_exclusive_queue_serves_all_channels_of_its_connection(channel: Channel, name: Names) -> None:
    queue = declare(channel, name, exclusive=True)
    second = channel.client.channel()
    assert second.count(queue) == (0, 0)
    second.call("basic.consume", queue=queue)


def test_anyone_may_publish_to_an_exclusive_queue(channel: Channel, other: Channel, name: Names) -> None:
    queue = declare(channel, name, exclusive=True)
    channel.call("basic.consume", queue=queue)
    other.publish("", queue, b"x")
    assert channel.bodies(1) == [b"x"]


def test_exclusive_queue_outlives_its_channel(channel: Channel, name: Names) -> None:
    queue = declare(channel, name, exclusive=True)
    channel.close()
    assert channel.client.channel().count(queue) == (0, 0)


# Auto-delete


def test_auto_delete_queue_goes_with_its_last_consumer(channel: Channel, vhost: str, name: Names) -> None:
    queue = declare(channel, name, auto_delete=True)
    for tag in ("a", "b"):
        channel.call("basic.consume", queue=queue, consumer_tag=tag)
    channel.call("basic.cancel", consumer_tag="a")
    assert channel.count(queue) == (0, 1)
    channel.call("basic.cancel", consumer_tag="b")
    missing(channel, queue, vhost)


def test_auto_delete_queue_goes_with_its_consumers_channel(channel: Channel, vhost: str, name: Names) -> None:
    queue = declare(channel, name, auto_delete=True)
    consumer = channel.client.channel()
    consumer.call("basic.consume", queue=queue)
    consumer.close()
    missing(channel, queue, vhost)


def test_auto_delete_queue_goes_with_its_consumers_connection(
    channel: Channel, connect: Connect, vhost: str, name: Names
) -> None:
    queue = declare(channel, name, auto_delete=True)
    consumer = connect().channel()
    consumer.call("basic.consume", queue=queue)
    consumer.client.close()
    missing(channel, queue, vhost)


def test_auto_delete_queue_stays_while_it_never_had_a_consumer(channel: Channel, name: Names) -> None:
    queue = declare(channel, name, auto_delete=True)
    channel.publish("", queue)
    channel.get(queue)
    channel.get(queue)
    assert channel.count(queue) == (0, 0)


# bind and unbind


def test_binding_to_a_missing_exchange_is_not_found(channel: Channel, queue: str, vhost: str) -> None:
    channel.refused(404, f"no exchange 'nox' in vhost '{vhost}'", "queue.bind", queue=queue, exchange="nox")


def test_binding_a_missing_queue_is_not_found(channel: Channel, vhost: str) -> None:
    channel.refused(404, f"no queue 'noq' in vhost '{vhost}'", "queue.bind", queue="noq", exchange="amq.direct")


def test_repeated_bindings_deliver_once(channel: Channel, queue: str) -> None:
    for key in ("k", "k", "k2"):
        channel.call("queue.bind", queue=queue, exchange="amq.fanout", routing_key=key)
    channel.call("queue.bind", queue=queue, exchange="amq.fanout", routing_key="k", arguments={"a": 1})
    channel.publish("amq.fanout", "k", b"x")
    assert channel.drain(queue) == [b"x"]
    channel.call("queue.delete", queue=queue)


def test_repeated_binding_is_unbound_at_once(channel: Channel, queue: str) -> None:
    binding = {"queue": queue, "exchange": "amq.direct", "routing_key": queue + "k"}
    channel.call("queue.bind", **binding)
    channel.call("queue.bind", **binding)
    channel.call("queue.unbind", **binding)
    channel.publish("amq.direct", queue + "k", b"x")
    assert channel.drain(queue) == []


def test_bindings_differ_by_their_arguments(channel: Channel, queue: str) -> None:
    binding = {"queue": queue, "exchange": "amq.direct", "routing_key": queue + "k"}
    channel.call("queue.bind", **binding)
    channel.call("queue.bind", **binding, arguments={"a": 1})
    channel.call("queue.unbind", **binding)
    channel.publish("amq.direct", queue + "k", b"x")
    assert channel.drain(queue) == [b"x"]


@pytest.mark.parametrize("exchange", ["amq.direct", "never-declared"])
def test_unbinding_what_is_not_bound_is_fine(channel: Channel, queue: str, exchange: str) -> None:
    assert channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="k") == {}


def test_unbinding_a_missing_queue_is_fine(channel: Channel) -> None:
    assert channel.call("queue.unbind", queue="never-declared", exchange="amq.direct") == {}


# purge and delete


def test_purge_removes_what_is_ready_only(channel: Channel, queue: str) -> None:
    for body in (b"0", b"1", b"2"):
        channel.publish("", queue, body)
    message = channel.get(queue, no_ack=False)
    assert message is not None
    assert channel.call("queue.purge", queue=queue) == {"message_count": 2}
    channel.send("basic.reject", delivery_tag=message.tag, requeue=True)
    assert channel.drain(queue) == [b"0"]


@pytest.mark.parametrize("method", ["queue.purge", "basic.get", "basic.consume"])
def test_using_a_missing_queue_is_not_found(channel: Channel, vhost: str, method: str) -> None:
    channel.refused(404, f"no queue 'noq' in vhost '{vhost}'", method, queue="noq")


def test_deleting_a_missing_queue_is_fine(channel: Channel) -> None:
    assert channel.call("queue.delete", queue="never-declared") == {"message_count": 0}


def test_delete_counts_what_is_ready_only(channel: Channel, queue: str) -> None:
    for _ in range(3):
        channel.publish("", queue)
    channel.get(queue, no_ack=False)
    assert channel.call("queue.delete", queue=queue) == {"message_count": 2}


def test_deleting_a_consumed_queue_if_unused_is_refused(channel: Channel, queue: str, vhost: str) -> None:
    channel.call("basic.consume", queue=queue)
    channel.refused(406, f"queue '{queue}' in vhost '{vhost}' in use", "queue.delete", queue=queue, if_unused=True)


def test_deleting_a_queue_with_ready_messages_if_empty_is_refused(channel: Channel, queue: str, vhost: str) -> None:
    channel.publish("", queue)
    channel.refused(406, f"queue '{queue}' in vhost '{vhost}' not empty", "queue.delete", queue=queue, if_empty=True)


def test_unacked_messages_do_not_hold_up_delete_if_empty(channel: Channel, queue: str) -> None:
    channel.publish("", queue)
    channel.get(queue, no_ack=False)
    assert channel.call("queue.delete", queue=queue, if_empty=True) == {"message_count": 0}


def test_cancel_comes_after_delete_ok_and_late_acks_are_accepted(channel: Channel, queue: str) -> None:
    channel.publish("", queue)
    channel.call("basic.consume", queue=queue, consumer_tag="t")
    message = channel.message()
    channel.call("queue.delete", queue=queue)
    assert channel.expect("basic.cancel") == {"consumer_tag": "t", "no_wait": True}
    channel.send("basic.ack", delivery_tag=message.tag)
    channel.call("basic.qos")


# x-arguments

TOO_LARGE = 315360000001

BAD_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"x-expires": 0}, "invalid arg 'x-expires' for {q}: {value_zero,0}"),
    ({"x-expires": -1}, "invalid arg 'x-expires' for {q}: {value_negative,-1}"),
    ({"x-expires": TOO_LARGE}, "invalid arg 'x-expires' for {q}: {value_too_large,315360000001}"),
    ({"x-expires": "5"}, "invalid arg 'x-expires' for {q}: \"expected integer, got longstr\""),
    ({"x-message-ttl": -1}, "invalid arg 'x-message-ttl' for {q}: {value_negative,-1}"),
    ({"x-message-ttl": TOO_LARGE}, "invalid arg 'x-message-ttl' for {q}: {value_too_large,315360000001}"),
    ({"x-message-ttl": "5"}, "invalid arg 'x-message-ttl' for {q}: \"expected integer, got longstr\""),
    ({"x-message-ttl": True}, "invalid arg 'x-message-ttl' for {q}: \"expected integer, got bool\""),
    ({"x-message-ttl": 1.5}, "invalid arg 'x-message-ttl' for {q}: \"expected integer, got double\""),
    ({"x-max-length": -1}, "invalid arg 'x-max-length' for {q}: {value_negative,-1}"),
    ({"x-max-length": "5"}, "invalid arg 'x-max-length' for {q}: \"expected integer, got longstr\""),
    ({"x-max-length-bytes": -1}, "invalid arg 'x-max-length-bytes' for {q}: {value_negative,-1}"),
    ({"x-max-priority": -1}, "invalid arg 'x-max-priority' for {q}: {value_negative,-1}"),
    ({"x-max-priority": 256}, "invalid arg 'x-max-priority' for {q}: {max_value_exceeded,256}"),
    ({"x-overflow": "nosuch"}, "invalid arg 'x-overflow' for {q}: invalid_overflow"),
    ({"x-overflow": 1}, "invalid arg 'x-overflow' for {q}: {unacceptable_type,signedint}"),
    (
        {"x-dead-letter-exchange": 1},
        "invalid type 'signedint' for arg 'x-dead-letter-exchange' in {q}",
    ),
    (
        {"x-dead-letter-routing-key": "k"},
        "invalid arg 'x-dead-letter-routing-key' for {q}: routing_key_but_no_dlx_defined",
    ),
    (
        {"x-dead-letter-exchange": "e", "x-dead-letter-routing-key": 1},
        "invalid arg 'x-dead-letter-routing-key' for {q}: {unacceptable_type,signedint}",
    ),
    ({"x-queue-version": 3}, "invalid arg 'x-queue-version' for {q}: \"unsupported queue version '3'\""),
    ({"x-queue-version": -1}, "invalid arg 'x-queue-version' for {q}: {value_negative,-1}"),
    ({"x-queue-mode": "fast"}, "invalid arg 'x-queue-mode' for {q}: \"unsupported queue mode 'fast'\""),
    (
        {"x-single-active-consumer": 1},
        "invalid arg 'x-single-active-consumer' for {q}: {unacceptable_type,signedint}",
    ),
]


@pytest.mark.parametrize(("arguments", "text"), BAD_ARGUMENTS, ids=lambda value: str(value)[:45])
def test_bad_argument_is_refused(
    channel: Channel, vhost: str, name: Names, arguments: dict[str, Any], text: str
) -> None:
    queue = name("q")
    full = text.replace("{q}", f"queue '{queue}' in vhost '{vhost}'")
    channel.refused(406, full, "queue.declare", queue=queue, arguments=arguments)


# Arguments and values that a queue of one type takes and one of the other does not

FOREIGN = "invalid arg '{key}' for queue '{queue}' in vhost '{vhost}' of queue type rabbit_{kind}_queue"
BAD_VALUE = "invalid arg '{key}' for queue '{queue}' in vhost '{vhost}': "

BAD_BY_TYPE: list[tuple[str, str, Any, str]] = [
    ("quorum", "x-max-priority", 5, FOREIGN),
    ("quorum", "x-queue-mode", "lazy", FOREIGN),
    ("quorum", "x-queue-version", 2, FOREIGN),
    ("quorum", "x-queue-master-locator", "client-local", FOREIGN),
    ("quorum", "x-max-age", "1D", FOREIGN),
    ("quorum", "x-initial-cluster-size", 1, FOREIGN),
    ("classic", "x-max-in-memory-length", 5, FOREIGN),
    ("classic", "x-max-in-memory-bytes", 5, FOREIGN),
    ("classic", "x-quorum-initial-group-size", 1, FOREIGN),
    ("classic", "x-max-age", "1D", FOREIGN),
    ("classic", "x-stream-max-segment-size-bytes", 1000, FOREIGN),
    # A wrong value of an argument that the type does not take is no matter.
    ("quorum", "x-max-priority", "high", FOREIGN),
    ("quorum", "x-overflow", "nosuch", BAD_VALUE + "invalid_overflow"),
    ("quorum", "x-expires", 0, BAD_VALUE + "{{value_zero,0}}"),
    ("quorum", "x-message-ttl", -1, BAD_VALUE + "{{value_negative,-1}}"),
    ("quorum", "x-max-length", "5", BAD_VALUE + '"expected integer, got longstr"'),
    ("quorum", "x-max-in-memory-length", -1, BAD_VALUE + "{{value_negative,-1}}"),
    ("quorum", "x-dead-letter-strategy", "nosuch", BAD_VALUE + "invalid_dlx_strategy"),
    ("quorum", "x-dead-letter-strategy", 1, BAD_VALUE + "{{unacceptable_type,signedint}}"),
    ("quorum", "x-dead-letter-routing-key", "k", BAD_VALUE + "routing_key_but_no_dlx_defined"),
    ("quorum", "x-single-active-consumer", 1, BAD_VALUE + "{{unacceptable_type,signedint}}"),
    ("quorum", "x-queue-leader-locator", "nosuch", BAD_VALUE + "invalid_queue_locator_arg"),
]


@pytest.mark.parametrize(("kind", "key", "value", "text"), BAD_BY_TYPE, ids=lambda value: str(value)[:30])
def test_what_a_queue_of_this_type_does_not_take_is_refused(
    channel: Channel, vhost: str, name: Names, kind: str, key: str, value: Any, text: str
) -> None:
    queue = name("q")
    full = text.format(key=key, queue=queue, vhost=vhost, kind=kind)
    table = {"x-queue-type": kind, key: value}
    channel.refused(406, full, "queue.declare", queue=queue, durable=True, arguments=table)
    missing(channel.client.channel(), queue, vhost)


only_quorum_there = differs(facts.QUORUM_ONLY)
later = differs(facts.LATER_ARGUMENTS)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        *[("quorum", "x-overflow", value) for value in ("drop-head", "reject-publish", "reject-publish-dlx")],
        ("quorum", "x-expires", 60000),
        ("quorum", "x-message-ttl", 0),
        ("quorum", "x-max-length", 0),
        ("quorum", "x-max-length-bytes", 0),
        ("quorum", "x-max-in-memory-length", 0),
        ("quorum", "x-max-in-memory-bytes", 0),
        ("quorum", "x-delivery-limit", 0),
        ("quorum", "x-dead-letter-strategy", "at-most-once"),
        ("quorum", "x-single-active-consumer", True),
        ("quorum", "x-quorum-initial-group-size", 1),
        *[("quorum", "x-queue-leader-locator", value) for value in ("client-local", "balanced")],
        ("quorum", "x-foo", "bar"),
        ("classic", "x-queue-master-locator", "client-local"),
        ("classic", "x-queue-master-locator", "min-masters"),
        pytest.param("classic", "x-delivery-limit", 0, marks=only_quorum_there),
        pytest.param("classic", "x-delivery-limit", -1, marks=only_quorum_there),
        pytest.param("classic", "x-dead-letter-strategy", "at-most-once", marks=only_quorum_there),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_a_queue_of_this_type_takes(channel: Channel, name: Names, kind: str, key: str, value: Any) -> None:
    table = {"x-queue-type": kind, key: value}
    queue = declare(channel, name, durable=True, arguments=table)
    channel.call("queue.declare", queue=queue, durable=True, arguments=table)
    channel.call("queue.delete", queue=queue)


@later
@pytest.mark.parametrize("kind", ["classic", "quorum"])
@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("x-delayed-retry-type", "nosuch", "invalid_delayed_retry_type"),
        ("x-delayed-retry-min", -1, "{value_negative,-1}"),
        ("x-delayed-retry-max", "1s", '"expected integer, got longstr"'),
        ("x-consumer-timeout", -1, "{value_negative,-1}"),
    ],
)
def test_values_of_later_arguments_are_checked(
    channel: Channel, vhost: str, name: Names, kind: str, key: str, value: Any, fault: str
) -> None:
    queue = name("q")
    text = f"invalid arg '{key}' for queue '{queue}' in vhost '{vhost}': {fault}"
    table = {"x-queue-type": kind, key: value}
    channel.refused(406, text, "queue.declare", queue=queue, durable=True, arguments=table)


@pytest.mark.parametrize(
    ("kind", "why"),
    [("nosuch", "\"unsupported queue type 'nosuch'\""), (5, "{unacceptable_type,signedint}")],
    ids=repr,
)
def test_unknown_queue_type_is_refused(channel: Channel, vhost: str, name: Names, kind: Any, why: str) -> None:
    queue = name("q")
    channel.refused(
        406,
        f"invalid arg 'x-queue-type' for queue '{queue}' in vhost '{vhost}': {why}",
        "queue.declare",
        queue=queue,
        durable=True,
        arguments={"x-queue-type": kind},
    )


@pytest.mark.parametrize("kind", ["quorum", "stream"])
@pytest.mark.parametrize(
    ("flags", "property_name"),
    [
        ({}, "non-durable"),
        ({"durable": True, "auto_delete": True}, "auto-delete"),
        ({"durable": True, "exclusive": True}, "exclusive-owner"),
    ],
    ids=["transient", "auto-delete", "exclusive"],
)
def test_replicated_queue_must_be_durable_and_shared(
    channel: Channel, vhost: str, name: Names, kind: str, flags: dict[str, bool], property_name: str
) -> None:
    queue = name("q")
    channel.refused(
        406,
        f"invalid property '{property_name}' for queue '{queue}' in vhost '{vhost}'",
        "queue.declare",
        queue=queue,
        arguments={"x-queue-type": kind},
        **flags,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-expires": 315360000000},
        {"x-message-ttl": 0},
        {"x-message-ttl": 315360000000},
        {"x-max-length": 0},
        {"x-max-length-bytes": 0},
        {"x-max-priority": 0},
        {"x-max-priority": 255},
        {"x-overflow": "drop-head"},
        {"x-overflow": "reject-publish"},
        {"x-overflow": "reject-publish-dlx"},
        {"x-dead-letter-exchange": ""},
        {"x-dead-letter-exchange": "later", "x-dead-letter-routing-key": "k"},
        {"x-single-active-consumer": False},
        {"x-queue-mode": "lazy"},
        {"x-queue-mode": "default"},
        {"x-queue-version": 1},
        {"x-queue-version": 2},
        {"x-queue-type": "classic"},
        pytest.param(
            {"x-queue-leader-locator": "client-local"},
            marks=differs(facts.LEADER_LOCATOR),
        ),
        {"x-foo": [1, {"a": None}]},
    ],
    ids=str,
)
def test_good_argument_is_accepted(channel: Channel, name: Names, arguments: dict[str, Any]) -> None:
    queue = declare(channel, name, arguments=arguments)
    channel.call("queue.declare", queue=queue, arguments=arguments)
