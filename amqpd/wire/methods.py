"""Method arguments: a reader and a writer for everything but the hot methods of ``wire/basic.py``."""

from __future__ import annotations

import struct

from amqpd.spec.constants import FRAME_METHOD
from amqpd.spec.errors import FrameError
from amqpd.wire.table import Table, TableError, decode_table, encode_table

_SHORT = struct.Struct(">H")
_LONG = struct.Struct(">I")
_LONGLONG = struct.Struct(">Q")
_FRAME = struct.Struct(">BHI")


class ArgumentReader:
    """Reads the arguments of one method in order.

    Short input raises FrameError (501) with RabbitMQ's text and the method's ids; a shortstr that is not
    UTF-8 raises it with 0/0, as RabbitMQ does.
    """

    def __init__(self, method: int, arguments: bytes) -> None:
        self.method = method
        self.arguments = arguments
        self.at = 0

    def octet(self) -> int:
        return self._take(1)[0]

    def short(self) -> int:
        return int(_SHORT.unpack(self._take(2))[0])

    def long(self) -> int:
        return int(_LONG.unpack(self._take(4))[0])

    def longlong(self) -> int:
        return int(_LONGLONG.unpack(self._take(8))[0])

    def shortstr(self) -> str:
        octets = self._take(self.octet())
        try:
            return octets.decode()
        except UnicodeDecodeError:
            raise FrameError("Malformed UTF-8 in shortstr", 0) from None

    def longstr(self) -> bytes:
        return self._take(self.long())

    def table(self) -> Table:
        octets = self.longstr()
        try:
            return decode_table(octets)
        except TableError:
            raise self._undecodable() from None

    def end(self) -> None:
        """All arguments were read. Raises FrameError (501) when octets are left over."""
        if self.at != len(self.arguments):
            raise self._undecodable()

    def _take(self, count: int) -> bytes:
        start = self.at
        self.at = start + count
        if self.at > len(self.arguments):
            raise self._undecodable()
        return self.arguments[start : self.at]

    def _undecodable(self) -> FrameError:
        shown = ",".join(str(octet) for octet in self.arguments[:80])
        return FrameError(f"cannot decode <<{shown}>>", self.method)


class MethodWriter:
    """Builds one method frame: ``MethodWriter(QUEUE_DECLARE_OK).shortstr(name).long(3).long(0).frame(1)``."""

    def __init__(self, method: int) -> None:
        self.parts: list[bytes] = [_LONG.pack(method)]

    def octet(self, value: int) -> MethodWriter:
        self.parts.append(bytes((value,)))
        return self

    def short(self, value: int) -> MethodWriter:
        self.parts.append(_SHORT.pack(value))
        return self

    def long(self, value: int) -> MethodWriter:
        self.parts.append(_LONG.pack(value))
        return self

    def longlong(self, value: int) -> MethodWriter:
        self.parts.append(_LONGLONG.pack(value))
        return self

    def shortstr(self, value: str) -> MethodWriter:
        octets = value.encode()
        if len(octets) > 255:
            octets = octets[:255].decode("utf-8", "ignore").encode()
        self.parts.append(bytes((len(octets),)))
        self.parts.append(octets)
        return self

    def longstr(self, value: bytes) -> MethodWriter:
        self.parts.append(_LONG.pack(len(value)))
        self.parts.append(value)
        return self

    def table(self, value: Table) -> MethodWriter:
        return self.longstr(encode_table(value))

    def frame(self, channel: int) -> bytes:
        payload = b"".join(self.parts)
        return _FRAME.pack(FRAME_METHOD, channel, len(payload)) + payload + b"\xce"
