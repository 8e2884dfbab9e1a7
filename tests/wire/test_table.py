"""Field tables: types and values survive exactly, and malformed octets raise TableError and nothing else."""

from __future__ import annotations

import contextlib
import struct
from datetime import UTC, datetime
from decimal import Decimal

import pamqp.decode
import pamqp.encode
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from amqpd.wire.table import (
    NESTING_MAX,
    Field,
    Table,
    TableError,
    boolean,
    decode_field,
    decode_table,
    encode_field,
    encode_table,
    longstr,
    plain,
)
from tests.wire.strategies import fields, same, same_table, scalars, tables


@given(tables)
def test_a_table_survives_with_its_types_and_order(table: Table) -> None:
    octets = encode_table(table)
    decoded = decode_table(octets)
    assert same_table(table, decoded)
    assert encode_table(decoded) == octets


@given(fields, st.binary(max_size=5), st.binary(max_size=5))
def test_one_field_is_decoded_where_it_lies(field: Field, before: bytes, behind: bytes) -> None:
    octets = encode_field(field)
    assert same(decode_field(before + octets + behind, len(before)), field)
    with pytest.raises(TableError):
        decode_field(before + octets[:-1] if len(octets) > 1 else before, len(before))


@given(st.integers(0, (1 << 32) - 1))
def test_every_single_float_keeps_its_octets(bits: int) -> None:
    octets = b"\x01kf" + bits.to_bytes(4)
    assert encode_table(decode_table(octets)) == octets


@pytest.mark.parametrize("bits", [0x7F800001, 0xFF800001, 0x7FC00000, 0x7F800000, 0xFF800000, 0x80000000])
def test_signalling_nans_and_infinities_keep_their_octets(bits: int) -> None:
    octets = b"\x01kf" + bits.to_bytes(4)
    assert encode_table(decode_table(octets)) == octets


def test_a_nan_with_nothing_in_its_upper_half_does_not_become_an_infinity() -> None:
    (nan,) = struct.unpack(">d", bytes.fromhex("7ff0000000000001"))
    assert encode_field(Field("f", nan)) == b"f" + bytes.fromhex("7fc00000")


@given(tables.filter(bool))
def test_a_table_cut_short_anywhere_is_malformed_or_a_shorter_table(table: Table) -> None:
    octets = encode_table(table)
    ends = {len(encode_table(dict(list(table.items())[:count]))) for count in range(len(table) + 1)}
    for end in range(len(octets)):
        if end in ends:
            assert len(decode_table(octets[:end])) < len(table)
        else:
            with pytest.raises(TableError):
                decode_table(octets[:end])


@given(st.binary(max_size=300))
def test_garbage_raises_table_error_and_nothing_else(garbage: bytes) -> None:
    try:
        decoded = decode_table(garbage)
    except TableError:
        return
    assert same_table(decoded, decode_table(encode_table(decoded)))


@given(tables.filter(bool), st.data())
def test_a_flipped_octet_raises_table_error_and_nothing_else(table: Table, data: st.DataObject) -> None:
    octets = bytearray(encode_table(table))
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(TableError):
        decode_table(bytes(octets))


def test_an_unknown_type_is_malformed() -> None:
    for octet in range(256):
        if chr(octet) not in "StbBsuIidflLDFAxTV":
            with pytest.raises(TableError, match="unknown field type"):
                decode_table(b"\x01k" + bytes((octet,)) + bytes(16))


def nested(kind: bytes, depth: int) -> bytes:
    octets = b""
    for _ in range(depth):
        name = b"\x01k" if kind == b"F" else b""
        octets = name + kind + struct.pack(">I", len(octets)) + octets
    return octets if kind == b"F" else b"\x01k" + octets


@pytest.mark.parametrize("kind", [b"F", b"A"])
def test_tables_and_arrays_nest_to_a_limit(kind: bytes) -> None:
    decode_table(nested(kind, NESTING_MAX))
    with pytest.raises(TableError, match="nested too deeply"):
        decode_table(nested(kind, NESTING_MAX + 1))
    with pytest.raises(TableError, match="nested too deeply"):
        decode_table(nested(kind, 5000))


def test_a_value_may_not_reach_out_of_its_table() -> None:
    inner = b"\x01kl\x00\x00"  # says eight octets, brings two
    octets = b"\x01tF" + struct.pack(">I", len(inner)) + inner + b"\x01nI\x00\x00\x00\x01"
    with pytest.raises(TableError):
        decode_table(octets)
    array = b"S\x00\x00\x00\x09abc"
    octets = b"\x01tA" + struct.pack(">I", len(array)) + array + b"\x01nI\x00\x00\x00\x01"
    with pytest.raises(TableError):
        decode_table(octets)


# pamqp as the oracle, for the values it can hold (traps T2 and T3).

FROM_PAMQP: dict[str, SearchStrategy[object]] = {
    "bool": st.booleans(),
    "text": st.text(max_size=50),
    "integer": st.integers(-(1 << 63), (1 << 63) - 1),
    "time": st.integers(0, 253402300799).map(lambda value: datetime.fromtimestamp(value, UTC)),
    "void": st.none(),
    "array": st.lists(st.booleans() | st.text(max_size=9) | st.none(), max_size=5),
    "table": st.dictionaries(st.text("abc", min_size=1, max_size=9), st.booleans(), max_size=4),
}


@given(st.dictionaries(st.text("abcxyz-", min_size=1, max_size=20), st.one_of(*FROM_PAMQP.values()), max_size=6))
def test_what_pamqp_encodes_is_read_with_the_same_values(values: dict[str, object]) -> None:
    octets = pamqp.encode.field_table(values)  # type: ignore[arg-type]
    decoded = decode_table(octets[4:])
    assert {name: as_pamqp(field) for name, field in decoded.items()} == values
    assert encode_table(decoded) == octets[4:]


def as_pamqp(field: Field) -> object:
    if field.kind == "T":
        assert isinstance(field.value, int)
        return datetime.fromtimestamp(field.value, UTC)
    if isinstance(field.value, list):
        return [as_pamqp(item) for item in field.value]
    if isinstance(field.value, dict):
        return {name: as_pamqp(item) for name, item in field.value.items()}
    return plain(field)


# Octets that pamqp reads as RabbitMQ does: no binary, no "L", and no timestamp of more than 32 bits (it takes
# those for milliseconds).
READ_BY_PAMQP = scalars.filter(
    lambda field: (
        field.kind in "bBsuIilSt" or (field.kind == "T" and isinstance(field.value, int) and field.value < 1 << 32)
    )
)


@given(READ_BY_PAMQP)
def test_what_is_encoded_is_read_by_pamqp(field: Field) -> None:
    octets = encode_table({"k": field})
    taken, values = pamqp.decode.field_table(struct.pack(">I", len(octets)) + octets)
    assert taken == len(octets) + 4
    value = values["k"]
    if isinstance(value, str):
        assert value.encode() == field.value
    else:
        assert value == as_pamqp(field) or value == field.value


def test_a_decimal_is_read_by_pamqp() -> None:
    octets = encode_table({"k": Field("D", (2, 12345))})
    _, values = pamqp.decode.field_table(struct.pack(">I", len(octets)) + octets)
    assert values["k"] == Decimal("123.45")


# Helpers.


@given(fields)
def test_a_plain_value_holds_no_fields(field: Field) -> None:
    def check(value: object) -> None:
        assert not isinstance(value, Field)
        if isinstance(value, list):
            for item in value:
                check(item)
        elif isinstance(value, dict):
            for name, item in value.items():
                name.encode()  # fails on a surrogate
                check(item)

    check(plain(field))


def test_a_name_that_is_not_utf8_survives() -> None:
    octets = b"\x02k\xfft\x01"
    table = decode_table(octets)
    assert encode_table(table) == octets
    assert plain(Field("F", table)) == {"k\ufffd": True}


def test_plain_values() -> None:
    assert plain(longstr("grün")) == "grün"
    assert plain(Field("S", b"\xff")) == b"\xff"
    assert plain(Field("x", b"abc")) == b"abc"
    assert plain(boolean(True)) is True
    assert plain(Field("D", (2, 150))) == 1.5
    assert plain(Field("A", [longstr("a"), Field("V", None)])) == ["a", None]
    assert plain(Field("F", {"a": Field("I", 1)})) == {"a": 1}


def test_fields_made_here_survive() -> None:
    for field in (longstr("x"), boolean(False)):
        assert same(decode_table(encode_table({"k": field}))["k"], field)
