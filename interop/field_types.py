"""Header tables with the AMQP type of every value, for what client libraries hide."""

from typing import Any
from urllib.parse import unquote, urlsplit

from interop.broker import Broker
from interop.conformance.client import Client, Message, Target
from interop.conformance.codec import PROPERTIES, Reader
from interop.transcript import Json


class TypedReader(Reader):
    """Decodes table values as [type letter, value], with strings and arrays in the same way."""

    def table(self) -> dict[str, Any]:
        inner = TypedReader(self.take(self.unpack(">I")))
        values = {}
        while inner.at < len(inner.data):
            key = inner.field("s")
            values[key] = inner.table_value()
        return values

    def table_value(self) -> Any:
        letter = chr(self.data[self.at])
        if letter == "A":
            self.at += 1
            inner = TypedReader(self.take(self.unpack(">I")))
            items = []
            while inner.at < len(inner.data):
                items.append(inner.table_value())
            return [letter, items]
        return [letter, super().table_value()]


def typed_headers(message: Message) -> dict[str, Json]:
    """The header table of a message that the raw client got, its values as [type letter, value]."""
    reader = TypedReader(message.raw_properties)
    flags = reader.unpack(">H")
    for place, (name, letter) in enumerate(PROPERTIES):
        if flags & 1 << (15 - place):
            value = reader.field(letter)
            if name == "headers":
                return dict(value)
    return {}


def raw_client(url: str) -> Client:
    """A connected raw client that closes with the ``with`` block."""
    parts = urlsplit(url)
    user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
    return Client(
        Target(parts.hostname or "127.0.0.1", parts.port or 5672, user, password, Broker(url).vhost)
    ).connect()
