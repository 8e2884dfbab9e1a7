"""Headers exchange: against an oracle that looks at every binding."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqpd.broker.exchange import Binding
from amqpd.exchanges.headers import HeadersExchange
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.table import Field, Table, longstr
from tests.exchanges.building import bind, destination, header_with, make, routed, unbind

MODES = (None, "all", "any", "all-with-x", "any-with-x")
INTEGERS = "bBsuIilL"
NESTED = (
    Field("A", [Field("I", 1), longstr("a")]),
    Field("A", [Field("l", 1), longstr("a")]),
    Field("A", [Field("d", 1.0), longstr("a")]),
    Field("F", {"a": Field("I", 1), "b": Field("V", None)}),
    Field("F", {"b": Field("V", None), "a": Field("s", 1)}),
    Field("F", {"a": Field("I", 2)}),
)
VALUES = (
    *(Field(kind, 1) for kind in INTEGERS),
    Field("I", 2),
    Field("d", 1.0),
    Field("f", 1.0),
    Field("d", 2.5),
    Field("t", True),
    Field("t", False),
    Field("I", 0),
    longstr("1"),
    longstr("a"),
    longstr(""),
    Field("S", b"\xff"),
    Field("D", (0, 1)),
    Field("T", 1),
    Field("V", None),
    *NESTED,
)

names = st.sampled_from(("a", "b", "c", "x-a", "x-match-not", "x-"))
tables = st.dictionaries(names, st.sampled_from(VALUES), max_size=4)


@st.composite
def conditions(draw: st.DrawFn) -> Table:
    table = draw(tables)
    mode = draw(st.sampled_from(MODES))
    return table if mode is None else {**table, "x-match": longstr(mode)}


def equal(one: Field, other: Field) -> bool:
    """RabbitMQ 3.13: exact, integers of any width alike, nothing coerced."""
    if one.kind in INTEGERS and other.kind in INTEGERS:
        return one.value == other.value
    if one.kind in "fd" and other.kind in "fd":
        return one.value == other.value
    if one.kind != other.kind:
        return False
    if isinstance(one.value, list) and isinstance(other.value, list):
        return len(one.value) == len(other.value) and all(map(equal, one.value, other.value))
    if isinstance(one.value, dict) and isinstance(other.value, dict):
        left, right = one.value, other.value
        return left.keys() == right.keys() and all(equal(left[name], right[name]) for name in left)
    return one.value == other.value


def expected(arguments: Table, headers: Table) -> bool:
    mode = arguments["x-match"].value.decode() if "x-match" in arguments else "all"  # type: ignore[union-attr]
    wanted = {name: field for name, field in arguments.items() if name != "x-match"}
    if mode in ("all", "any"):
        wanted = {name: field for name, field in wanted.items() if not name.startswith("x-")}
    met = [name in headers and (field.kind == "V" or equal(field, headers[name])) for name, field in wanted.items()]
    return all(met) if mode.startswith("all") else any(met)


@settings(max_examples=400)
@given(st.lists(conditions(), max_size=10), st.lists(tables, min_size=1, max_size=4), st.data())
def test_it_agrees_with_looking_at_every_binding(
    bound: list[Table], messages: list[Table], data: st.DataObject
) -> None:
    exchange = HeadersExchange("/", "x", True, False, False, {})
    rows = {
        str(number): bind(exchange, destination(str(number)), "", arguments) for number, arguments in enumerate(bound)
    }
    for name in data.draw(st.permutations(list(rows))):
        for headers in messages:
            agreed = {number for number, row in rows.items() if expected(row.arguments, headers)}
            assert routed(exchange, "", header_with(headers)) == agreed
        unbind(exchange, rows.pop(name))
    assert (exchange.by_condition, exchange.others, exchange.places) == ({}, [], {})


@pytest.mark.parametrize(
    ("arguments", "headers", "matching"),
    [
        ({}, {}, True),
        ({"x-match": longstr("any")}, {"a": longstr("b")}, False),
        ({"a": Field("I", 1)}, {"a": Field("l", 1)}, True),
        ({"a": Field("I", 1)}, {"a": Field("d", 1.0)}, False),
        ({"a": Field("I", 1)}, {"a": longstr("1")}, False),
        ({"a": Field("I", 1)}, {"a": Field("t", True)}, False),
        ({"a": Field("V", None)}, {"a": longstr("anything")}, True),
        ({"a": Field("V", None)}, {"b": longstr("anything")}, False),
        ({"x-a": Field("I", 1)}, {}, True),
        ({"x-a": Field("I", 1), "x-match": longstr("all-with-x")}, {}, False),
        ({"x-a": Field("I", 1), "x-match": longstr("any")}, {"x-a": Field("I", 1)}, False),
        ({"x-a": Field("I", 1), "x-match": longstr("any-with-x")}, {"x-a": Field("I", 1)}, True),
    ],
)
def test_edges_seen_on_rabbitmq(arguments: Table, headers: Table, matching: bool) -> None:
    exchange = make(HeadersExchange)
    bind(exchange, destination("q"), "", arguments)
    assert (routed(exchange, "", header_with(headers)) == {"q"}) is matching
    assert expected(arguments, headers) is matching


def test_a_message_without_headers_meets_no_condition() -> None:
    exchange = make(HeadersExchange)
    bind(exchange, destination("all"), "", {"a": Field("I", 1)})
    bind(exchange, destination("any"), "", {"a": Field("I", 1), "x-match": longstr("any")})
    bind(exchange, destination("none"), "", {})
    assert routed(exchange) == {"none"}


def test_the_routing_key_does_not_matter() -> None:
    exchange = make(HeadersExchange)
    bind(exchange, destination("q"), "key", {"a": Field("I", 1)})
    assert routed(exchange, "another", header_with({"a": Field("I", 1)})) == {"q"}


@pytest.mark.parametrize("mode", ["some", "", "ALL", "all ", "any-with-y"])
def test_an_unknown_mode_is_refused(mode: str) -> None:
    with pytest.raises(PreconditionFailed) as raised:
        make(HeadersExchange).validate_binding("", {"x-match": longstr(mode)})
    assert raised.value.text == (
        f'Invalid x-match field value <<"{mode}">>; expected all, any, all-with-x, or any-with-x'
    )


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        (Field("I", 1), "signedint (value 1)"),
        (Field("t", True), "bool (value true)"),
        (Field("V", None), "void"),
    ],
)
def test_a_mode_that_is_no_text_is_refused(field: Field, shown: str) -> None:
    with pytest.raises(PreconditionFailed) as raised:
        make(HeadersExchange).validate_binding("", {"x-match": field})
    assert raised.value.text.startswith(f"Invalid x-match field type {shown}")


def test_known_modes_are_accepted() -> None:
    for mode in ("all", "any", "all-with-x", "any-with-x"):
        make(HeadersExchange).validate_binding("", {"x-match": longstr(mode), "a": Field("d", 1.5)})


def test_bindings_that_ask_for_another_value_are_not_looked_at() -> None:
    exchange = HeadersExchange("/", "x", True, False, False, {})
    for number in range(1000):
        bind(exchange, destination(str(number)), "", {"a": Field("I", number), "b": longstr("c")})
    assert len(exchange.by_condition) == 1000
    assert exchange.others == []
    header = header_with({"a": Field("I", 7), "b": longstr("c"), "d": Field("V", None)})
    assert routed(exchange, "", header) == {"7"}


def test_unbinding_touches_only_the_bindings_with_the_same_condition() -> None:
    exchange = HeadersExchange("/", "x", True, False, False, {})
    rows: list[Binding] = [
        bind(exchange, destination(str(number)), "", {"a": Field("I", number)}) for number in range(100)
    ]
    index = exchange.by_condition
    for number, row in enumerate(rows):
        unbind(exchange, row)
        assert exchange.by_condition is index
        assert len(index) == 99 - number


def test_the_answer_depends_on_more_than_the_key() -> None:
    assert not make(HeadersExchange).key_only


def test_a_float_that_is_no_number_is_equal_to_nothing_but_harms_nobody() -> None:
    (nan,) = struct.unpack(">d", bytes.fromhex("7ff8000000000000"))
    exchange = make(HeadersExchange)
    binding = bind(exchange, destination("q"), "", {"a": Field("d", nan)})
    bind(exchange, destination("other"), "", {"a": Field("V", None)})
    assert routed(exchange, "", header_with({"a": Field("d", nan)})) == {"other"}
    unbind(exchange, binding)
    assert routed(exchange, "", header_with({"a": Field("d", nan)})) == {"other"}
