"""The header x-stream-offset, which every delivery from a stream carries. Hot.

It is put in at delivery: what is stored stays as the publisher sent it.
"""

from __future__ import annotations

import struct
from typing import Final, final

from mypy_extensions import i64

from amqpd.broker.message import Message
from amqpd.spec.arguments import STREAM_OFFSET
from amqpd.spec.constants import FLAG_HEADERS
from amqpd.wire.content import ContentHeader, property_offset, with_encoded_headers, with_headers
from amqpd.wire.table import Field

_NAME: Final = STREAM_OFFSET.encode()
_FIELD: Final = bytes([len(_NAME)]) + _NAME + b"l"  # what lies ahead of the value in a table
_VALUE: Final = struct.Struct(">q")


@final
class Stamp:
    """Messages that share their header, as neighbours mostly do, differ in the octets of the offset only.

    ``last``: the header that ``before`` and ``after`` were made of: the payload on both sides of the offset.
    """

    def __init__(self) -> None:
        self.last: ContentHeader | None = None
        self.before: bytes = b""
        self.after: bytes = b""

    def message(self, message: Message, offset: i64) -> Message:
        """A copy that says its offset."""
        header = message.header
        if header is self.last:
            header = ContentHeader(self.before + _VALUE.pack(int(offset)) + self.after)
        elif header.headers is not None and _NAME in header.headers:
            # The publisher set one itself, or seems to: it is not worth a shortcut.
            table = header.table()
            table[STREAM_OFFSET] = Field("l", int(offset))
            header = with_headers(header, table)
        else:
            header = self._appended(header, int(offset))
        copy = Message(message.address, header, message.body)
        copy.id = message.id
        return copy

    def _appended(self, header: ContentHeader, offset: int) -> ContentHeader:
        table = (header.headers or b"") + _FIELD + _VALUE.pack(offset)
        stamped = with_encoded_headers(header, table)
        end = property_offset(stamped.payload, FLAG_HEADERS) + 4 + len(table)
        self.last = header
        self.before = stamped.payload[: end - _VALUE.size]
        self.after = stamped.payload[end:]
        return stamped
