"""The operator's commands over policies, parameters and default queue types, on a core without a process."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.server.administration import execute
from amqpd.server.control import CommandRefused
from tests.support.linked import Linked


class Core:
    """A linked broker as commands see it."""

    live = None

    def __init__(self) -> None:
        self.linked = Linked()
        self.broker = self.linked.broker
        self.users = self.linked.users

    def do(self, command: str, **arguments: Any) -> Any:
        return execute(self, command, {"vhost": "/", **arguments})

    def refused(self, command: str, **arguments: Any) -> str:
        with pytest.raises(CommandRefused) as raised:
            self.do(command, **arguments)
        return str(raised.value)


def test_policies_are_set_listed_in_order_and_cleared() -> None:
    core = Core()
    core.do("policies set", name="low", pattern="^a", definition={"max-length": 1})
    core.do("policies set", name="high", pattern="^a", definition={"max-length": 2}, priority=7, apply_to="queues")
    core.do("policies set", name="op", pattern="", definition={"max-length": 3}, operator=True)
    assert [row["name"] for row in core.do("policies list")] == ["high", "low"]
    assert core.do("policies list", operator=True) == [
        {
            "vhost": "/",
            "name": "op",
            "pattern": "",
            "apply-to": "queues",
            "definition": {"max-length": 3},
            "priority": 0,
        }
    ]
    core.do("policies clear", name="high")
    core.do("policies clear", name="op", operator=True)
    assert [row["name"] for row in core.do("policies list", vhost=None)] == ["low"]
    assert core.refused("policies clear", name="high") == "policy 'high' does not exist in vhost '/'"
    assert core.refused("policies set", name="p", pattern="a", definition={"nope": 1}) == (
        '[{<<"nope">>,1}] are not recognised policy settings'
    )
    assert core.refused("policies list", vhost="elsewhere") == "vhost 'elsewhere' does not exist"


def test_a_policy_changes_a_queue_that_clients_use() -> None:
    core = Core()
    client = core.linked.client()
    client.call("queue.declare", queue="orders", durable=True)
    for number in range(5):
        client.publish("", "orders", b"%d" % number)
    core.do("policies set", name="short", pattern="^orders$", definition={"max-length": 2})
    core.linked.turn()
    assert client.call("queue.declare", queue="orders", durable=True)["message_count"] == 2
    core.do("policies set", name="short", pattern="^orders$", definition={"message-ttl": 100})
    client.publish("", "orders", b"brief")
    core.linked.advance(150)
    assert client.call("queue.declare", queue="orders", durable=True)["message_count"] == 2


def test_parameters_belong_to_a_component_of_a_vhost_or_are_global() -> None:
    core = Core()
    core.do("parameters set", component="shovel", name="s", value={"src": 1})
    core.do("parameters set", name="note", value=[1, "x"])
    assert core.do("parameters list") == [{"vhost": "/", "component": "shovel", "name": "s", "value": {"src": 1}}]
    assert core.do("parameters list", **{"global": True}) == [{"name": "note", "value": [1, "x"]}]
    assert core.refused("parameters set", component="nope", name="s", value=1) == "component nope not found"
    core.do("parameters clear", component="shovel", name="s")
    core.do("parameters clear", name="note")
    assert core.do("parameters list") == core.do("parameters list", **{"global": True}) == []
    assert "does not exist" in core.refused("parameters clear", name="note")


def test_a_stream_may_be_the_default_where_a_queue_can_be_one() -> None:
    core = Core()
    client = core.linked.client()
    queues = core.broker.vhosts["/"].queues
    core.do("vhosts default-queue-type", type="stream")
    client.call("queue.declare", queue="a", durable=True, arguments={"x-max-age": "1D"})
    client.call("queue.declare", queue="a", durable=True, arguments={"x-max-age": "1D", "x-queue-type": "stream"})
    client.call("queue.declare", queue="b", durable=False)
    assert (queues["a"].kind, queues["a"].arguments["x-queue-type"].value, queues["b"].kind) == (
        "stream",
        b"stream",
        "classic",
    )
    client.send("queue.declare", queue="c", durable=True, arguments={"x-message-ttl": 5})
    assert client.expect("channel.close").values["reply_text"] == (
        "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'c' in vhost '/' of queue type rabbit_stream_queue"
    )


def test_the_default_queue_type_is_that_of_the_vhost_then_of_the_configuration() -> None:
    core = Core()
    client = core.linked.client()
    queues = core.broker.vhosts["/"].queues
    core.do("vhosts default-queue-type", type="quorum")
    client.call("queue.declare", queue="a", durable=True)
    client.call("queue.declare", queue="a", durable=True)  # it is equivalent to what it was made
    client.call("queue.declare", queue="b", durable=True, auto_delete=True)
    client.call("queue.declare", queue="c", durable=True, exclusive=True)
    client.call("queue.declare", queue="d", durable=True, arguments={"x-queue-type": "classic"})
    assert {name: queue.kind for name, queue in queues.items()} == {
        "a": "quorum",
        "b": "classic",
        "c": "classic",
        "d": "classic",
    }
    client.call("queue.declare", queue="d", durable=True)  # its clients need not know that the default changed
    core.do("vhosts default-queue-type", type="")
    client.call("queue.declare", queue="e", durable=True)
    core.linked.environment.default_queue_type = "quorum"
    client.call("queue.declare", queue="f", durable=True)
    assert (queues["e"].kind, queues["f"].kind) == ("classic", "quorum")
    assert (
        core.refused("vhosts default-queue-type", type="nope") == "queue type 'nope' is none of classic, quorum, stream"
    )
