"""The header x-stream-offset beside whatever the publisher sent."""

from __future__ import annotations

import pytest

from amqpd.broker.message import Address, Message
from amqpd.queues.stream.stamp import Stamp
from amqpd.wire.content import ContentHeader, header_from_properties, with_headers
from amqpd.wire.table import Field, Table
from tests.queues.building import PERSISTENT

ADDRESS = Address("", "q", b"\x00\x01q")
# content-type, headers, delivery-mode, correlation-id, timestamp: something on both sides of the table.
RICH = b"\xb4\x40\x04text\x00\x00\x00\x07\x01aI\x00\x00\x00\x05\x02\x02id\x00\x00\x00\x00\x00\x00\x00\x09"


def sent(header: ContentHeader, number: int = 1) -> Message:
    message = Message(ADDRESS, header, b"abc")
    message.id = number
    return message


def plain(table: Table | None = None) -> ContentHeader:
    header = header_from_properties(PERSISTENT, 3)
    return header if table is None else with_headers(header, table)


def test_the_offset_is_added_to_the_publishers_headers() -> None:
    table: Table = {"a": Field("u", 5), "t": Field("F", {"b": Field("A", [Field("V", None)])})}
    message = sent(plain(table), 9)
    stamped = Stamp().message(message, 1 << 40)
    assert stamped.header.table() == {**table, "x-stream-offset": Field("l", 1 << 40)}
    assert (stamped.header.persistent, stamped.header.body_size) == (True, 3)
    assert (stamped.id, stamped.address, stamped.body) == (9, ADDRESS, b"abc")
    assert message.header.table() == table  # what is stored stays as it was sent


@pytest.mark.parametrize("table", [None, {}])
def test_a_message_without_headers_gets_them(table: Table | None) -> None:
    stamped = Stamp().message(sent(plain(table)), 0)
    assert stamped.header.table() == {"x-stream-offset": Field("l", 0)}
    assert stamped.header.persistent


@pytest.mark.parametrize("header", [plain(), plain({"a": Field("I", 1)}), header_from_properties(RICH, 3)])
def test_neighbours_that_share_their_header_differ_in_the_offset_alone(header: ContentHeader) -> None:
    stamp = Stamp()
    stamped = [stamp.message(sent(header), offset).header for offset in (5, 6, 1 << 33)]
    assert [one.payload for one in stamped] == [
        Stamp().message(sent(header), offset).header.payload for offset in (5, 6, 1 << 33)
    ]
    assert [one.table()["x-stream-offset"].value for one in stamped] == [5, 6, 1 << 33]


def test_properties_around_the_headers_stay() -> None:
    header = header_from_properties(RICH, 3)
    stamped = Stamp().message(sent(header), 5).header
    assert with_headers(stamped, {"a": Field("I", 5)}).payload == header.payload
    assert stamped.table() == {"a": Field("I", 5), "x-stream-offset": Field("l", 5)}


def test_other_headers_come_in_between() -> None:
    stamp = Stamp()
    one, other = plain({"a": Field("I", 1)}), plain({"b": Field("I", 2)})
    mine = plain({"x-stream-offset": Field("I", 3)})
    tables = [stamp.message(sent(header), 8).header.table() for header in (one, other, other, mine, other, one)]
    assert [sorted(table) for table in tables] == [
        ["a", "x-stream-offset"],
        ["b", "x-stream-offset"],
        ["b", "x-stream-offset"],
        ["x-stream-offset"],
        ["b", "x-stream-offset"],
        ["a", "x-stream-offset"],
    ]
    assert {table["x-stream-offset"] for table in tables} == {Field("l", 8)}


def test_an_offset_the_publisher_set_is_replaced() -> None:
    stamped = Stamp().message(sent(plain({"x-stream-offset": Field("S", b"mine"), "z": Field("I", 1)})), 7)
    assert stamped.header.table() == {"x-stream-offset": Field("l", 7), "z": Field("I", 1)}
    assert stamped.header.payload.count(b"x-stream-offset") == 1


def test_the_name_of_the_header_elsewhere_is_left_alone() -> None:
    table: Table = {"a": Field("S", b"x-stream-offset"), "f": Field("F", {"x-stream-offset": Field("I", 1)})}
    stamped = Stamp().message(sent(plain(table)), 7)
    assert stamped.header.table() == {**table, "x-stream-offset": Field("l", 7)}
