"""Policies that come and go while clients use the queue they apply to."""

from __future__ import annotations

from typing import Any

import pytest

from amqpd.broker.policies import make_policy
from amqpd.broker.vhost import VHost
from tests.support.linked import Linked, LinkedClient

KINDS = pytest.mark.parametrize("kind", ["classic", "quorum"])


def vhost_of(linked: Linked) -> VHost:
    return linked.broker.vhosts["/"]


def put(linked: Linked, operator: bool = False, /, **definition: Any) -> None:
    """A policy for everything; keys with ``_`` for ``-``."""
    named = {key.replace("_", "-"): value for key, value in definition.items()}
    vhost_of(linked).put_policy(make_policy("p", "", named, 0, "queues" if operator else "all", operator), operator)
    linked.turn()


def drop(linked: Linked, operator: bool = False) -> None:
    vhost_of(linked).drop_policy("p", operator)
    linked.turn()


def declared(kind: str, *names: str, **arguments: Any) -> tuple[Linked, LinkedClient]:
    """A client in confirm mode, and durable queues of this type."""
    linked = Linked()
    client = linked.client()
    client.call("confirm.select")
    for name in names:
        client.call("queue.declare", queue=name, durable=True, arguments={"x-queue-type": kind, **arguments})
    return linked, client


def publish(linked: Linked, client: LinkedClient, *bodies: bytes, queue: str = "q") -> list[str]:
    """Publishes one by one; what the broker says to each."""
    said = []
    for body in bodies:
        client.publish("", queue, body)
        linked.settle()
        said += [came.name.removeprefix("basic.") for came in client.received()]
    return said


def ready(linked: Linked, queue: str = "q") -> int:
    linked.settle()
    return vhost_of(linked).queues[queue].message_count()


@KINDS
def test_an_overflow_comes_and_goes(kind: str) -> None:
    linked, client = declared(kind, "q")
    publish(linked, client, b"0", b"1", b"2")
    put(linked, max_length=2, overflow="reject-publish")
    assert ready(linked) == 3  # only drop-head drops what is there
    assert publish(linked, client, b"3") == ["nack"]
    put(linked, max_length=2)
    assert ready(linked) == 2
    assert publish(linked, client, b"4") == ["ack"]
    assert ready(linked) == 2
    drop(linked)
    assert publish(linked, client, b"5", b"6") == ["ack", "ack"]
    assert ready(linked) == 4


@KINDS
def test_a_ttl_holds_for_what_comes_while_it_does(kind: str) -> None:
    linked, client = declared(kind, "q")
    publish(linked, client, b"before")
    put(linked, message_ttl=100)
    publish(linked, client, b"while")
    drop(linked)
    publish(linked, client, b"after")
    assert ready(linked) == 3
    linked.advance(150)
    assert ready(linked) == 2
    linked.advance(10_000)
    assert ready(linked) == 2


@KINDS
def test_an_expiry_comes_and_goes(kind: str) -> None:
    linked, _ = declared(kind, "q", "kept")
    put(linked, expires=1000)
    linked.advance(500)
    drop(linked)
    linked.advance(5000)
    assert set(vhost_of(linked).queues) == {"q", "kept"}
    vhost_of(linked).put_policy(make_policy("p", "^q$", {"expires": 1000}, 0, "queues", True), True)
    linked.turn()
    linked.advance(1100)
    assert set(vhost_of(linked).queues) == {"kept"}


@KINDS
def test_dead_letters_go_where_the_policy_says_at_that_time(kind: str) -> None:
    linked, client = declared(kind, "q", "one", "two")
    publish(linked, client, b"0", b"1", b"2")
    client.call("basic.consume", queue="q", consumer_tag="t")
    assert client.bodies() == [b"0", b"1", b"2"]
    for tag, target in ((1, "one"), (2, "two"), (3, "")):
        if target:
            put(linked, dead_letter_exchange="", dead_letter_routing_key=target)
        else:
            drop(linked)
        client.send("basic.reject", delivery_tag=tag, requeue=False)
    assert (ready(linked, "one"), ready(linked, "two")) == (1, 1)
    assert ready(linked) == 0


@KINDS
def test_an_own_dead_letter_exchange_stays_under_a_policy(kind: str) -> None:
    own = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "one"}
    linked, client = declared(kind, "q", **own)
    for target in ("one", "two"):
        client.call("queue.declare", queue=target, durable=True)
    put(linked, dead_letter_exchange="", dead_letter_routing_key="two")
    publish(linked, client, b"0")
    client.send("basic.get", queue="q")
    client.expect("basic.get-ok")
    client.send("basic.reject", delivery_tag=1, requeue=False)
    assert (ready(linked, "one"), ready(linked, "two")) == (1, 0)


@pytest.mark.parametrize(("kind", "left"), [("classic", 2), ("quorum", 0)])
def test_a_delivery_limit_comes_when_a_message_was_returned_often(kind: str, left: int) -> None:
    """A classic queue counts only while there is a limit; a quorum queue has counted all the time."""
    linked, client = declared(kind, "q")
    put(linked, delivery_limit=-1)
    publish(linked, client, b"0")
    client.call("basic.consume", queue="q", consumer_tag="t")
    assert client.bodies() == [b"0"]
    for tag in range(1, 31):
        client.send("basic.reject", delivery_tag=tag, requeue=True)
        assert client.bodies() == [b"0"]
    put(linked, delivery_limit=2)
    for tag in range(31, 31 + left):
        client.send("basic.reject", delivery_tag=tag, requeue=True)
        assert client.bodies() == [b"0"]
    client.send("basic.reject", delivery_tag=31 + left, requeue=True)
    assert client.bodies() == []
    assert ready(linked) == 0


@KINDS
def test_a_retry_delay_comes_and_goes_and_what_waits_still_comes(kind: str) -> None:
    linked, client = declared(kind, "q")
    publish(linked, client, b"0")
    client.call("basic.consume", queue="q", consumer_tag="t")
    assert client.bodies() == [b"0"]
    put(linked, delayed_retry_type="all", delayed_retry_min=1000)
    client.send("basic.reject", delivery_tag=1, requeue=True)
    linked.settle()
    assert client.bodies() == []
    drop(linked)
    linked.advance(1500)
    linked.settle()
    assert client.bodies() == [b"0"]
    client.send("basic.reject", delivery_tag=2, requeue=True)
    linked.settle()
    assert client.bodies() == [b"0"]


def test_an_operator_policy_is_a_ceiling_that_falls_and_rises() -> None:
    linked, client = declared("classic", "q", **{"x-max-length": 6})
    publish(linked, client, *(b"%d" % number for number in range(8)))
    put(linked, True, max_length=4)
    assert ready(linked) == 4
    put(linked, max_length=2)
    assert ready(linked) == 2
    drop(linked)
    publish(linked, client, *(b"%d" % number for number in range(8)))
    assert ready(linked) == 4
    drop(linked, True)
    publish(linked, client, *(b"%d" % number for number in range(8)))
    assert ready(linked) == 6


def test_an_alternate_exchange_comes_and_goes_though_the_route_is_remembered() -> None:
    linked, client = declared("classic", "q")
    client.call("exchange.declare", exchange="spare", type="fanout")
    client.call("queue.bind", queue="q", exchange="spare")
    client.call("exchange.declare", exchange="e", type="direct")
    client.publish("e", "nowhere", b"x")
    assert ready(linked) == 0
    put(linked, alternate_exchange="spare")
    client.publish("e", "nowhere", b"x")
    assert ready(linked) == 1
    drop(linked)
    client.publish("e", "nowhere", b"x")
    assert ready(linked) == 1


@KINDS
def test_declaring_again_does_not_look_at_policies(kind: str) -> None:
    linked, client = declared(kind, "q")
    put(linked, max_length=5, message_ttl=100, dead_letter_exchange="x", delivery_limit=3)
    arguments = {"x-queue-type": kind}
    assert client.call("queue.declare", queue="q", durable=True, arguments=arguments)["queue"] == "q"
    client.send("queue.declare", queue="q", durable=True, arguments={**arguments, "x-max-length": 5})
    assert "inequivalent arg 'x-max-length'" in client.expect("channel.close").values["reply_text"]
