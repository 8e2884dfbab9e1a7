"""The reader of AMQPLAIN responses, on good tables, cut ones and garbage."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.auth.amqplain import read_strings

WANTED = ("LOGIN", "PASSWORD")


def field(name: bytes, kind: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + kind + value


def longstr(name: bytes, text: bytes) -> bytes:
    return field(name, b"S", struct.pack(">I", len(text)) + text)


OTHER_FIELDS = [
    field(b"t", b"t", b"\x01"),
    field(b"b", b"b", b"\x01"),
    field(b"B", b"B", b"\x01"),
    field(b"s", b"s", bytes(2)),
    field(b"u", b"u", bytes(2)),
    field(b"I", b"I", bytes(4)),
    field(b"i", b"i", bytes(4)),
    field(b"l", b"l", bytes(8)),
    field(b"f", b"f", bytes(4)),
    field(b"d", b"d", bytes(8)),
    field(b"D", b"D", bytes(5)),
    field(b"T", b"T", bytes(8)),
    field(b"V", b"V", b""),
    field(b"x", b"x", struct.pack(">I", 3) + b"abc"),
    field(b"A", b"A", struct.pack(">I", 2) + b"t\x01"),
    field(b"F", b"F", struct.pack(">I", 10) + longstr(b"LOGIN", b"")[:10]),
    longstr(b"", b"no name"),
]


def test_two_strings_are_read() -> None:
    body = longstr(b"LOGIN", b"user") + longstr(b"PASSWORD", b"\0pass")
    assert read_strings(body, WANTED) == {"LOGIN": b"user", "PASSWORD": b"\0pass"}


@pytest.mark.parametrize("other", OTHER_FIELDS)
def test_other_fields_are_stepped_over(other: bytes) -> None:
    body = other + longstr(b"LOGIN", b"user") + other + longstr(b"PASSWORD", b"pass") + other
    assert read_strings(body, WANTED) == {"LOGIN": b"user", "PASSWORD": b"pass"}


def test_first_field_of_a_name_counts() -> None:
    body = longstr(b"LOGIN", b"first") + longstr(b"LOGIN", b"second")
    assert read_strings(body, WANTED) == {"LOGIN": b"first"}
    body = field(b"LOGIN", b"V", b"") + longstr(b"LOGIN", b"second")
    assert read_strings(body, WANTED) == {"LOGIN": None}


def test_empty_table_has_no_strings() -> None:
    assert read_strings(b"", WANTED) == {}


def test_table_cut_anywhere_within_a_field_is_refused() -> None:
    for last in OTHER_FIELDS:
        body = longstr(b"LOGIN", b"user") + last
        whole = len(longstr(b"LOGIN", b"user"))
        for end in range(whole + 1, len(body)):
            with pytest.raises(ValueError, match="field"):
                read_strings(body[:end], WANTED)


@pytest.mark.parametrize(
    "body",
    [
        b"\x01aq",
        b"\x01a\x00",
        b"\x01aS\xff\xff\xff\xffabc",
        b"\xff",
        struct.pack(">I", 5) + field(b"LOGIN", b"V", b""),
    ],
)
def test_unknown_type_wrong_length_and_length_prefix_are_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="field"):
        read_strings(body, WANTED)


@given(st.binary(max_size=200))
def test_garbage_gives_strings_of_itself_or_a_value_error(body: bytes) -> None:
    try:
        found = read_strings(body, WANTED)
    except ValueError:
        return
    for value in found.values():
        assert value is None or value in body


@given(st.data())
def test_damaged_table_gives_strings_or_a_value_error(data: st.DataObject) -> None:
    body = bytearray(longstr(b"LOGIN", b"user") + OTHER_FIELDS[13] + longstr(b"PASSWORD", b"pass"))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_strings(bytes(body), WANTED)
    except ValueError:
        return
    assert set(found) <= set(WANTED)


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=50)), max_size=8))
def test_any_strings_are_found_again(pairs: list[tuple[bytes, bytes]]) -> None:
    body = b"".join(longstr(name, text) for name, text in pairs)
    first = dict(reversed(pairs))
    wanted = tuple({name.decode() for name in first if name.isascii()})
    assert read_strings(body, wanted) == {name: first[name.encode()] for name in wanted}
