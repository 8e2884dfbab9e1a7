"""Values of events as typed fields; the texts were seen on RabbitMQ 3.10.8."""

from __future__ import annotations

import pytest

from amqpd.wire.table import Field, Table, decode_table, encode_table
from amqpd_event_exchange.fields import field_of, printed

INNER: Table = {"k": Field("d", 2.5)}


@pytest.mark.parametrize(
    ("name", "field", "text"),
    [
        ("é", Field("S", "ü".encode()), b'{<<"\xc3\xa9">>,longstr,<<"\xc3\xbc">>}'),
        ("bin", Field("x", b"\x00\xff"), b'{<<"bin">>,binary,<<0,255>>}'),
        ("esc", Field("S", b'a"b\\c\nd'), b'{<<"esc">>,longstr,<<"a\\"b\\\\c\\nd">>}'),
        ("es", Field("S", b""), b'{<<"es">>,longstr,<<>>}'),
        ("n", Field("V", None), b'{<<"n">>,void,undefined}'),
        ("t", Field("t", True), b'{<<"t">>,bool,true}'),
        ("I", Field("I", 5), b'{<<"I">>,signedint,5}'),
        ("b", Field("b", -3), b'{<<"b">>,byte,-3}'),
        ("B", Field("B", 200), b'{<<"B">>,unsignedbyte,200}'),
        ("s", Field("s", -300), b'{<<"s">>,short,-300}'),
        ("u", Field("u", 60000), b'{<<"u">>,unsignedshort,60000}'),
        ("i", Field("i", 4000000000), b'{<<"i">>,unsignedint,4000000000}'),
        ("l", Field("l", 1 << 40), b'{<<"l">>,long,1099511627776}'),
        ("L", Field("L", 1 << 40), b'{<<"L">>,long,1099511627776}'),
        ("f", Field("f", 0.5), b'{<<"f">>,float,0.5}'),
        ("d", Field("d", 0.1), b'{<<"d">>,double,0.1}'),
        ("D", Field("D", (2, 314)), b'{<<"D">>,decimal,{2,314}}'),
        ("T", Field("T", 1700000000), b'{<<"T">>,timestamp,1700000000}'),
        (
            "arr",
            Field("A", [Field("I", 1), Field("S", b"x"), Field("F", INNER)]),
            b'{<<"arr">>,array,[{signedint,1},{longstr,<<"x">>},{table,[{<<"k">>,double,2.5}]}]}',
        ),
        ("e", Field("A", []), b'{<<"e">>,array,[]}'),
        ("et", Field("F", {}), b'{<<"et">>,table,[]}'),
    ],
)
def test_a_field_of_a_client_is_shown_as_erlang_prints_it(name: str, field: Field, text: bytes) -> None:
    assert printed({name: field}) == Field("A", [Field("S", text)])


@pytest.mark.parametrize(("value", "text"), [(1e20, "1.0e20"), (1.5e-7, "1.5e-7"), (1e-5, "1.0e-5"), (-2.0, "-2.0")])
def test_a_float_has_a_point(value: float, text: str) -> None:
    shown = printed({"d": Field("d", value)})
    assert shown == Field("A", [Field("S", f'{{<<"d">>,double,{text}}}'.encode())])


def test_a_table_of_nothing_is_an_empty_list() -> None:
    assert printed({}) == Field("A", [])
    assert field_of({}, 0) == Field("F", {})


def test_whatever_json_holds_can_be_sent() -> None:
    value: object = "x"
    for _ in range(500):
        value = {"n" * 300: [value, 10**30, -(10**30), None]}
    table = {"value": field_of(value, 0)}
    assert decode_table(encode_table(table)) == table
