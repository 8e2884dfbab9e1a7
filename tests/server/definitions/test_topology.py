"""Exchanges, queues and bindings, taken in and shown."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.server.definitions.fields import NESTING_MAX
from interop.conformance.codec import Typed
from tests.server.definitions.support import ADDED, SAME, SKIPPED, export, into, refused, restarted
from tests.support.linked import Linked

QUEUE = {"name": "q", "vhost": "/", "durable": True, "auto_delete": False, "arguments": {"x-max-length": 5, "n": 1}}
EXCHANGE = {
    "name": "e",
    "vhost": "/",
    "type": "topic",
    "durable": True,
    "auto_delete": False,
    "internal": True,
    "arguments": {"alternate-exchange": "amq.fanout"},
}
BINDING = {
    "source": "e",
    "vhost": "/",
    "destination": "q",
    "destination_type": "queue",
    "routing_key": "a.#",
    "arguments": {"n": 1, "s": "x"},
}


@pytest.fixture
def linked() -> Linked:
    return Linked()


@pytest.fixture
def full(linked: Linked) -> Linked:
    for section, entry in (("exchanges", EXCHANGE), ("queues", QUEUE), ("bindings", BINDING)):
        into(linked, section, **entry)
    return linked


def test_each_is_taken_in_shown_and_kept(linked: Linked) -> None:
    for section, entry in (("exchanges", EXCHANGE), ("queues", QUEUE), ("bindings", BINDING)):
        assert into(linked, section, **entry) is ADDED
        assert into(linked, section, **entry) is SAME
    linked.commit()
    linked = restarted(linked)
    found = export(linked)
    assert (found["exchanges"], found["queues"], found["bindings"]) == ([EXCHANGE], [QUEUE], [BINDING])


def test_client_declares_again_what_it_declared_on_rabbitmq(full: Linked) -> None:
    """The export has lost the types of numbers; equivalence compares values."""
    client = full.client()
    client.call("queue.declare", queue="q", durable=True, arguments={"x-max-length": Typed("b", 5), "n": 1})
    client.call(
        "exchange.declare",
        exchange="e",
        type="topic",
        durable=True,
        internal=True,
        arguments={"alternate-exchange": "amq.fanout"},
    )


def test_imported_topology_routes(linked: Linked) -> None:
    into(linked, "exchanges", **EXCHANGE | {"internal": False})
    into(linked, "queues", **QUEUE)
    into(linked, "bindings", **BINDING)
    client = linked.client()
    client.publish("e", "a.b", b"body")
    client.publish("e", "b", b"no")
    client.send("basic.get", queue="q")
    assert client.expect("basic.get-ok").body == b"body"


def test_fields_may_be_left_out(linked: Linked) -> None:
    assert into(linked, "exchanges", name="e", vhost="/", type="fanout") is ADDED
    assert into(linked, "queues", name="q", vhost="/", arguments=[]) is ADDED
    assert into(linked, "bindings", source="e", vhost="/", destination="q") is ADDED
    (queue,) = export(linked)["queues"]
    assert (queue["durable"], queue["auto_delete"], queue["arguments"]) == (True, False, {})


def test_binding_that_differs_in_the_types_of_numbers_is_the_same(linked: Linked) -> None:
    into(linked, "exchanges", **EXCHANGE | {"internal": False})
    into(linked, "queues", **QUEUE)
    client = linked.client()
    client.call("queue.bind", queue="q", exchange="e", routing_key="a.#", arguments={"n": 1, "s": "x"})
    assert into(linked, "bindings", **BINDING) is SAME
    assert into(linked, "bindings", **BINDING | {"routing_key": "b"}) is ADDED
    assert into(linked, "bindings", **BINDING | {"arguments": {"n": 2}}) is ADDED
    assert into(linked, "bindings", **BINDING | {"source": "amq.topic"}) is ADDED
    assert len(export(linked)["bindings"]) == 4


def test_exclusive_queue_is_not_shown_nor_bound_nor_replaced(linked: Linked) -> None:
    client = linked.client()
    client.call("queue.declare", queue="mine", exclusive=True)
    client.call("queue.bind", queue="mine", exchange="amq.topic", routing_key="x")
    assert export(linked)["queues"] == export(linked)["bindings"] == []
    locked = "cannot obtain exclusive access to locked queue 'mine'"
    assert locked in refused(linked, "queues", QUEUE | {"name": "mine", "durable": False, "arguments": {}})
    assert locked in refused(linked, "bindings", BINDING | {"source": "amq.topic", "destination": "mine"})


def test_what_the_broker_names_is_neither_shown_nor_taken_in(linked: Linked) -> None:
    client = linked.client()
    own = client.call("queue.declare", queue="")["queue"]
    client.call("queue.bind", queue=own, exchange="amq.topic", routing_key="x")
    assert export(linked)["queues"] == export(linked)["exchanges"] == export(linked)["bindings"] == []
    assert into(linked, "queues", **QUEUE | {"name": own}) is SKIPPED
    assert into(linked, "queues", **QUEUE | {"name": "amq.gen-1"}) is SKIPPED
    assert into(linked, "exchanges", **EXCHANGE | {"name": "amq.topic"}) is SKIPPED
    assert into(linked, "exchanges", **EXCHANGE | {"name": ""}) is SKIPPED
    assert into(linked, "bindings", **BINDING | {"source": ""}) is SKIPPED
    assert into(linked, "bindings", **BINDING | {"destination": "amq.gen-1"}) is SKIPPED


def test_bindings_between_predeclared_exchanges_are_kept(linked: Linked) -> None:
    entry = BINDING | {"source": "amq.direct", "destination": "amq.fanout", "destination_type": "exchange"}
    assert into(linked, "bindings", **entry) is ADDED
    assert export(linked)["bindings"] == [entry]


INEQUIVALENT = "inequivalent arg '{}' for {} '{}' in vhost '/'"


@pytest.mark.parametrize(
    ("section", "entry", "reason"),
    [
        ("queues", QUEUE | {"durable": False}, INEQUIVALENT.format("durable", "queue", "q")),
        ("queues", QUEUE | {"auto_delete": True}, INEQUIVALENT.format("auto_delete", "queue", "q")),
        (
            "queues",
            QUEUE | {"arguments": {"x-max-length": 6}},
            INEQUIVALENT.format("x-max-length", "queue", "q") + ": received '6' but current is '5'",
        ),
        ("queues", QUEUE | {"name": "p", "arguments": {"x-max-length": -1}}, "{value_negative,-1}"),
        ("queues", QUEUE | {"name": "p", "arguments": {"x-max-length": "x"}}, "expected integer, got longstr"),
        ("queues", QUEUE | {"name": "p", "arguments": {"x-max-length": 1.5}}, "expected integer, got double"),
        ("queues", QUEUE | {"name": "p", "arguments": {"x-queue-type": "nope"}}, "unsupported queue type 'nope'"),
        ("queues", QUEUE | {"name": "p", "arguments": {"n": 2**64}}, "more than 64 bits"),
        ("queues", QUEUE | {"name": "p", "arguments": {"n": float("inf")}}, "number that is not finite"),
        ("queues", QUEUE | {"name": "p", "arguments": "x"}, "'arguments' must be an object"),
        ("queues", QUEUE | {"name": "p", "durable": "yes"}, "'durable' must be true or false"),
        ("queues", QUEUE | {"name": "ü" * 128}, "'name' is longer than 255 bytes"),
        ("queues", QUEUE | {"name": "p\ud800"}, "surrogate"),
        ("queues", QUEUE | {"name": "p", "arguments": {"a": ["\udcff"]}}, "surrogate"),
        ("queues", QUEUE | {"name": "p", "vhost": "nope"}, "vhost 'nope' does not exist"),
        ("queues", QUEUE | {"name": "p", "vhost": None}, "'vhost' is missing"),
        ("exchanges", EXCHANGE | {"type": "direct"}, INEQUIVALENT.format("type", "exchange", "e")),
        ("exchanges", EXCHANGE | {"internal": False}, INEQUIVALENT.format("internal", "exchange", "e")),
        ("exchanges", EXCHANGE | {"arguments": {}}, INEQUIVALENT.format("alternate-exchange", "exchange", "e")),
        ("exchanges", EXCHANGE | {"name": "f", "type": "x-nope"}, "unknown exchange type 'x-nope'"),
        ("exchanges", EXCHANGE | {"name": "f", "arguments": {"alternate-exchange": 5}}, "invalid type 'long'"),
        ("exchanges", EXCHANGE | {"name": None}, "'name' is missing"),
        ("bindings", BINDING | {"destination": "nope"}, "no queue 'nope' in vhost '/'"),
        ("bindings", BINDING | {"destination": "q", "destination_type": "exchange"}, "no exchange 'q' in vhost '/'"),
        ("bindings", BINDING | {"source": "nope"}, "no exchange 'nope' in vhost '/'"),
        ("bindings", BINDING | {"destination_type": "x"}, "'destination_type' must be queue or exchange"),
        ("bindings", BINDING | {"source": "amq.headers", "arguments": {"x-match": "some"}}, "x-match"),
        ("bindings", BINDING | {"routing_key": "x" * 256}, "longer than 255 bytes"),
    ],
)
def test_bad_entry_is_refused_with_the_reason_a_client_gets(
    full: Linked, section: str, entry: dict[str, Any], reason: str
) -> None:
    assert reason in refused(full, section, entry)


def test_what_is_nested_too_deeply_to_be_read_back_is_refused(linked: Linked) -> None:
    def nested(depth: int) -> Any:
        return {"x": nested(depth - 1)} if depth else 1

    assert "nested more than" in refused(linked, "queues", QUEUE | {"arguments": nested(NESTING_MAX)})
    assert "nested more than" in refused(linked, "global_parameters", {"name": "x", "value": nested(500)})
    into(linked, "queues", **QUEUE | {"arguments": nested(NESTING_MAX - 2)})
    linked.commit()
    assert export(restarted(linked))["queues"][0]["arguments"] == nested(NESTING_MAX - 2)


def test_classic_queue_says_so_where_another_type_is_the_default(linked: Linked) -> None:
    into(linked, "queues", **QUEUE)
    into(linked, "vhosts", name="/", default_queue_type="quorum")
    entry = QUEUE | {"arguments": {"x-max-length": 5, "n": 1, "x-queue-type": "classic"}}
    assert export(linked)["queues"] == [entry]
    assert into(linked, "queues", **entry) is SAME


def test_queue_that_does_not_say_its_type_gets_that_of_its_vhost(linked: Linked) -> None:
    """As for a client that declares it: it will find the queue it meant."""
    into(linked, "vhosts", name="/", default_queue_type="quorum")
    into(linked, "queues", name="q", vhost="/")
    into(linked, "queues", name="passing", vhost="/", durable=False)
    queues = linked.broker.vhosts["/"].queues
    assert (queues["q"].kind, queues["passing"].kind) == ("quorum", "classic")
    linked.client().call("queue.declare", queue="q", durable=True)
    assert [one["arguments"] for one in export(linked)["queues"]] == [{}, {"x-queue-type": "quorum"}]


STREAM = {
    "x-queue-type": "stream",
    "x-max-age": "7D",
    "x-max-length-bytes": 1000,
    "x-stream-max-segment-size-bytes": 500,
}


def test_stream_is_taken_in_shown_and_kept(linked: Linked) -> None:
    entry = QUEUE | {"arguments": STREAM}
    assert into(linked, "queues", **entry) is ADDED
    assert into(linked, "queues", **entry) is SAME
    assert "received '1D' but current is '7D'" in refused(
        linked, "queues", entry | {"arguments": STREAM | {"x-max-age": "1D"}}
    )
    linked.commit()
    linked = restarted(linked)
    assert export(linked)["queues"] == [entry]
    assert linked.broker.vhosts["/"].queues["q"].kind == "stream"
    linked.client().call("queue.declare", queue="q", durable=True, arguments=STREAM)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"durable": False}, "invalid property 'non-durable' for queue 'q' in vhost '/'"),
        ({"auto_delete": True}, "invalid property 'auto-delete' for queue 'q' in vhost '/'"),
        ({"arguments": STREAM | {"x-max-age": "7"}}, "invalid_max_age"),
        ({"arguments": STREAM | {"x-expires": 5}}, "of queue type rabbit_stream_queue"),
        ({"arguments": {"x-max-age": "7D"}}, "of queue type rabbit_classic_queue"),
        ({"arguments": STREAM | {"x-stream-max-segment-size-bytes": 3_000_000_001}}, "Exceeded max value for"),
    ],
    ids=str,
)
def test_what_no_stream_can_be_is_refused(linked: Linked, changes: dict[str, Any], reason: str) -> None:
    assert reason in refused(linked, "queues", QUEUE | {"arguments": STREAM} | changes)


def test_stream_by_default_says_so_and_comes_back_as_one(linked: Linked) -> None:
    into(linked, "vhosts", name="/", metadata={"default_queue_type": "stream"})
    into(linked, "queues", name="q", vhost="/", arguments={"x-max-age": "1D"})
    into(linked, "queues", name="c", vhost="/", arguments={"x-queue-type": "classic"})
    entries = {one["name"]: one["arguments"] for one in export(linked)["queues"]}
    assert entries == {"q": {"x-max-age": "1D", "x-queue-type": "stream"}, "c": {"x-queue-type": "classic"}}
    assert linked.broker.vhosts["/"].queues["q"].kind == "stream"


def test_import_is_not_held_back_by_the_limit_of_queues(linked: Linked) -> None:
    """As in RabbitMQ: what was exported can be restored."""
    linked.users.set_vhost_limit("/", "max-queues", 0)
    assert into(linked, "queues", **QUEUE) is ADDED
