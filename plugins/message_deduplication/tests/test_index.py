"""The table of keys, and what makes two values the same."""

from __future__ import annotations

import struct
import sys
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqpd.wire.content import ContentHeader, header_from_properties
from amqpd.wire.table import Field, Table, encode_table, longstr
from amqpd_message_deduplication.index import Index
from amqpd_message_deduplication.keys import key_of, own_ttl


def digest(number: int) -> bytes:
    return blake2b(b"%d" % number, digest_size=16).digest()


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(-5, 5)), max_size=600))
@settings(max_examples=50, deadline=None)
def test_an_index_is_a_dict(steps: list[tuple[int, int]]) -> None:
    index, model = Index(), dict[bytes, int]()
    for name, number in steps:
        key = digest(name)
        if number < 0:
            index.discard(key)
            model.pop(key, None)
        else:
            index.put(key, number)
            model[key] = number
        assert index.count == len(model)
    for name in range(301):
        assert index.get(digest(name)) == model.get(digest(name))


def test_a_large_index_grows_and_shrinks() -> None:
    index = Index()
    for number in range(20_000):
        index.put(digest(number), number)
    assert [index.get(digest(number)) for number in range(20_000)] == list(range(20_000))
    for number in range(0, 20_000, 2):
        index.discard(digest(number))
    assert index.count == 10_000
    assert [index.get(digest(number)) for number in range(6)] == [None, 1, None, 3, None, 5]
    index.clear()
    assert index.count == 0
    assert index.get(digest(1)) is None


@pytest.mark.parametrize("count", [0, 1, 64, 65, 1000, 8192, 10_000])
def test_an_index_that_is_filled_goes_on_like_any_other(count: int) -> None:
    index = Index()
    index.fill([(number, digest(number)) for number in range(count)])
    for number in range(count, 2 * count + 100):
        index.put(digest(number), number)
    assert index.count == 2 * count + 100
    assert all(index.get(digest(number)) == number for number in range(2 * count + 100))
    for number in range(0, count, 3):
        index.discard(digest(number))
    assert [number for number in range(count) if index.get(digest(number)) is None] == list(range(0, count, 3))


def test_a_match_across_two_keys_is_none() -> None:
    index = Index()
    index.put(bytes(8) + b"A" * 8, 1)
    index.put(b"A" * 8 + bytes(8), 2)
    assert index.get(bytes(16)) is None
    index.put(bytes(16), 3)
    assert [index.get(key) for key in (bytes(8) + b"A" * 8, b"A" * 8 + bytes(8), bytes(16))] == [1, 2, 3]


def test_a_key_takes_few_octets() -> None:
    index = Index()
    for number in range(50_000):
        index.put(digest(number), number)
    octets = sum(sys.getsizeof(part) for parts in (index._keys, index._numbers) for part in parts)
    assert octets / index.count < 40


# Keys


def headers(table: Table) -> ContentHeader:
    octets = encode_table(table)
    return header_from_properties(struct.pack(">HI", 0x2000, len(octets)) + octets, 0)


def key(field: Field) -> bytes | None:
    return key_of(headers({"x-deduplication-header": field}))


SAME = [
    [
        Field("b", 5),
        Field("B", 5),
        Field("s", 5),
        Field("u", 5),
        Field("I", 5),
        Field("i", 5),
        Field("l", 5),
        Field("T", 5),
    ],
    [Field("f", 0.5), Field("d", 0.5)],
    [Field("S", b"5"), Field("x", b"5")],
    [Field("t", True)],
    [Field("t", False)],
    [Field("V", None)],
    [Field("D", (1, 5))],
    [Field("D", (0, 5))],
    [Field("d", 5.0)],
    [Field("S", b"")],
    [Field("A", [])],
    [Field("A", [Field("S", b"a"), Field("S", b"b")])],
    [Field("A", [Field("S", b"ab")])],
    [Field("A", [Field("A", [Field("S", b"a")]), Field("S", b"b")])],
    [Field("F", {})],
    [
        Field("F", {"a": Field("I", 1), "b": Field("I", 2)}),
        Field("F", {"b": Field("l", 2), "a": Field("b", 1)}),
    ],
    [Field("F", {"a": Field("I", 2), "b": Field("I", 1)})],
]


def test_equal_values_are_equal_and_others_are_not() -> None:
    keys = [{key(field) for field in fields} for fields in SAME]
    assert all(len(same) == 1 for same in keys)
    assert len(set().union(*keys)) == len(SAME)


def test_a_message_without_the_header_has_no_key() -> None:
    assert key_of(header_from_properties(b"\0\0", 0)) is None
    assert key_of(headers({"other": longstr("x-deduplication-header")})) is None
    assert key_of(headers({"x-deduplication-header2": longstr("a")})) is None


@pytest.mark.parametrize(
    ("field", "ttl"),
    [
        (Field("I", 500), 500),
        (Field("S", b"500"), 500),
        (Field("S", b"-1"), -1),
        (Field("S", b"soon"), None),
        (Field("S", b"9" * 5000), None),
        (Field("d", 5.0), None),
        (Field("t", True), None),
        (Field("V", None), None),
    ],
)
def test_a_message_may_have_a_time_to_live_of_its_own(field: Field, ttl: int | None) -> None:
    assert own_ttl(headers({"x-cache-ttl": field})) == ttl
    assert own_ttl(headers({"other": field})) is None
