"""Good sessions: what well-behaved clients send, from the protocol header on. Fuzzing starts from these."""

from __future__ import annotations

from amqpd.spec.constants import PROTOCOL_HEADER
from amqpd.wire.table import Field, Table, encode_table, longstr
from interop.conformance.codec import HEARTBEAT, METHOD, METHODS, encode_arguments, frame
from tests.support.linked import CAPABILITIES, PASSWORD, method, publication

FRAME_MAX = 4096

# One field of every type.
EVERY_TYPE: Table = {
    "b": Field("b", -1),
    "B": Field("B", 255),
    "s": Field("s", -300),
    "u": Field("u", 60000),
    "I": Field("I", -5),
    "i": Field("i", 1 << 31),
    "l": Field("l", -(1 << 63)),
    "L": Field("L", 1),
    "f": Field("f", 0.5),
    "d": Field("d", 0.1),
    "D": Field("D", (2, 314)),
    "t": Field("t", True),
    "T": Field("T", 1 << 40),
    "V": Field("V", None),
    "S": longstr("text"),
    "x": Field("x", b"\x00\xff"),
    "A": Field("A", [longstr("a"), Field("V", None), Field("A", [])]),
    "F": Field("F", {"inner": Field("F", {"most": longstr("x")})}),
}


def properties(table: Table) -> bytes:
    """All fourteen properties, with this header table."""
    octets = encode_table(table)
    before = b"\x04text\x00" + len(octets).to_bytes(4) + octets
    texts = b"\x01c\x01r\x0560000\x01m" + bytes(8) + b"\x01t\x05guest\x01a\x00"
    return b"\xff\xfc" + before + b"\x02\x05" + texts


def opened(user: str, password: str, mechanism: str = "PLAIN") -> bytes:
    """Header to connection.open, and channels 1 and 2."""
    response = f"\0{user}\0{password}".encode()
    if mechanism == "AMQPLAIN":
        response = encode_table({"LOGIN": longstr(user), "PASSWORD": longstr(password)})
    start_ok = METHODS["connection.start-ok"]
    values = {
        "client_properties": {"capabilities": CAPABILITIES, "connection_name": "fuzz"},
        "mechanism": mechanism,
        "response": response,
    }
    return b"".join(
        [
            PROTOCOL_HEADER,
            frame(METHOD, 0, encode_arguments(start_ok, values)),
            method("connection.tune-ok", 0, channel_max=2047, frame_max=FRAME_MAX, heartbeat=5),
            method("connection.open", 0, virtual_host="/"),
            method("channel.open", 1),
            method("channel.open", 2),
        ]
    )


def closed() -> bytes:
    return method("channel.close", 2, reply_code=200) + method("connection.close", 0, reply_code=200)


def publishing() -> bytes:
    """Confirms, every property, large and empty bodies, several channels at once."""
    head, _, tail = publication("", "q", bytes(9000), frame_max=FRAME_MAX).partition(frame(3, 1, bytes(4088)))
    return b"".join(
        [
            method("queue.declare", queue="q", durable=True, arguments={"x-max-length": 100}),
            method("confirm.select"),
            publication("", "q", b"body", properties(EVERY_TYPE)),
            publication("", "q", b"", {"delivery_mode": 2, "headers": {"CC": ["q", "r"], "BCC": ["s"]}}),
            publication("", "nowhere", b"returned", mandatory=True),
            head,
            publication("amq.fanout", "k", b"between", on=2),
            frame(3, 1, bytes(4088)),
            tail,
            frame(HEARTBEAT, 0, b""),
        ]
    )


def consuming() -> bytes:
    """Prefetch, deliveries, each kind of settlement, basic.get, recover, cancel."""
    return b"".join(
        [
            method("queue.declare", queue="c", exclusive=True, auto_delete=True),
            method("basic.qos", prefetch_count=3),
            method("basic.qos", 2, prefetch_count=5, global_=True),
            *[publication("", "c", b"message %d" % number, {"delivery_mode": 2}) for number in range(8)],
            method("basic.consume", queue="c", consumer_tag="tag", arguments={"x-priority": 1}),
            method("basic.ack", delivery_tag=1),
            method("basic.nack", delivery_tag=2, requeue=True),
            method("basic.reject", delivery_tag=3, requeue=False),
            method("channel.flow", active=False),
            method("channel.flow", active=True),
            method("basic.get", 2, queue="c"),
            method("basic.recover", 2, requeue=True),
            method("basic.cancel", consumer_tag="tag"),
            method("basic.ack", delivery_tag=0, multiple=True),
            method("queue.purge", queue="c"),
        ]
    )


def topology() -> bytes:
    """Exchanges of each type, bindings between them, and their end."""
    calls = []
    for kind in ("direct", "fanout", "topic", "headers"):
        calls += [
            method("exchange.declare", exchange=kind, type=kind, arguments={"alternate-exchange": "amq.fanout"}),
            method("queue.declare", queue=f"of {kind}"),
            method("queue.bind", queue=f"of {kind}", exchange=kind, routing_key="a.*.#", arguments={"h": 1}),
            publication(kind, "a.b.c", b"x", {"headers": {"h": 1}}),
        ]
    return b"".join(
        [
            *calls,
            method("exchange.bind", source="topic", destination="headers", routing_key="#"),
            publication("topic", "a.b", b"y", properties({"h": Field("l", 1)})),
            method("exchange.unbind", source="topic", destination="headers", routing_key="#"),
            method("queue.unbind", queue="of direct", exchange="direct", routing_key="a.*.#", arguments={"h": 1}),
            method("queue.delete", queue="of fanout"),
            method("exchange.delete", exchange="headers"),
            method("queue.declare", queue="of direct", passive=True),
        ]
    )


def transactions() -> bytes:
    """tx (nothing that waits for the disk), direct reply-to, and a soft error with what comes after it."""
    return b"".join(
        [
            method("tx.select"),
            method("queue.declare", queue="t"),
            publication("", "t", b"one"),
            method("tx.commit"),
            publication("", "t", b"two"),
            method("tx.rollback"),
            method("basic.consume", 2, queue="amq.rabbitmq.reply-to", no_ack=True),
            publication("", "t", b"request", {"reply_to": "amq.rabbitmq.reply-to"}, on=2),
            method("queue.declare", 2, queue="missing", passive=True),
            publication("", "t", b"dropped", on=2),
            method("channel.close-ok", 2),
            method("channel.open", 2),
        ]
    )


def sessions(user: str = "guest", password: str = PASSWORD) -> list[bytes]:
    parts = (publishing, consuming, topology, transactions)
    plain = [opened(user, password) + part() + closed() for part in parts]
    everything = b"".join(part() for part in parts)
    return [
        *plain,
        opened(user, password, "AMQPLAIN") + everything + closed(),
        opened(user, "wrong"),
    ]
