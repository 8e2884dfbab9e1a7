"""Sender-selected distribution: the CC and BCC headers name further routing keys.

Both are arrays of longstrs; other elements are ignored. BCC is taken out before the message is stored, so that no
consumer sees it (RabbitMQ 3.10.8, seen live: interop/conformance/test_extensions.py).
"""

from __future__ import annotations

from amqpd.broker.router import RouteExtension
from amqpd.spec.arguments import TYPE_NAMES
from amqpd.spec.errors import PreconditionFailed
from amqpd.wire.content import ContentHeader, with_headers
from amqpd.wire.table import Field


class SenderSelected(RouteExtension):
    def extra_keys(self, header: ContentHeader) -> list[str]:
        if not _mentions(header, b"\x02CC") and not _mentions(header, b"\x03BCC"):
            return []
        table = header.table()
        return [*_keys("CC", table.get("CC")), *_keys("BCC", table.get("BCC"))]

    def stripped(self, header: ContentHeader) -> ContentHeader:
        if not _mentions(header, b"\x03BCC"):
            return header
        table = header.table()
        if "BCC" not in table:
            return header
        del table["BCC"]
        return with_headers(header, table)


def _mentions(header: ContentHeader, name: bytes) -> bool:
    """Cheap enough for every message with headers; a false alarm only costs a decode."""
    return header.headers is not None and name in header.headers


def _keys(name: str, field: Field | None) -> list[str]:
    if field is None:
        return []
    if not isinstance(field.value, list):
        raise PreconditionFailed(f'invalid message: {{unacceptable_type_in_header,"{name}",{TYPE_NAMES[field.kind]}}}')
    return [
        item.value.decode("utf-8", "surrogateescape")
        for item in field.value
        if item.kind == "S" and isinstance(item.value, bytes)
    ]
