"""The router: every exchange once, every queue once, and relief where nothing matched."""

from __future__ import annotations

from amqpd.broker.exchange import Exchange
from amqpd.broker.message import Address
from amqpd.broker.router import Route
from amqpd.wire.table import longstr
from tests.queues.building import Bench, message


def exchange(bench: Bench, name: str, kind: str = "fanout", relief: str = "") -> Exchange:
    arguments = {"alternate-exchange": longstr(relief)} if relief else {}
    return bench.vhost.declare_exchange(name, kind, True, False, False, arguments)


def routed(bench: Bench, name: str, *keys: str) -> tuple[list[str], bool]:
    """Names of the queues, and whether the answer may be remembered."""
    route = Route(Address(name, keys[0], b""), bench.vhost.exchanges[name], False)
    queues = bench.broker.router.route(bench.vhost, route, list(keys), message().header)
    return [queue.name for queue in queues], route.cacheable


def test_the_default_exchange_routes_by_queue_name() -> None:
    bench = Bench()
    bench.queue("a")
    assert routed(bench, "", "a") == (["a"], True)
    assert routed(bench, "", "b") == ([], True)


def test_a_queue_reached_on_several_ways_gets_the_message_once() -> None:
    bench = Bench()
    source, other, queue = exchange(bench, "x"), exchange(bench, "y"), bench.queue("a")
    for key in ("1", "2"):
        bench.vhost.bind(source, queue, key, {})
    bench.vhost.bind(source, other, "", {})
    bench.vhost.bind(other, queue, "", {})
    assert routed(bench, "x", "key")[0] == ["a"]
    assert routed(bench, "", "a", "a")[0] == ["a"]


def test_a_circle_of_exchanges_ends() -> None:
    bench = Bench()
    ring = [exchange(bench, name) for name in "xyz"]
    for number, source in enumerate(ring):
        bench.vhost.bind(source, ring[(number + 1) % 3], "", {})
        bench.vhost.bind(source, bench.queue(f"q{number}"), "", {})
    bench.vhost.bind(ring[0], ring[0], "", {})
    assert sorted(routed(bench, "y", "key")[0]) == ["q0", "q1", "q2"]


def test_further_keys_count_at_every_exchange() -> None:
    bench = Bench()
    source, behind = exchange(bench, "x", "direct"), exchange(bench, "y", "direct")
    bench.vhost.bind(source, behind, "a", {})
    bench.vhost.bind(behind, bench.queue("q"), "b", {})
    assert routed(bench, "x", "a")[0] == []
    assert routed(bench, "x", "a", "b")[0] == ["q"]


def test_what_matched_nothing_goes_to_the_alternate_exchange() -> None:
    bench = Bench()
    source = exchange(bench, "x", "direct", relief="relief")
    bench.vhost.bind(source, bench.queue("q"), "a", {})
    bench.vhost.bind(exchange(bench, "relief"), bench.queue("rest"), "", {})
    assert routed(bench, "x", "a")[0] == ["q"]
    assert routed(bench, "x", "b")[0] == ["rest"]


def test_alternate_exchanges_that_point_at_each_other_end() -> None:
    bench = Bench()
    exchange(bench, "x", "direct", relief="y")
    exchange(bench, "y", "direct", relief="x")
    assert routed(bench, "x", "a")[0] == []


def test_an_alternate_exchange_that_is_not_there_is_no_error() -> None:
    bench = Bench()
    exchange(bench, "x", "direct", relief="missing")
    assert routed(bench, "x", "a")[0] == []


def test_a_route_past_a_headers_exchange_is_not_remembered() -> None:
    bench = Bench()
    source, behind = exchange(bench, "x"), exchange(bench, "h", "headers")
    bench.vhost.bind(source, behind, "", {})
    assert routed(bench, "x", "key")[1] is False
    assert routed(bench, "amq.direct", "key")[1] is True
