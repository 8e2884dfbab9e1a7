"""AMQP 0-9-1 bytes for the raw client: frames, method arguments, field tables and properties.

It is independent of the broker and of client libraries on purpose: it encodes whatever it is told to,
legal or not, and it lets a test choose the exact type letter of a table value.
"""

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"

# One line a method: class id, method id, name, arguments. The letter after the colon is the type: o octet,
# h short, l long, L longlong, b bit, s shortstr, S longstr, F table. The name _ is the reserved ticket.
_METHODS_TEXT = """
10 10 connection.start version_major:o version_minor:o server_properties:F mechanisms:S locales:S
10 11 connection.start-ok client_properties:F mechanism:s response:S locale:s
10 20 connection.secure challenge:S
10 21 connection.secure-ok response:S
10 30 connection.tune channel_max:h frame_max:l heartbeat:h
10 31 connection.tune-ok channel_max:h frame_max:l heartbeat:h
10 40 connection.open virtual_host:s reserved_1:s reserved_2:b
10 41 connection.open-ok known_hosts:s
10 50 connection.close reply_code:h reply_text:s class_id:h method_id:h
10 51 connection.close-ok
10 60 connection.blocked reason:s
10 61 connection.unblocked
10 70 connection.update-secret new_secret:S reason:s
10 71 connection.update-secret-ok
20 10 channel.open out_of_band:s
20 11 channel.open-ok channel_id:S
20 20 channel.flow active:b
20 21 channel.flow-ok active:b
20 40 channel.close reply_code:h reply_text:s class_id:h method_id:h
20 41 channel.close-ok
30 10 access.request realm:s exclusive:b passive:b active:b write:b read:b
30 11 access.request-ok ticket:h
40 10 exchange.declare _:h exchange:s type:s passive:b durable:b auto_delete:b internal:b no_wait:b arguments:F
40 11 exchange.declare-ok
40 20 exchange.delete _:h exchange:s if_unused:b no_wait:b
40 21 exchange.delete-ok
40 30 exchange.bind _:h destination:s source:s routing_key:s no_wait:b arguments:F
40 31 exchange.bind-ok
40 40 exchange.unbind _:h destination:s source:s routing_key:s no_wait:b arguments:F
40 51 exchange.unbind-ok
50 10 queue.declare _:h queue:s passive:b durable:b exclusive:b auto_delete:b no_wait:b arguments:F
50 11 queue.declare-ok queue:s message_count:l consumer_count:l
50 20 queue.bind _:h queue:s exchange:s routing_key:s no_wait:b arguments:F
50 21 queue.bind-ok
50 30 queue.purge _:h queue:s no_wait:b
50 31 queue.purge-ok message_count:l
50 40 queue.delete _:h queue:s if_unused:b if_empty:b no_wait:b
50 41 queue.delete-ok message_count:l
50 50 queue.unbind _:h queue:s exchange:s routing_key:s arguments:F
50 51 queue.unbind-ok
60 10 basic.qos prefetch_size:l prefetch_count:h global_:b
60 11 basic.qos-ok
60 20 basic.consume _:h queue:s consumer_tag:s no_local:b no_ack:b exclusive:b no_wait:b arguments:F
60 21 basic.consume-ok consumer_tag:s
60 30 basic.cancel consumer_tag:s no_wait:b
60 31 basic.cancel-ok consumer_tag:s
60 40 basic.publish _:h exchange:s routing_key:s mandatory:b immediate:b
60 50 basic.return reply_code:h reply_text:s exchange:s routing_key:s
60 60 basic.deliver consumer_tag:s delivery_tag:L redelivered:b exchange:s routing_key:s
60 70 basic.get _:h queue:s no_ack:b
60 71 basic.get-ok delivery_tag:L redelivered:b exchange:s routing_key:s message_count:l
60 72 basic.get-empty cluster_id:s
60 80 basic.ack delivery_tag:L multiple:b
60 90 basic.reject delivery_tag:L requeue:b
60 100 basic.recover-async requeue:b
60 110 basic.recover requeue:b
60 111 basic.recover-ok
60 120 basic.nack delivery_tag:L multiple:b requeue:b
85 10 confirm.select no_wait:b
85 11 confirm.select-ok
90 10 tx.select
90 11 tx.select-ok
90 20 tx.commit
90 21 tx.commit-ok
90 30 tx.rollback
90 31 tx.rollback-ok
"""


class Method(NamedTuple):
    """A row of the method table; ``fields`` are (name, type letter)."""

    class_id: int
    method_id: int
    name: str
    fields: tuple[tuple[str, str], ...]


def _parse_methods(text: str) -> dict[str, Method]:
    methods = {}
    for line in text.strip().splitlines():
        class_id, method_id, name, *fields = line.split()
        pairs = tuple((field[: field.index(":")], field[field.index(":") + 1 :]) for field in fields)
        methods[name] = Method(int(class_id), int(method_id), name, pairs)
    return methods


METHODS = _parse_methods(_METHODS_TEXT)
METHODS_BY_ID = {(method.class_id, method.method_id): method for method in METHODS.values()}
WITH_CONTENT = frozenset({"basic.publish", "basic.return", "basic.deliver", "basic.get-ok"})

# The content properties in flag order, the first one at bit 15.
PROPERTIES = (
    ("content_type", "s"),
    ("content_encoding", "s"),
    ("headers", "F"),
    ("delivery_mode", "o"),
    ("priority", "o"),
    ("correlation_id", "s"),
    ("reply_to", "s"),
    ("expiration", "s"),
    ("message_id", "s"),
    ("timestamp", "L"),
    ("type", "s"),
    ("user_id", "s"),
    ("app_id", "s"),
    ("cluster_id", "s"),
)

_SCALARS = {
    "o": ">B",
    "h": ">H",
    "l": ">I",
    "L": ">Q",
}
_TABLE_SCALARS = {
    "b": ">b",
    "B": ">B",
    "s": ">h",
    "u": ">H",
    "I": ">i",
    "i": ">I",
    "l": ">q",
    "L": ">q",
    "f": ">f",
    "d": ">d",
    "T": ">Q",
}


class Typed(NamedTuple):
    """A table value with its type letter given by the test, e.g. ``Typed("b", 5)``."""

    letter: str
    value: Any


def frame(kind: int, channel: int, payload: bytes, end: int = FRAME_END) -> bytes:
    """One frame; ``end`` other than 0xCE makes it an illegal one."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + bytes([end])


def shortstr(value: str | bytes) -> bytes:
    """A shortstr; bytes are taken as they are."""
    raw = value.encode() if isinstance(value, str) else value
    return bytes([len(raw)]) + raw


def longstr(value: str | bytes) -> bytes:
    """A longstr; bytes are taken as they are."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(">I", len(raw)) + raw


def table(values: Mapping[str, Any] | bytes) -> bytes:
    """A field table with its length; bytes are the ready-made body of one."""
    if isinstance(values, bytes):
        return longstr(values)
    return longstr(b"".join(shortstr(key) + table_value(value) for key, value in values.items()))


def table_value(value: Any) -> bytes:
    """A typed table value: int is I or l, str is S, bytes is x, float is d, None is V, unless ``Typed``."""
    if isinstance(value, Typed):
        return _typed_value(value.letter, value.value)
    if value is None:
        return b"V"
    if isinstance(value, bool):
        return b"t" + bytes([value])
    if isinstance(value, int):
        return _typed_value("I" if -(2**31) <= value < 2**31 else "l", value)
    if isinstance(value, float):
        return _typed_value("d", value)
    letters: dict[type, str] = {str: "S", bytes: "x", list: "A", dict: "F"}
    return _typed_value(letters[type(value)], value)


def _typed_value(letter: str, value: Any) -> bytes:
    head = letter.encode()
    if letter in _TABLE_SCALARS:
        return head + struct.pack(_TABLE_SCALARS[letter], value)
    if letter == "t":
        return head + bytes([value])
    if letter == "D":
        scale, unscaled = value
        return head + struct.pack(">BI", scale, unscaled)
    if letter == "V":
        return head
    if letter == "A":
        return head + longstr(b"".join(table_value(item) for item in value))
    if letter == "F":
        return head + table(value)
    return head + longstr(value)


def encode_arguments(method: Method, values: Mapping[str, Any]) -> bytes:
    """Method payload with the two ids; missing arguments are 0, empty or false."""
    unknown = values.keys() - {name for name, _ in method.fields}
    if unknown:
        raise TypeError(f"{method.name} has no argument {unknown}")
    out = struct.pack(">HH", method.class_id, method.method_id)
    bits: list[bool] = []
    for name, letter in method.fields:
        if letter == "b":
            bits.append(bool(values.get(name, False)))
            continue
        out += _bit_octets(bits)
        bits = []
        out += _encode_field(letter, values.get(name))
    return out + _bit_octets(bits)


def _bit_octets(bits: list[bool]) -> bytes:
    return bytes([sum(bit << place for place, bit in enumerate(bits))]) if bits else b""


def _encode_field(letter: str, value: Any) -> bytes:
    if letter in _SCALARS:
        return struct.pack(_SCALARS[letter], value or 0)
    if letter == "s":
        return shortstr(value or "")
    if letter == "S":
        return longstr(value or "")
    return table(value or {})


def encode_properties(values: Mapping[str, Any] | bytes) -> bytes:
    """The property flags and list of a content header; bytes are a ready-made block."""
    if isinstance(values, bytes):
        return values
    unknown = values.keys() - {name for name, _ in PROPERTIES}
    if unknown:
        raise TypeError(f"no such property {unknown}")
    flags, out = 0, b""
    for place, (name, letter) in enumerate(PROPERTIES):
        if name in values:
            flags |= 1 << (15 - place)
            out += _encode_field(letter, values[name])
    return struct.pack(">H", flags) + out


class Reader:
    """Decodes forward through ``data``; raises IndexError or struct.error on short data."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def unpack(self, layout: str) -> Any:
        (value,) = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return value

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise IndexError(f"{count} octets wanted at {self.at} of {len(self.data)}")
        self.at += count
        return self.data[self.at - count : self.at]

    def field(self, letter: str) -> Any:
        if letter in _SCALARS:
            return self.unpack(_SCALARS[letter])
        if letter == "F":
            return self.table()
        raw = self.take(self.unpack(">B" if letter == "s" else ">I"))
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise AssertionError(f"a string that is not UTF-8 came: {raw!r}") from error

    def table(self) -> dict[str, Any]:
        inner = Reader(self.take(self.unpack(">I")))
        values = {}
        while inner.at < len(inner.data):
            key = inner.field("s")
            values[key] = inner.table_value()
        return values

    def table_value(self) -> Any:
        letter = chr(self.unpack(">B"))
        if letter in _TABLE_SCALARS:
            return self.unpack(_TABLE_SCALARS[letter])
        if letter == "t":
            return self.unpack(">?")
        if letter == "D":
            return (self.unpack(">B"), self.unpack(">I"))
        if letter == "V":
            return None
        if letter == "S":
            return self.field("S")
        if letter == "x":
            return self.take(self.unpack(">I"))
        if letter == "F":
            return self.table()
        assert letter == "A", f"unknown table type {letter!r}"
        inner = Reader(self.take(self.unpack(">I")))
        items = []
        while inner.at < len(inner.data):
            items.append(inner.table_value())
        return items


class TypedReader(Reader):
    """Reads tables with the type of each value, those of inner tables and arrays, too."""

    def table(self) -> dict[str, Any]:
        inner = TypedReader(self.take(self.unpack(">I")))
        values = {}
        while inner.at < len(inner.data):
            name = inner.field("s")
            values[name] = inner.table_value()
        return values

    def table_value(self) -> Typed:
        letter = chr(self.data[self.at])
        if letter == "F":
            self.at += 1
            return Typed("F", self.table())
        if letter != "A":
            return Typed(letter, super().table_value())
        self.at += 1
        inner = TypedReader(self.take(self.unpack(">I")))
        items = []
        while inner.at < len(inner.data):
            items.append(inner.table_value())
        return Typed("A", items)


def decode_method(payload: bytes, reading: type[Reader] = Reader) -> tuple[Method, dict[str, Any]]:
    """The method and its arguments by name; nothing may be left over."""
    reader = reading(payload)
    method = METHODS_BY_ID[reader.unpack(">H"), reader.unpack(">H")]
    values: dict[str, Any] = {}
    bit = 0
    for name, letter in method.fields:
        if letter != "b":
            values[name] = reader.field(letter)
            bit = 0
            continue
        if bit == 0:
            octet = reader.unpack(">B")
        values[name] = bool(octet >> bit & 1)
        bit += 1
    assert reader.at == len(payload), f"{method.name} has {len(payload) - reader.at} octets too many"
    return method, values


def decode_properties(block: bytes, reading: type[Reader] = Reader) -> dict[str, Any]:
    """Properties by name from a header's flags and list."""
    reader = reading(block)
    flags = reader.unpack(">H")
    values = {}
    for place, (name, letter) in enumerate(PROPERTIES):
        if flags & 1 << (15 - place):
            values[name] = reader.field(letter)
    assert reader.at == len(block), "octets too many in the property list"
    return values
