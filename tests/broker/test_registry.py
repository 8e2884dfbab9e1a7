"""Names are given once, and it is known who registered what."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from amqpd.broker.exchange import Exchange
from amqpd.broker.queue import Queue
from amqpd.broker.registry import BUILTIN, Registry
from amqpd.broker.shard import Shard
from amqpd.exchanges.fanout import FanoutExchange
from amqpd.wire.table import Table


def queue(
    shard: Shard, vhost: str, name: str, durable: bool, auto_delete: bool, owner: object, arguments: Table
) -> Queue:
    raise NotImplementedError


def feature_of(module: str) -> Callable[[Queue], None]:
    def attach(queue: Queue) -> None: ...

    attach.__module__ = module
    return attach


@pytest.mark.parametrize(
    ("register", "said"),
    [
        (lambda registry: registry.exchange_type("x", FanoutExchange), "exchange type 'x'"),
        (lambda registry: registry.queue_type("x", queue), "queue type 'x'"),
        (lambda registry: registry.queue_type("x", queue, internal=True), "queue type 'x'"),
        (lambda registry: registry.command("x", lambda broker, arguments: None), "command 'x'"),
        (lambda registry: registry.system_exchange("/", "x", "topic"), "exchange 'x'"),
    ],
)
def test_a_name_is_given_once(register: Callable[[Registry], None], said: str) -> None:
    registry = Registry()
    with registry.by("first"):
        register(registry)
    with registry.by("second"), pytest.raises(ValueError, match=f"^{said} is registered already, by plugin 'first'$"):
        register(registry)
    assert registry.owned("second") == []


def test_kinds_have_names_of_their_own() -> None:
    registry = Registry()
    registry.exchange_type("x", FanoutExchange)
    registry.queue_type("x", queue)
    registry.command("x", lambda broker, arguments: None)
    assert registry.owned(BUILTIN) == ["exchange type x", "queue type x", "command x"]


def test_a_refused_name_stays_with_who_had_it() -> None:
    registry = Registry()
    registry.exchange_type("x", FanoutExchange)

    def other(vhost: str, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table) -> Exchange:
        raise NotImplementedError

    with registry.by("second"), pytest.raises(ValueError, match="by amqpd itself"):
        registry.exchange_type("x", other)
    assert registry.exchange_types["x"] is FanoutExchange


def test_a_queue_type_that_no_client_can_declare_is_told_apart() -> None:
    registry = Registry()
    with registry.by("keeper"):
        registry.queue_type("x-kept", queue, internal=True)
        registry.queue_type("x-open", queue)
    assert registry.owned("keeper") == ["internal queue type x-kept", "queue type x-open"]


def test_features_from_modules_of_the_same_name_are_all_told() -> None:
    registry = Registry()
    for plugin in ("a", "b"):
        with registry.by(plugin):
            registry.queue_feature(feature_of(f"amqpd_{plugin}.feature"))
    assert registry.owned("a") == ["queue feature feature"]
    assert registry.owned("b") == ["queue feature amqpd_b.feature"]
    assert len(registry.queue_features) == 2
