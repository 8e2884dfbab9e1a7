"""The firehose: copies of what passes through a vhost that is traced, to its exchange ``amq.rabbitmq.trace``.

1. A publish is copied with key ``publish.`` and its exchange, when it is routed; one in a transaction too, whatever
   becomes of it. A delivery or a basic.get is copied with key ``deliver.`` and its queue.
2. The copy has the message's body; properties, keys and where it went are its headers. It is transient.
3. Copies are noted while a message passes and published in the next turn, so that nothing is published from inside a
   pump. They are not traced themselves, and none is made while nothing is bound to take it.
4. A delivery shows the keys a consumer can see: the routing key and CC. RabbitMQ shows BCC there, too.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, final

from amqpd.broker.broker import Broker
from amqpd.broker.events import Trace
from amqpd.broker.message import Message
from amqpd.broker.queue import Queue
from amqpd.broker.vhost import TRACE, VHost
from amqpd.spec.constants import FLAG_HEADERS
from amqpd.spec.errors import FrameError
from amqpd.wire.content import ContentHeader, header_from_properties

if TYPE_CHECKING:
    from amqpd.session.channel import Channel

_SHORTSTR: Final = 0
_OCTET: Final = 1
_TIMESTAMP: Final = 2
_TABLE: Final = 3
_LONG: Final = struct.Struct(">I")
_SMALL: Final = struct.Struct(">ci")
_NUMBER: Final = struct.Struct(">cq")


def _name(name: str) -> bytes:
    octets = name.encode()
    return bytes((len(octets),)) + octets


# The properties in the order of their flags, the first one at bit 15: the name as it lies in a table, and the kind.
PROPERTIES: Final = tuple(
    (0x8000 >> place, _name(name), kind)
    for place, (name, kind) in enumerate(
        (
            ("content_type", _SHORTSTR),
            ("content_encoding", _SHORTSTR),
            ("headers", _TABLE),
            ("delivery_mode", _OCTET),
            ("priority", _OCTET),
            ("correlation_id", _SHORTSTR),
            ("reply_to", _SHORTSTR),
            ("expiration", _SHORTSTR),
            ("message_id", _SHORTSTR),
            ("timestamp", _TIMESTAMP),
            ("type", _SHORTSTR),
            ("user_id", _SHORTSTR),
            ("app_id", _SHORTSTR),
            ("cluster_id", _SHORTSTR),
        )
    )
)
_EXCHANGE_NAME: Final = _name("exchange_name")
_ROUTING_KEYS: Final = _name("routing_keys")
_PROPERTIES: Final = _name("properties") + b"F"
_NODE: Final = _name("node")
_REDELIVERED: Final = _name("redelivered")
_VHOST: Final = _name("vhost")
_CONNECTION: Final = _name("connection")
_CHANNEL: Final = _name("channel")
_USER: Final = _name("user")
_ROUTED_QUEUES: Final = _name("routed_queues")


@final
class Passed(Trace):
    """One message that passed. ``queue``: where it was delivered from; None for a publish, which has ``queues``.

    ``payload``: of the content header, as the consumer sees it.
    """

    def __init__(
        self,
        channel: Channel,
        message: Message,
        payload: bytes,
        keys: list[str],
        queue: Queue | None,
        redelivered: bool,
        queues: list[Queue],
    ) -> None:
        self.channel = channel
        self.message = message
        self.payload = payload
        self.keys = keys
        self.queue = queue
        self.redelivered = redelivered
        self.queues = queues

    def post(self, broker: Broker) -> None:
        vhost = self.channel.vhost
        exchange = vhost.exchanges.get(TRACE)
        if exchange is None:
            return  # the vhost was deleted meanwhile
        if self.queue is None:
            key = f"publish.{self.message.address.exchange}"
        else:
            key = f"deliver.{self.queue.name}"
        body = self.message.body
        try:
            header = _header(self._table(broker.events.node, True), len(body))
        except FrameError:
            # Headers as deep as tables may be are too deep in here.
            header = _header(self._table(broker.events.node, False), len(body))
        broker.publish(vhost, exchange, _cut(key), header, body)

    def _table(self, node: str, with_headers: bool) -> bytes:
        """The header table, encoded. Put together from octets: a copy should not cost many times its message."""
        channel = self.channel
        parts = [
            _EXCHANGE_NAME,
            _text(self.message.address.exchange),
            _ROUTING_KEYS,
            _texts(self.keys),
            _PROPERTIES,
            _counted(properties_of(self.payload, with_headers)),
            _NODE,
            _text(node),
        ]
        if self.queue is not None:
            parts += (_REDELIVERED, _SMALL.pack(b"I", self.redelivered))
        parts += (
            _VHOST,
            _text(channel.vhost.name),
            _CONNECTION,
            _text(channel.connection.name),
            _CHANNEL,
            _SMALL.pack(b"I", int(channel.number)),
            _USER,
            _text(channel.connection.user.name),
        )
        if self.queue is None:
            parts += (_ROUTED_QUEUES, _texts([queue.name for queue in self.queues]))
        return b"".join(parts)


def published(channel: Channel, message: Message, sent: ContentHeader, queues: list[Queue]) -> None:
    """A client published ``message``; ``sent`` is its header with BCC still in it."""
    vhost = channel.vhost
    if not _watched(vhost):
        return
    keys = [message.address.routing_key]
    if sent.headers is not None:
        keys += channel.broker.router.extra_keys(sent)
    # Clients see no queue on the way of a direct reply, and none that belongs to an exchange.
    shown = [queue for queue in queues if vhost.queues.get(queue.name) is queue]
    vhost.shard.traces.append(Passed(channel, message, message.header.payload, keys, None, False, shown))


def delivered(channel: Channel, queue: Queue, message: Message, payload: bytes, redelivered: bool) -> None:
    """``message`` goes out on ``channel``, with this content header."""
    vhost = channel.vhost
    if message.address.exchange == TRACE or queue.name in vhost.reply_queues or not _watched(vhost):
        return
    keys = [message.address.routing_key]
    if message.header.headers is not None:
        keys += channel.broker.router.extra_keys(message.header)
    vhost.shard.traces.append(Passed(channel, message, payload, keys, queue, redelivered, []))


def _watched(vhost: VHost) -> bool:
    """Nobody sees a copy while nothing is bound."""
    exchange = vhost.exchanges.get(TRACE)
    return exchange is not None and bool(exchange.bindings)


def properties_of(payload: bytes, with_headers: bool = True) -> bytes:
    """The properties in a checked content header as an encoded table, with the types RabbitMQ's firehose gives them."""
    flags = int.from_bytes(payload[12:14])
    at = 14
    parts: list[bytes] = []
    for flag, name, kind in PROPERTIES:
        if not flags & flag:
            continue
        if kind == _SHORTSTR:
            size = 1 + payload[at]
            parts += (name, b"S", _counted(payload[at + 1 : at + size]))
        elif kind == _OCTET:
            size = 1
            parts += (name, _SMALL.pack(b"I", payload[at]))
        elif kind == _TIMESTAMP:
            size = 8
            parts += (name, _number(int.from_bytes(payload[at : at + 8])))
        else:
            size = 4 + int.from_bytes(payload[at : at + 4])
            if with_headers:
                parts += (name, b"F", payload[at : at + size])
        at += size
    return b"".join(parts)


def _header(table: bytes, body_size: int) -> ContentHeader:
    """A content header with nothing but this header table. Raises FrameError when it is nested too deeply."""
    return header_from_properties(struct.pack(">HI", FLAG_HEADERS, len(table)) + table, body_size)


def _counted(octets: bytes) -> bytes:
    return _LONG.pack(len(octets)) + octets


def _text(text: str) -> bytes:
    return b"S" + _counted(text.encode())


def _texts(texts: list[str]) -> bytes:
    return b"A" + _counted(b"".join([_text(text) for text in texts]))


def _number(value: int) -> bytes:
    """RabbitMQ 3.10 cuts a timestamp to the 32 bits of an ``I``, which makes nonsense of one in milliseconds."""
    if value < 1 << 31:
        return _SMALL.pack(b"I", value)
    return _NUMBER.pack(b"l", min(value, (1 << 63) - 1))


def _cut(key: str) -> str:
    """A routing key has 255 octets; a queue's name may have as many without ``deliver.``."""
    octets = key.encode()
    return key if len(octets) <= 255 else octets[:255].decode("utf-8", "ignore")
