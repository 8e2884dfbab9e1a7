"""Typed headers tell the AMQP type of every value, inside of tables and arrays, too."""

from interop.conformance.client import Message
from interop.conformance.codec import Typed, encode_properties
from interop.field_types import typed_headers


def test_values_come_with_their_type_letters() -> None:
    row = {"count": Typed("l", 2), "time": Typed("T", 5), "queue": "q"}
    headers = {"flag": True, "none": None, "small": Typed("b", 1), "rows": [row, "text"]}
    block = encode_properties({"content_type": "text/plain", "headers": headers, "priority": 3})
    assert typed_headers(Message({}, block, b"")) == {
        "flag": ["t", True],
        "none": ["V", None],
        "small": ["b", 1],
        "rows": ["A", [["F", {"count": ["l", 2], "time": ["T", 5], "queue": ["S", "q"]}], ["S", "text"]]],
    }


def test_a_message_may_have_no_headers() -> None:
    assert typed_headers(Message({}, encode_properties({"priority": 3}), b"")) == {}
