"""Direct exchange: the binding key equals the routing key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amqpd.exchanges.direct import DirectExchange
from tests.exchanges.building import bind, destination, make, routed, unbind

keys = st.sampled_from(("", "a", "A", "a.b", "*", "#", "grün"))
bindings = st.lists(st.tuples(keys, st.integers(0, 4)), unique=True, max_size=15)


@given(bindings, keys, st.data())
def test_it_routes_to_the_bindings_with_the_same_key(
    rows: list[tuple[str, int]], key: str, data: st.DataObject
) -> None:
    exchange = make(DirectExchange)
    queues = [destination(str(number)) for number in range(5)]
    bound = {row: bind(exchange, queues[row[1]], row[0]) for row in rows}
    for row in data.draw(st.permutations(rows)):
        assert routed(exchange, key) == {str(number) for bound_key, number in bound if bound_key == key}
        unbind(exchange, bound.pop(row))
    assert routed(exchange, key) == set()


def test_nothing_is_left_of_a_key_without_bindings() -> None:
    exchange = DirectExchange("/", "x", True, False, False, {})
    one, other = (bind(exchange, destination(name), "key") for name in "ab")
    unbind(exchange, one)
    assert routed(exchange, "key") == {"b"}
    unbind(exchange, other)
    assert exchange.by_key == {}


def test_the_answer_depends_on_the_key_only() -> None:
    assert make(DirectExchange).key_only
