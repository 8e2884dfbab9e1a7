"""The firehose: copies of what passes through a vhost that is traced, to its exchange ``amq.rabbitmq.trace``.

1. A publish is copied with key ``publish.`` and its exchange, when it is routed; one in a transaction too, whatever
   becomes of it. A delivery or a basic.get is copied with key ``deliver.`` and its queue.
2. The copy has the message's body; properties, keys and where it went are its headers. It is transient.
3. Copies are noted while a message passes and published in the next turn, so that nothing is published from inside a
   pump. What the broker publishes to the trace exchange is not traced, nor what comes of it.
4. A delivery shows the keys a consumer can see: the routing key and CC. RabbitMQ shows BCC there, too.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, final

from amqpd.broker.broker import Broker
from amqpd.broker.events import Trace
from amqpd.broker.message import Message
from amqpd.broker.queue import Queue
from amqpd.broker.vhost import TRACE
from amqpd.spec.constants import FLAG_HEADERS
from amqpd.spec.errors import FrameError
from amqpd.wire.content import ContentHeader, header_from_properties
from amqpd.wire.table import Field, Table, TableError, decode_table, encode_table, longstr

if TYPE_CHECKING:
    from amqpd.session.channel import Channel

_SHORTSTR: Final = "s"
_OCTET: Final = "o"
_TIMESTAMP: Final = "T"
_TABLE: Final = "F"
# The properties in the order of their flags, the first one at bit 15.
PROPERTIES: Final = (
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
        table = self._headers(broker.events.node)
        try:
            header = _header(table, len(body))
        except FrameError:
            # Headers as deep as tables may be are too deep in here.
            properties = properties_of(self.payload)
            properties.pop("headers", None)
            header = _header({**table, "properties": Field("F", properties)}, len(body))
        broker.publish(vhost, exchange, _cut(key), header, body)

    def _headers(self, node: str) -> Table:
        channel = self.channel
        table: Table = {
            "exchange_name": longstr(self.message.address.exchange),
            "routing_keys": Field("A", [longstr(key) for key in self.keys]),
            "properties": Field("F", properties_of(self.payload)),
            "node": longstr(node),
        }
        if self.queue is not None:
            table["redelivered"] = Field("I", int(self.redelivered))
        table["vhost"] = longstr(channel.vhost.name)
        table["connection"] = longstr(channel.connection.name)
        table["channel"] = Field("I", int(channel.number))
        table["user"] = longstr(channel.connection.user.name)
        if self.queue is None:
            table["routed_queues"] = Field("A", [longstr(queue.name) for queue in self.queues])
        return table


def _header(table: Table, body_size: int) -> ContentHeader:
    """A content header with nothing but this header table. Raises FrameError when it is nested too deeply."""
    octets = encode_table(table)
    return header_from_properties(struct.pack(">HI", FLAG_HEADERS, len(octets)) + octets, body_size)


def published(channel: Channel, message: Message, sent: ContentHeader, queues: list[Queue]) -> None:
    """A client published ``message``; ``sent`` is its header with BCC still in it."""
    keys = [message.address.routing_key]
    if sent.headers is not None:
        keys += channel.broker.router.extra_keys(sent)
    # A reply goes to its requester past all queues.
    shown = [queue for queue in queues if queue.name not in channel.vhost.reply_queues]
    traces = channel.vhost.shard.traces
    traces.append(Passed(channel, message, message.header.payload, keys, None, False, shown))


def delivered(channel: Channel, queue: Queue, message: Message, payload: bytes, redelivered: bool) -> None:
    """``message`` goes out on ``channel``, with this content header."""
    if message.address.exchange == TRACE or queue.name in channel.vhost.reply_queues:
        return
    keys = [message.address.routing_key]
    if message.header.headers is not None:
        keys += channel.broker.router.extra_keys(message.header)
    channel.vhost.shard.traces.append(Passed(channel, message, payload, keys, queue, redelivered, []))


def properties_of(payload: bytes) -> Table:
    """The properties in a content header that was checked, each with the type RabbitMQ's firehose gives it."""
    flags = int.from_bytes(payload[12:14])
    at = 14
    table: Table = {}
    for place, (name, kind) in enumerate(PROPERTIES):
        if not flags & 0x8000 >> place:
            continue
        if kind == _SHORTSTR:
            size = 1 + payload[at]
            table[name] = Field("S", payload[at + 1 : at + size])
        elif kind == _OCTET:
            size = 1
            table[name] = Field("I", payload[at])
        elif kind == _TIMESTAMP:
            size = 8
            table[name] = _number(int.from_bytes(payload[at : at + 8]))
        else:
            size = 4 + int.from_bytes(payload[at : at + 4])
            table[name] = Field("F", _decoded(payload[at + 4 : at + size]))
        at += size
    return table


def _decoded(octets: bytes) -> Table:
    try:
        return decode_table(octets)
    except TableError:
        return {}


def _number(value: int) -> Field:
    """RabbitMQ 3.10 cuts a timestamp to the 32 bits of an ``I``, which makes nonsense of one in milliseconds."""
    if value < 1 << 31:
        return Field("I", value)
    return Field("l", min(value, (1 << 63) - 1))


def _cut(key: str) -> str:
    """A routing key has 255 octets; a queue's name may have as many without ``deliver.``."""
    octets = key.encode()
    return key if len(octets) <= 255 else octets[:255].decode("utf-8", "ignore")
