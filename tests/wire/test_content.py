"""Content headers: read where they lie, passed on untouched, and changed in just the one property."""

from __future__ import annotations

import struct

import pamqp.header
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqpd.spec import constants
from amqpd.spec.errors import FrameError
from amqpd.wire.content import (
    ContentHeader,
    header_from_properties,
    property_offset,
    spans,
    with_encoded_headers,
    with_headers,
    with_reply_to,
    without_expiration,
)
from amqpd.wire.table import Field, Table, TableError, decode_table, encode_field, encode_table, longstr
from tests.wire.strategies import fields, same_table, tables

TABLE: Table = {"a": Field("l", 1), "raw": Field("S", b"\xff\xfe"), "far": Field("T", 1 << 60)}

# Flag and octets of each property, in the order of the wire; the texts are told apart by their first letter.
PROPERTIES: list[tuple[int, bytes]] = [
    (constants.FLAG_CONTENT_TYPE, b"\x05ctype"),
    (constants.FLAG_CONTENT_ENCODING, b"\x00"),
    (constants.FLAG_HEADERS, struct.pack(">I", len(encode_table(TABLE))) + encode_table(TABLE)),
    (constants.FLAG_DELIVERY_MODE, b"\x02"),
    (constants.FLAG_PRIORITY, b"\x07"),
    (constants.FLAG_CORRELATION_ID, b"\x04corr"),
    (constants.FLAG_REPLY_TO, b"\x05reply"),
    (constants.FLAG_EXPIRATION, b"\x041000"),
    (constants.FLAG_MESSAGE_ID, b"\x02id"),
    (constants.FLAG_TIMESTAMP, b"\xff" * 8),
    (constants.FLAG_TYPE, b"\x04type"),
    (constants.FLAG_USER_ID, b"\x05guest"),
    (constants.FLAG_APP_ID, b"\x03app"),
    (constants.FLAG_CLUSTER_ID, b"\x07cluster"),
]
ALL_FLAGS = [number << 2 for number in range(1 << len(PROPERTIES))]


def payload(flags: int, body_size: int = 5) -> bytes:
    present = b"".join(octets for flag, octets in PROPERTIES if flags & flag)
    return struct.pack(">HHQH", 60, 0, body_size, flags) + present


def test_the_flags_are_fourteen() -> None:
    assert sum(flag for flag, _ in PROPERTIES) == 0xFFFC
    assert len(ALL_FLAGS) == 16384


def test_every_combination_of_properties_is_read() -> None:
    for flags in ALL_FLAGS:
        octets = payload(flags)
        header = ContentHeader(octets)
        assert header.payload == octets
        assert header.properties == octets[12:]
        assert header.body_size == 5
        assert header.persistent == bool(flags & constants.FLAG_DELIVERY_MODE)
        assert header.priority == (7 if flags & constants.FLAG_PRIORITY else -1)
        assert header.reply_to == (b"reply" if flags & constants.FLAG_REPLY_TO else None)
        assert header.expiration == (b"1000" if flags & constants.FLAG_EXPIRATION else None)
        assert header.user_id == (b"guest" if flags & constants.FLAG_USER_ID else None)
        assert header.headers == (encode_table(TABLE) if flags & constants.FLAG_HEADERS else None)
        concerned = (
            constants.FLAG_HEADERS | constants.FLAG_REPLY_TO | constants.FLAG_EXPIRATION | constants.FLAG_USER_ID
        )
        assert header.checked == bool(flags & concerned)


def test_replacing_one_property_keeps_every_other_octet() -> None:
    new: Table = {"new": longstr("table")}
    encoded = encode_table(new)
    for flags in ALL_FLAGS:
        header = ContentHeader(payload(flags))
        others = {flag: octets for flag, octets in PROPERTIES if flags & flag}

        changed = with_reply_to(header, b"other")
        expected = {**others, constants.FLAG_REPLY_TO: b"\x05other"}
        assert changed.payload == assembled(expected)
        assert changed.reply_to == b"other"

        changed = with_headers(header, new)
        expected = {**others, constants.FLAG_HEADERS: struct.pack(">I", len(encoded)) + encoded}
        assert changed.payload == assembled(expected)
        assert changed.headers == encoded

        changed = with_headers(header, {})
        others.pop(constants.FLAG_HEADERS, None)
        assert changed.payload == assembled(others)
        assert changed.headers is None


def assembled(properties: dict[int, bytes]) -> bytes:
    flags = sum(properties)
    octets = b"".join(properties[flag] for flag in sorted(properties, reverse=True))
    return struct.pack(">HHQH", 60, 0, 5, flags) + octets


def test_properties_lie_where_the_offset_says() -> None:
    for flags in [*ALL_FLAGS[::37], 0xFFFC]:
        octets = payload(flags)
        at = 14
        for flag, piece in PROPERTIES:
            assert property_offset(octets, flag) == at
            if flags & flag:
                at += len(piece)


def test_a_header_cut_short_anywhere_is_refused() -> None:
    for flags in [*ALL_FLAGS[1::61], 0xFFFC]:
        octets = payload(flags)
        for end in range(14, len(octets)):
            with pytest.raises(FrameError, match="cannot decode the property list"):
                ContentHeader(octets[:end])


def test_continued_flags_are_refused() -> None:
    with pytest.raises(FrameError, match="more property flags"):
        ContentHeader(struct.pack(">HHQHH", 60, 0, 0, 1, 0))


@given(st.binary(min_size=14, max_size=200))
def test_garbage_raises_frame_error_and_nothing_else(garbage: bytes) -> None:
    try:
        header = ContentHeader(garbage)
        header.table()
    except FrameError:
        return
    assert with_reply_to(header, b"x").reply_to == b"x"
    assert same_table(with_headers(header, TABLE).table(), TABLE)


@given(st.binary(max_size=20))
def test_a_malformed_header_table_is_refused_at_once(octets: bytes) -> None:
    properties = struct.pack(">HI", constants.FLAG_HEADERS, len(octets) + 1) + octets + b"\x01"
    with pytest.raises(FrameError, match="cannot decode the property list"):
        header_from_properties(properties, 0)


def test_octets_behind_the_property_list_are_refused() -> None:
    for flags in [*ALL_FLAGS[1::61], 0, 0xFFFC]:
        with pytest.raises(FrameError, match="cannot decode the property list"):
            ContentHeader(payload(flags) + b"x")


@given(tables, st.data())
def test_a_table_that_is_walked_is_a_table_that_decodes(table: Table, data: st.DataObject) -> None:
    octets = bytearray(encode_table(table) + b"\x01kV")
    octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    properties = struct.pack(">HI", constants.FLAG_HEADERS, len(octets)) + bytes(octets)
    fault = decoding_fault(bytes(octets))
    if fault:
        with pytest.raises(FrameError):
            header_from_properties(properties, 0)
    else:
        assert header_from_properties(properties, 0).headers == bytes(octets)


def decoding_fault(octets: bytes) -> str:
    """What is wrong with the body of a table; empty when nothing is."""
    try:
        decode_table(octets)
    except TableError as error:
        return str(error)
    return ""


@given(tables, st.integers(0, (1 << 62)))
def test_a_header_table_reads_back(table: Table, body_size: int) -> None:
    header = with_headers(ContentHeader(payload(0xFFFC, body_size)), table)
    assert same_table(header.table(), table)
    assert header.body_size == body_size
    assert header.user_id == b"guest"
    stored = header_from_properties(header.properties, body_size)
    assert stored.payload == header.payload


@pytest.mark.parametrize(("octet", "persistent"), [(0, False), (1, False), (2, True), (3, False), (255, False)])
def test_only_delivery_mode_2_is_persistent(octet: int, persistent: bool) -> None:
    header = header_from_properties(struct.pack(">HB", constants.FLAG_DELIVERY_MODE, octet), 0)
    assert header.persistent is persistent


def test_a_body_size_with_the_highest_bit_is_negative() -> None:
    """Which the channel refuses as too large."""
    assert ContentHeader(struct.pack(">HHQH", 60, 0, 1 << 63, 0)).body_size < 0


TEXTS = st.text(min_size=1, max_size=60)


@settings(max_examples=200)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "content_type": TEXTS,
            "content_encoding": TEXTS,
            "headers": st.dictionaries(st.text("abc", min_size=1, max_size=5), st.booleans() | TEXTS, max_size=4),
            "delivery_mode": st.sampled_from((1, 2)),
            "priority": st.integers(0, 255),
            "correlation_id": TEXTS,
            "reply_to": TEXTS,
            "expiration": TEXTS,
            "message_id": TEXTS,
            "message_type": TEXTS,
            "user_id": TEXTS,
            "app_id": TEXTS,
        },
    )
)
def test_what_pamqp_writes_is_read(properties: dict[str, object]) -> None:
    basic = pamqp.commands.Basic.Properties(**properties)  # type: ignore[arg-type]
    octets = pamqp.header.ContentHeader(0, 17, basic).marshal()
    header = ContentHeader(octets)
    assert header.body_size == 17
    assert header.persistent == (properties.get("delivery_mode") == 2)
    assert header.priority == properties.get("priority", -1)
    for name in ("reply_to", "expiration", "user_id"):
        value = properties.get(name)
        assert getattr(header, name) == (value.encode() if isinstance(value, str) else None)
    changed = pamqp.header.ContentHeader()
    changed.unmarshal(with_reply_to(header, b"elsewhere").payload)
    assert changed.properties is not None
    assert changed.properties.reply_to == "elsewhere"
    for name in set(properties) - {"reply_to"}:
        assert getattr(changed.properties, name) == getattr(basic, name), name


def test_expiration_alone_is_taken_out() -> None:
    for flags in ALL_FLAGS:
        header = ContentHeader(payload(flags))
        new = without_expiration(header)
        assert new.payload == payload(flags & ~constants.FLAG_EXPIRATION)
        assert new.expiration is None
        if not flags & constants.FLAG_EXPIRATION:
            assert new is header


@given(tables)
def test_an_encoded_table_takes_the_place_of_the_old_one(table: Table) -> None:
    encoded = encode_table(table)
    for flags in (0, constants.FLAG_HEADERS, 0xFFFC):
        header = ContentHeader(payload(flags))
        assert with_encoded_headers(header, encoded).headers == encoded
        assert with_encoded_headers(header, encoded).payload == with_headers(header, table).payload or not table


@given(tables)
def test_spans_of_a_table_are_its_fields(table: Table) -> None:
    encoded = encode_table(table)
    found = spans(encoded, 0, True)
    assert b"".join([encoded[span.start : span.end] for span in found]) == encoded
    assert [span.name.decode("utf-8", "surrogateescape") for span in found] == list(table)
    for span, (name, field) in zip(found, table.items(), strict=True):
        assert encode_table({name: field}) == encoded[span.start : span.end]
        assert encode_field(field) == encoded[span.value : span.end]


@given(st.lists(fields, max_size=6))
def test_spans_of_an_array_are_its_items(items: list[Field]) -> None:
    encoded = encode_field(Field("A", items))
    found = spans(encoded, 5, False)
    assert [encoded[span.start : span.end] for span in found] == [encode_field(item) for item in items]
    assert all(span.start == span.value and span.name == b"" for span in found)
