"""The properties of a waiting message, for people."""

from __future__ import annotations

from typing import Any, Final

from amqpd.spec import constants
from amqpd.wire.content import ContentHeader, property_offset

# Those that are text; delivery mode and priority are an octet each, the timestamp is eight.
_TEXTS: Final = {
    "content_type": constants.FLAG_CONTENT_TYPE,
    "content_encoding": constants.FLAG_CONTENT_ENCODING,
    "correlation_id": constants.FLAG_CORRELATION_ID,
    "reply_to": constants.FLAG_REPLY_TO,
    "expiration": constants.FLAG_EXPIRATION,
    "message_id": constants.FLAG_MESSAGE_ID,
    "type": constants.FLAG_TYPE,
    "user_id": constants.FLAG_USER_ID,
    "app_id": constants.FLAG_APP_ID,
    "cluster_id": constants.FLAG_CLUSTER_ID,
}
_NUMBERS: Final = {
    "delivery_mode": (constants.FLAG_DELIVERY_MODE, 1),
    "priority": (constants.FLAG_PRIORITY, 1),
    "timestamp": (constants.FLAG_TIMESTAMP, 8),
}


def properties_of(header: ContentHeader) -> dict[str, Any]:
    """Those that are there, but for the header table. A timestamp is in seconds; what is no text is replaced."""
    payload = header.payload
    flags = int.from_bytes(payload[12:14])
    found: dict[str, Any] = {}
    for name, flag in _TEXTS.items():
        if flags & flag:
            at = property_offset(payload, flag)
            found[name] = payload[at + 1 : at + 1 + payload[at]].decode("utf-8", "replace")
    for name, (flag, size) in _NUMBERS.items():
        if flags & flag:
            at = property_offset(payload, flag)
            found[name] = int.from_bytes(payload[at : at + size])
    return found
