"""Fanout exchange: every binding, whatever its key."""

from __future__ import annotations

from amqpd.exchanges.fanout import FanoutExchange
from amqpd.wire.table import Field
from tests.exchanges.building import bind, destination, make, routed, unbind


def test_it_routes_to_every_binding() -> None:
    exchange = make(FanoutExchange)
    assert routed(exchange, "any") == set()
    first = bind(exchange, destination("a"), "key")
    second = bind(exchange, destination("b"))
    assert routed(exchange, "any") == {"a", "b"}
    assert routed(exchange, "") == {"a", "b"}
    unbind(exchange, first)
    assert routed(exchange, "key") == {"b"}
    unbind(exchange, second)
    assert routed(exchange, "key") == set()


def test_bindings_of_one_queue_are_told_apart_by_key_and_arguments() -> None:
    exchange = make(FanoutExchange)
    queue = destination("q")
    rows = [
        bind(exchange, queue, "a"),
        bind(exchange, queue, "b"),
        bind(exchange, queue, "a", {"n": Field("I", 1)}),
        bind(exchange, queue, "a", {"n": Field("l", 1)}),
    ]
    for binding in rows:
        assert routed(exchange) == {"q"}
        unbind(exchange, binding)
    assert routed(exchange) == set()


def test_the_answer_depends_on_the_key_only() -> None:
    assert make(FanoutExchange).key_only
