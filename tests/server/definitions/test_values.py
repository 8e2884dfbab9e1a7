"""Argument tables as JSON and back."""

from __future__ import annotations

import json

import pytest

from amqpd.server.definitions.values import table_json, table_of
from amqpd.wire.table import Field, Table, encode_table

EVERY_TYPE: Table = {
    "b": Field("b", -1),
    "B": Field("B", 200),
    "s": Field("s", -3),
    "u": Field("u", 60000),
    "I": Field("I", 1),
    "i": Field("i", 3000000000),
    "l": Field("l", 2**40),
    "L": Field("L", 5),
    "f": Field("f", 1.5),
    "d": Field("d", 2.0),
    "S": Field("S", "ü".encode()),
    "t": Field("t", True),
    "V": Field("V", None),
    "A": Field("A", [Field("I", 1), Field("S", b"a"), Field("F", {"x": Field("I", 1)})]),
    "F": Field("F", {"k": Field("S", b"v")}),
    "T": Field("T", 1577836800),
    "x": Field("x", b"\0\1bin"),
    "D": Field("D", (2, 125)),
}


def test_every_type_is_shown_as_rabbitmq_shows_it() -> None:
    # Captured from RabbitMQ 3.10.8 but for V, which it writes as "undefined", and D, which it gets wrong (2.125).
    assert table_json(EVERY_TYPE) == {
        "b": -1,
        "B": 200,
        "s": -3,
        "u": 60000,
        "I": 1,
        "i": 3000000000,
        "l": 2**40,
        "L": 5,
        "f": 1.5,
        "d": 2.0,
        "S": "ü",
        "t": True,
        "V": None,
        "A": [1, "a", {"x": 1}],
        "F": {"k": "v"},
        "T": 1577836800,
        "x": "\0\1bin",
        "D": 1.25,
    }


def test_octets_that_are_no_text_are_shown_in_base64() -> None:
    assert table_json({"S": Field("S", b"\xff\xfe")}) == {"S": "Not UTF-8, base64 is: //4="}


def test_name_that_is_no_text_and_number_json_does_not_know_are_shown_somehow() -> None:
    shown = table_json({"\udcff": Field("d", float("nan")), "i": Field("d", float("-inf"))})
    assert json.dumps(shown, allow_nan=False, ensure_ascii=False).encode()
    assert shown == {"\ufffd": "nan", "i": "-inf"}


def test_json_becomes_the_types_rabbitmq_chooses() -> None:
    # Seen in the queue records of RabbitMQ 3.10.8 after an import; it refuses null.
    values = {"f": 2.0, "i": 3, "neg": -1, "l": [1, 1.5], "t": {"a": 1}, "b": True, "s": "ü", "n": None}
    assert table_of(values) == {
        "f": ("d", 2.0),
        "i": ("l", 3),
        "neg": ("l", -1),
        "l": ("A", [("l", 1), ("d", 1.5)]),
        "t": ("F", {"a": ("l", 1)}),
        "b": ("t", True),
        "s": ("S", "ü".encode()),
        "n": ("V", None),
    }


def test_what_is_shown_reads_back_as_what_shows_the_same() -> None:
    once = table_json(EVERY_TYPE)
    again = table_of(once)
    assert encode_table(again)
    assert table_json(again) == once


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**70])
def test_number_of_more_than_64_bits_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="'x' is a number of more than 64 bits"):
        table_of({"t": {"l": [1], "x": number}})


def test_long_name_is_refused() -> None:
    with pytest.raises(ValueError, match="255 bytes"):
        table_of({"ü" * 128: 1})
    assert len(table_of({"x" * 255: 1})) == 1
