"""Field tables, properties and frames as Hypothesis makes them."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from amqpd.wire.table import Field, Table

# RabbitMQ passes on names that are not UTF-8.
names = st.text(max_size=40) | st.binary(max_size=40).map(lambda name: name.decode("utf-8", "surrogateescape"))


def integers(kind: str, bits: int, signed: bool) -> st.SearchStrategy[Field]:
    low = -(1 << (bits - 1)) if signed else 0
    high = (1 << (bits - 1 if signed else bits)) - 1
    edges = st.sampled_from((low, low + 1, 0, 1, high - 1, high))
    return (edges | st.integers(low, high)).map(lambda value: Field(kind, value))


def doubles() -> st.SearchStrategy[Field]:
    """Every pattern of 64 bits, NaNs with payloads and infinities among them."""
    edges = st.sampled_from((0x7FF0000000000000, 0xFFF0000000000000, 0x7FF8000000000001, 0x8000000000000000))
    bits = edges | st.integers(0, (1 << 64) - 1)
    return bits.map(lambda value: Field("d", struct.unpack(">d", value.to_bytes(8))[0]))


def singles() -> st.SearchStrategy[Field]:
    return st.floats(width=32).map(lambda value: Field("f", value))


scalars: st.SearchStrategy[Field] = st.one_of(
    integers("b", 8, True),
    integers("B", 8, False),
    integers("s", 16, True),
    integers("u", 16, False),
    integers("I", 32, True),
    integers("i", 32, False),
    integers("l", 64, True),
    integers("L", 64, True),
    integers("T", 64, False),  # most of them lie beyond the year 9999
    doubles(),
    singles(),
    st.tuples(st.integers(0, 255), st.integers(-(1 << 31), (1 << 31) - 1)).map(lambda pair: Field("D", pair)),
    st.booleans().map(lambda value: Field("t", value)),
    st.just(Field("V", None)),
    st.binary(max_size=60).map(lambda value: Field("S", value)),  # a longstr need not be UTF-8
    st.binary(max_size=60).map(lambda value: Field("x", value)),
)


def _nested(children: st.SearchStrategy[Field]) -> st.SearchStrategy[Field]:
    arrays = st.lists(children, max_size=5).map(lambda items: Field("A", items))
    tables = st.dictionaries(names, children, max_size=5).map(lambda table: Field("F", table))
    return arrays | tables


fields: st.SearchStrategy[Field] = st.recursive(scalars, _nested, max_leaves=12)
tables: st.SearchStrategy[Table] = st.dictionaries(names, fields, max_size=6)


def same(one: Field, other: Field) -> bool:
    """Equal in type and value; floats by their octets, so that a NaN is itself and 0.0 is not -0.0."""
    if one.kind != other.kind or type(one.value) is not type(other.value):
        return False
    if isinstance(one.value, float) and isinstance(other.value, float):
        return struct.pack(">d", one.value) == struct.pack(">d", other.value)
    if isinstance(one.value, list) and isinstance(other.value, list):
        return len(one.value) == len(other.value) and all(map(same, one.value, other.value))
    if isinstance(one.value, dict) and isinstance(other.value, dict):
        return same_table(one.value, other.value)
    return one.value == other.value


def same_table(one: Table, other: Table) -> bool:
    """Equal, in the same order."""
    return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
