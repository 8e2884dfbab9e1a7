"""What the programs about the exchange type x-delayed-message share."""

import time
from typing import Any

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel

from interop.broker import CannotDo
from interop.watching import Inbox

KIND = "x-delayed-message"
# The broker counts whole milliseconds, from when it began to read what had come.
TOLERANCE_SECONDS = 0.02


def declare_delayed(channel: BlockingChannel, name: str, kind: str, *, durable: bool = False, **more: Any) -> None:
    """Declare a delayed exchange that routes like ``kind``; ``more`` are further arguments, with _ for -.

    Raises CannotDo when the broker does not know the type.
    """
    arguments = {"x-delayed-type": kind} | {word.replace("_", "-"): value for word, value in more.items()}
    try:
        channel.exchange_declare(name, KIND, durable=durable, arguments=arguments)
    except (pika.exceptions.ConnectionClosedByBroker, pika.exceptions.ChannelClosedByBroker) as error:
        raise unknown_type(error.reply_text) from error


def unknown_type(text: str) -> Exception:
    """CannotDo for the broker's refusal of the type, AssertionError for any other."""
    if "exchange type" in text and KIND in text:
        return CannotDo(f"no exchange type {KIND} in this broker")
    return AssertionError(text)


def delay(milliseconds: Any, /, **headers: Any) -> pika.BasicProperties:
    return pika.BasicProperties(delivery_mode=2, headers={"x-delay": milliseconds} | headers)


class Clock(Inbox):
    """Notes when each message came; ``early`` are those that came before their time."""

    def __init__(self, connection: pika.BlockingConnection, queue: str) -> None:
        self.not_before: dict[str, float] = {}
        self.early: list[str] = []
        super().__init__(connection, queue, auto_ack=True)

    def publish(
        self, channel: Any, exchange: str, key: str, body: str, properties: pika.BasicProperties, ms: int
    ) -> None:
        """Publish what must not come for so many milliseconds."""
        self.not_before[body] = time.monotonic() + ms / 1000 - TOLERANCE_SECONDS
        channel.basic_publish(exchange, key, body.encode(), properties)

    def _on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        super()._on_message(channel, method, properties, body)
        if time.monotonic() < self.not_before.get(body.decode(), 0):
            self.early.append(body.decode())
