"""What the programs of aiormq, aio-pika and FastStream share: the others stand on aiormq, and all on asyncio."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import aiormq
from aiormq.exceptions import AMQPError, PublishError

from interop.families.python.checks import AMQP, PATIENCE, arrival, check, check_deaths, check_typed, control

REPLY_TO = "amq.rabbitmq.reply-to"
Probe = Callable[[], Awaitable[bool]]
NOT_FOUND = ("ChannelNotFoundEntity", "NOT_FOUND")
NOT_REFUSED = ("", "not refused")
MOMENT = datetime(2026, 11, 21, 3, 2, 51, tzinfo=UTC)

# What these clients can write: the narrowest integer, floats of 32 bits and no others, bytes as a bytearray,
# a decimal without a sign.
TABLE: dict[str, Any] = {
    "true": True,
    "false": False,
    "int8": -(2**7),
    "int8 max": 2**7 - 1,
    "int16": -(2**15),
    "int16 max": 2**15 - 1,
    "uint16 max": 2**16 - 1,
    "int32": -(2**31),
    "int32 max": 2**31 - 1,
    "uint32 max": 2**32 - 1,
    "int64": -(2**63),
    "int64 max": 2**63 - 1,
    "float": -1.5,
    "decimal": Decimal("12.345"),
    "string": "grüße, 世界",
    "empty string": "",
    "bytes": bytearray(b"\x00\xff\xfe"),
    "timestamp": MOMENT,
    "null": None,
    "table": {"a": {"b": [1, "two", None, {"three": True}]}, "ключ": 0.5},
    "array": [1, "two", [3.5, [False]], None, {"d": Decimal("0.5")}],
    "empty table": {},
    "empty array": [],
}


def check_table(seen: dict[str, Any]) -> None:
    for name, value in TABLE.items():
        check_typed(f"header {name}", seen[name], value)
    check("no more headers", sorted(seen), sorted(TABLE))


PROPERTIES: dict[str, Any] = {
    "content_type": "application/json",
    "content_encoding": "identity",
    "priority": 9,
    "correlation_id": "correlation",
    "reply_to": "reply",
    "message_id": "message",
    "timestamp": MOMENT,
    "user_id": AMQP.user,
}

# For headers exchanges: what queues are bound to, what is published, and who gets which bodies.
BOUND_TO: dict[str, Any] = {"shape": "round", "size": 3}
MATCHING: dict[bytes, dict[str, Any]] = {
    b"both": {"shape": "round", "size": 3},
    b"one": {"shape": "square", "size": 3},
    b"none": {"shape": "square", "size": 4},
}
MATCHED = {"all": [b"both"], "any": [b"both", b"one"]}


def url(*, password: str = AMQP.password, vhost: str = AMQP.vhost) -> str:
    user, password, vhost = (quote(part, safe="") for part in (AMQP.user, password, vhost))
    return f"amqp://{user}:{password}@{AMQP.host}:{AMQP.port}/{vhost}"


@asynccontextmanager
async def scratch(queues: Sequence[str], exchanges: Sequence[str]) -> AsyncIterator[None]:
    """What a scenario declares under these names is deleted before and after; its connections lie within.

    A robust connection that were still open would declare again what is deleted under its consumers.
    """
    await delete(queues, exchanges)
    try:
        yield
    finally:
        await delete(queues, exchanges)


async def delete(queues: Sequence[str], exchanges: Sequence[str] = ()) -> None:
    async with aiormq.connect(AMQP.url) as connection:
        channel = await connection.channel()
        for queue in queues:
            await channel.queue_delete(queue)
        for exchange in exchanges:
            await channel.exchange_delete(exchange)


async def refusal(action: Awaitable[object]) -> tuple[str, str]:
    """The exception that is raised, and the broker's word for it: ``ChannelNotFoundEntity``, ``NOT_FOUND``."""
    try:
        await action
    except AMQPError as error:
        return type(error).__name__, str(error.args[0]).split(" - ")[0]
    return NOT_REFUSED


def check_capabilities(server_properties: Any) -> None:
    check("server names its product", isinstance(server_properties["product"], str))
    for capability in ("publisher_confirms", "consumer_cancel_notify", "basic.nack"):
        check(f"capability {capability}", server_properties["capabilities"][capability])


async def check_refused_logins(connect: Callable[[str], Awaitable[object]]) -> None:
    wrong_password = await refusal(connect(url(password="wrong")))
    check("wrong password", wrong_password, ("ProbableAuthenticationError", "ACCESS_REFUSED"))
    # aiormq has no exception for a refused connection.open: it names the frame it did not expect, without its code.
    name, text = await refusal(connect(url(vhost="interop.no-such-vhost")))
    check("unknown vhost", name, "InvalidFrameError")
    check("unknown vhost is answered with connection.close", "got <Connection.Close" in text)


def check_returned(error: PublishError, exchange: str, body: bytes, properties: dict[str, Any]) -> None:
    """A message to ``interop.nobody`` came back whole, by the exception that aiormq raises for it."""
    frame: Any = error.frame
    message: Any = error.message
    check("312 NO_ROUTE", (frame.reply_code, frame.reply_text), (312, "NO_ROUTE"))
    check("exchange and routing key", (frame.exchange, frame.routing_key), (exchange, "interop.nobody"))
    check("body", message.body, body)
    for name, value in properties.items():
        check(f"property {name}", getattr(message.header.properties, name), value)


async def eventually(what: str, holds: Probe, pause: float = 0.02) -> None:
    """Ask until the answer is yes; a check that fails after ``PATIENCE`` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not (met := await holds()) and time.monotonic() < deadline:
        await asyncio.sleep(pause)
    check(what, met)


async def check_expiry(declare: Callable[[dict[str, Any]], Awaitable[object]], is_gone: Probe) -> None:
    """``declare`` makes a queue with these arguments that nobody uses then."""
    expires = 0.1
    began = time.monotonic()
    await declare({"x-expires": round(expires * 1000)})
    # On a busy machine it may have gone before the first look, but not before its time.
    there = not await is_gone() or time.monotonic() - began >= expires
    check("x-expires: there at first", there)
    # Asking counts as use, so the pause is longer than x-expires.
    await eventually("x-expires: an unused queue goes", is_gone, pause=0.2)


class HasBody(Protocol):
    @property
    def body(self) -> bytes: ...


Message = TypeVar("Message", bound=HasBody)


class Inbox(list[Message]):
    """A consumer's callback that keeps what comes."""

    async def __call__(self, message: Message) -> None:
        self.append(message)

    @property
    def bodies(self) -> list[bytes]:
        return [message.body for message in self]

    async def holds(self, what: str, number: int) -> None:
        await arrival(what, lambda: len(self) >= number)


def large_bodies(frame_max: int | None) -> Iterator[bytes]:
    """Bodies of no frame, of almost one, of exactly one and of very many."""
    assert frame_max
    for size in (0, frame_max - 8, frame_max - 7, 20 * 2**20):
        yield (bytes(range(256)) * (size // 256 + 1))[:size]


def dead_letters_to(routing_key: str, exchange: str = "") -> dict[str, Any]:
    return {"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": routing_key}


def check_letters(letters: Sequence[tuple[object, Any]], queue: str, exchange: str) -> None:
    """Where three dead letters came, and their headers: each died once in ``queue``; its body is the reason."""
    for (where, headers), reason in zip(letters, ("rejected", "expired", "maxlen"), strict=True):
        check(f"{reason}: body, exchange and routing key", where, (reason.encode(), exchange, "dead"))
        row = {"count": 1, "reason": reason, "queue": queue, "exchange": "", "routing-keys": [queue]}
        check_deaths(reason, headers, row | ({"original-expiration": "50"} if reason == "expired" else {}))
        first = [headers[f"x-first-death-{what}"] for what in ("reason", "queue", "exchange")]
        check(f"{reason}: x-first-death", first, [reason, queue, ""])


def check_second_deaths(headers: Any, work: str, waiting: str) -> None:
    """A message that was rejected in ``work`` and has expired in ``waiting``, and all that twice."""
    expired = {"count": 2, "reason": "expired", "queue": waiting, "exchange": "", "routing-keys": [waiting]}
    rejected = {"count": 2, "reason": "rejected", "queue": work, "exchange": "", "routing-keys": [work]}
    check_deaths("twice", headers, expired, rejected)


class Notices(logging.Handler):
    """aiormq tells connection.blocked in its log and nowhere else; the reason is the record's second argument."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.reasons: list[str] = []
        self.unblocked = 0

    def emit(self, record: logging.LogRecord) -> None:
        if "was blocked by" in record.msg and isinstance(record.args, tuple):
            self.reasons.append(str(record.args[1]))
        elif "was unblocked" in record.msg:
            self.unblocked += 1


async def publish_during_alarm(publish: Callable[[bytes], Awaitable[object]]) -> Sequence[bytes]:
    """Raise the alarm, publish until the client is told and once more, end the alarm; returns what was published."""
    sending: dict[bytes, asyncio.Future[object]] = {}

    def send() -> None:
        body = str(len(sending)).encode()
        sending[body] = asyncio.ensure_future(publish(body))

    notices, log = Notices(), logging.getLogger("aiormq.connection")
    log.addHandler(notices)
    try:
        await asyncio.to_thread(control, "alarm", "on")
        try:
            # A broker tells a connection that publishes, and the alarm may take a moment.
            deadline = time.monotonic() + PATIENCE
            while not notices.reasons and time.monotonic() < deadline:
                send()
                await asyncio.sleep(0.02)
            send()
            check("blocked, with a reason", len(notices.reasons) == 1 and notices.reasons[0] != "")
            check("not unblocked yet", notices.unblocked, 0)
        finally:
            await asyncio.to_thread(control, "alarm", "off")
        await arrival("unblocked", lambda: notices.unblocked == 1)
        await arrival("all are confirmed", lambda: all(one.done() and not one.exception() for one in sending.values()))
    finally:
        log.removeHandler(notices)
    return list(sending)
