"""Content headers: the publisher's property bytes, read where they lie and passed through untouched (traps T1-T3).

A header is parsed at most once; publishers that send the same properties again and again (most do) share one
``ContentHeader`` between their messages.
"""

from __future__ import annotations

import struct
from typing import Final, final

from librt.strings import read_i16_be, read_i32_be, read_i64_be
from mypy_extensions import i64, mypyc_attr

from amqpd.spec.constants import (
    FLAG_APP_ID,
    FLAG_CLUSTER_ID,
    FLAG_CONTENT_ENCODING,
    FLAG_CONTENT_TYPE,
    FLAG_CONTINUED,
    FLAG_CORRELATION_ID,
    FLAG_DELIVERY_MODE,
    FLAG_EXPIRATION,
    FLAG_HEADERS,
    FLAG_MESSAGE_ID,
    FLAG_PRIORITY,
    FLAG_REPLY_TO,
    FLAG_TIMESTAMP,
    FLAG_TYPE,
    FLAG_USER_ID,
)
from amqpd.spec.errors import FrameError
from amqpd.wire.table import NESTING_MAX, Table, TableError, decode_table, encode_table

_UNKNOWN: Final = -1
_COUNTED: Final = -2
_NESTED: Final = -3
# Octets a field's value has, by its type octet.
_FIXED_SIZES: Final[list[int]] = [_UNKNOWN] * 256
for _letters, _size in (
    ("V", 0),
    ("tbB", 1),
    ("su", 2),
    ("Iif", 4),
    ("D", 5),
    ("lLdT", 8),
    ("Sx", _COUNTED),
    ("FA", _NESTED),
):
    for _letter in _letters:
        _FIXED_SIZES[ord(_letter)] = _size

_PREFIX: Final = struct.Struct(">HHQ")
PREFIX_SIZE: Final = 12  # class id, weight, body size


@final
@mypyc_attr(acyclic=True)
class ContentHeader:
    """A content header frame's payload and what the broker reads of it.

    ``properties``: from the property flags on, as the publisher sent it.
    ``priority``: -1 when absent. ``expiration``, ``reply_to``, ``user_id``: None when absent, raw octets.
    ``headers``: body of the header table, None when absent.
    ``checked``: something in it concerns the publish path (expiration, reply-to, user-id or header table).
    """

    def __init__(self, payload: bytes) -> None:
        """Raises FrameError (501) when the property list or its table does not decode to its end."""
        self.payload: bytes = payload
        self.body_size: i64 = read_i64_be(payload, 4)
        self.persistent: bool = False
        self.priority: i64 = -1
        self.expiration: bytes | None = None
        self.reply_to: bytes | None = None
        self.user_id: bytes | None = None
        self.headers: bytes | None = None
        self.checked: bool = False
        flags: i64 = i64(read_i16_be(payload, 12)) & 0xFFFF
        if flags & FLAG_CONTINUED:
            raise FrameError("content header has more property flags than the basic class knows")
        if flags:
            self._read(payload, flags)
        elif len(payload) != 14:
            raise _undecodable()

    def _read(self, payload: bytes, flags: i64) -> None:
        at: i64 = 14
        size: i64 = len(payload)
        if flags & FLAG_CONTENT_TYPE:
            at = skip_shortstr(payload, at, size)
        if flags & FLAG_CONTENT_ENCODING:
            at = skip_shortstr(payload, at, size)
        if flags & FLAG_HEADERS:
            if at + 4 > size:
                raise _undecodable()
            length: i64 = i64(read_i32_be(payload, at)) & 0xFFFFFFFF
            at += 4 + length
            if at > size:
                raise _undecodable()
            check_fields(payload, at - length, at, True, 0)
            self.headers = payload[at - length : at]
            self.checked = True
        if flags & FLAG_DELIVERY_MODE:
            if at >= size:
                raise _undecodable()
            self.persistent = payload[at] == 2
            at += 1
        if flags & FLAG_PRIORITY:
            if at >= size:
                raise _undecodable()
            self.priority = i64(payload[at])
            at += 1
        if flags & 0x07FC:
            self._read_rest(payload, flags, at, size)
        elif at != size:
            raise _undecodable()

    def _read_rest(self, payload: bytes, flags: i64, at: i64, size: i64) -> None:
        start: i64
        if flags & FLAG_CORRELATION_ID:
            at = skip_shortstr(payload, at, size)
        if flags & FLAG_REPLY_TO:
            start = at
            at = skip_shortstr(payload, at, size)
            self.reply_to = payload[start + 1 : at]
            self.checked = True
        if flags & FLAG_EXPIRATION:
            start = at
            at = skip_shortstr(payload, at, size)
            self.expiration = payload[start + 1 : at]
            self.checked = True
        if flags & FLAG_MESSAGE_ID:
            at = skip_shortstr(payload, at, size)
        if flags & FLAG_TIMESTAMP:
            at += 8
        if flags & FLAG_TYPE:
            at = skip_shortstr(payload, at, size)
        if flags & FLAG_USER_ID:
            start = at
            at = skip_shortstr(payload, at, size)
            self.user_id = payload[start + 1 : at]
            self.checked = True
        # app-id and cluster-id concern nobody here; a cut one is still a cut property list.
        if flags & FLAG_APP_ID:
            at = skip_shortstr(payload, at, size)
        if flags & FLAG_CLUSTER_ID:
            at = skip_shortstr(payload, at, size)
        if at != size:
            raise _undecodable()

    @property
    def properties(self) -> bytes:
        return self.payload[PREFIX_SIZE:]

    def table(self) -> Table:
        """The header table, decoded; empty when absent. Raises FrameError (501) when it is malformed."""
        if self.headers is None:
            return {}
        try:
            return decode_table(self.headers)
        except TableError as error:
            raise FrameError(f"cannot decode header table: {error}") from None


def _undecodable() -> FrameError:
    return FrameError("cannot decode the property list of the content header")


def check_fields(payload: bytes, at: i64, end: i64, named: bool, depth: i64) -> None:
    """Walk through a table (``named``) or an array between ``at`` and ``end``: everything must decode.

    A consumer may fail on a table that does not; RabbitMQ lets none through either. Nothing is built.
    Raises FrameError (501).
    """
    if depth > NESTING_MAX:
        raise _undecodable()
    while at < end:
        if named:
            at += 1 + i64(payload[at])
            if at >= end:
                raise _undecodable()
        kind: i64 = i64(payload[at])
        at += 1
        size: i64 = _FIXED_SIZES[kind]
        if size >= 0:
            at += size
        elif size == _UNKNOWN or at + 4 > end:
            raise _undecodable()
        else:
            start: i64 = at + 4
            at = start + (i64(read_i32_be(payload, at)) & 0xFFFFFFFF)
            if size == _NESTED and at <= end:
                check_fields(payload, start, at, kind == 0x46, depth + 1)
        if at > end:
            raise _undecodable()


def skip_shortstr(payload: bytes, at: i64, size: i64) -> i64:
    """Index behind the shortstr at ``at``. Raises FrameError (501) when it runs past ``size``."""
    if at >= size:
        raise _undecodable()
    at += 1 + i64(payload[at])
    if at > size:
        raise _undecodable()
    return at


def header_from_properties(properties: bytes, body_size: int) -> ContentHeader:
    """A header for stored ``properties`` (what ``ContentHeader.properties`` gave)."""
    return ContentHeader(_PREFIX.pack(60, 0, body_size) + properties)


def with_headers(header: ContentHeader, table: Table) -> ContentHeader:
    """The same header with another header table; an empty table drops the property."""
    return _replaced(header, FLAG_HEADERS, struct.pack(">I", len(body := encode_table(table))) + body, bool(table))


def with_encoded_headers(header: ContentHeader, table: bytes) -> ContentHeader:
    """The same header with another header table, given as it lies on the wire (without its length)."""
    return _replaced(header, FLAG_HEADERS, struct.pack(">I", len(table)) + table, True)


def message_id(header: ContentHeader) -> str | None:
    """The message-id property; None when absent. Octets that are not UTF-8 are replaced."""
    payload = header.payload
    if not i64(read_i16_be(payload, 12)) & FLAG_MESSAGE_ID:
        return None
    at = property_offset(payload, FLAG_MESSAGE_ID)
    return payload[at + 1 : at + 1 + payload[at]].decode("utf-8", "replace")


def with_reply_to(header: ContentHeader, reply_to: bytes) -> ContentHeader:
    """The same header with another reply-to (present before or not)."""
    return _replaced(header, FLAG_REPLY_TO, bytes((len(reply_to),)) + reply_to, True)


def without_expiration(header: ContentHeader) -> ContentHeader:
    if header.expiration is None:
        return header
    return _replaced(header, FLAG_EXPIRATION, b"", False)


def _replaced(header: ContentHeader, flag: int, encoded: bytes, present: bool) -> ContentHeader:
    payload = header.payload
    flags = int(read_i16_be(payload, 12)) & 0xFFFF
    start = property_offset(payload, flag)
    end = property_offset(payload, flag >> 1) if flags & flag else start
    flags = flags | flag if present else flags & ~flag
    middle = encoded if present else b""
    return ContentHeader(payload[:12] + struct.pack(">H", flags) + payload[14:start] + middle + payload[end:])


@final
class Span:
    """A field of an encoded table: ``start`` to ``end`` with its name, ``value`` is where its type octet lies.

    An item of an array has no name: there ``value`` is ``start``.
    """

    def __init__(self, name: bytes, start: i64, value: i64, end: i64) -> None:
        self.name: bytes = name
        self.start: i64 = start
        self.value: i64 = value
        self.end: i64 = end


def spans(octets: bytes, at: i64, named: bool) -> list[Span]:
    """The fields of a table (``named``) or the items of an array, from ``at`` to the end of ``octets``.

    For what a ContentHeader holds: it was checked there.
    """
    found: list[Span] = []
    end: i64 = len(octets)
    while at < end:
        start = at
        name = b""
        if named:
            at += 1 + i64(octets[at])
            name = octets[start + 1 : at]
        value = at
        size: i64 = _FIXED_SIZES[octets[at]]
        at += 1
        if size < 0:
            size = 4 + (i64(read_i32_be(octets, at)) & 0xFFFFFFFF)
        at += size
        found.append(Span(name, start, value, at))
    return found


def property_offset(payload: bytes, wanted: int) -> int:
    """Index in a header payload where the property with flag ``wanted`` lies, or would lie."""
    flags = int(read_i16_be(payload, 12)) & 0xFFFF
    at = 14
    size = len(payload)
    flag = FLAG_CONTENT_TYPE
    while flag > wanted:
        if flags & flag:
            if flag == FLAG_HEADERS:
                at += 4 + (int(read_i32_be(payload, at)) & 0xFFFFFFFF)
            elif flag == FLAG_DELIVERY_MODE or flag == FLAG_PRIORITY:
                at += 1
            elif flag == FLAG_TIMESTAMP:
                at += 8
            else:
                at = int(skip_shortstr(payload, at, size))
        flag >>= 1
    return at
