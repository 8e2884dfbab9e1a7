"""Arguments of the hot basic methods a client sends: publish, ack, nack, reject. Hot.

``at`` and ``end`` bound the arguments: the method's payload behind the four octets of class and method id.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i64_be
from mypy_extensions import i64

from amqpd.spec.constants import BASIC_PUBLISH
from amqpd.spec.errors import FrameError

MANDATORY: Final = 1
IMMEDIATE: Final = 2


def publish_fields(arguments: bytes) -> tuple[str, str, int, bytes]:
    """Decode basic.publish arguments (spec 1.8.3.7).

    Returns exchange, routing key, the bit octet (1 mandatory, 2 immediate) and the two names as they lie on
    the wire, which is how basic.deliver repeats them.
    Raises FrameError (501, closes the connection) on a short or non-UTF-8 field, or octets left over.
    """
    size = len(arguments)
    exchange_end = 3 + arguments[2] if size > 2 else size
    if exchange_end >= size:
        raise cannot_decode(BASIC_PUBLISH, arguments)
    key_end = exchange_end + 1 + arguments[exchange_end]
    if key_end + 1 != size:
        raise cannot_decode(BASIC_PUBLISH, arguments)
    try:
        exchange = arguments[3:exchange_end].decode("utf-8")
        routing_key = arguments[exchange_end + 1 : key_end].decode("utf-8")
    except UnicodeDecodeError:
        raise FrameError("Malformed UTF-8 in shortstr", 0) from None
    return exchange, routing_key, arguments[key_end], arguments[2:key_end]


def settlement_tag(method: i64, buffer: bytes, at: i64, end: i64) -> i64:
    """Delivery tag of basic.ack, basic.nack or basic.reject; the bit octet follows at ``at + 8``."""
    if at + 9 != end:
        raise cannot_decode(int(method), buffer[at:end])
    return read_i64_be(buffer, at)


def cannot_decode(method: int, arguments: bytes) -> FrameError:
    shown = ",".join([str(octet) for octet in arguments[:80]])
    return FrameError(f"cannot decode <<{shown}>>", method)


def address(exchange: str, routing_key: str) -> bytes:
    """Exchange and routing key as two shortstrs."""
    exchange_octets = exchange.encode()
    key_octets = routing_key.encode()
    return bytes([len(exchange_octets)]) + exchange_octets + bytes([len(key_octets)]) + key_octets
