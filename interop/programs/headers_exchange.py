"""A headers exchange with the four x-match modes, void values, empty bindings and values that are refused."""

import asyncio
from typing import Any

import aio_pika
import pika

from interop.blocking import connect, drain, refusal, scratch
from interop.broker import Broker
from interop.command import main
from interop.transcript import Json

EXCHANGE = "interop.headers"

BINDINGS: dict[str, dict[str, Any]] = {
    "default is all": {"format": "pdf", "type": "report"},
    "all": {"x-match": "all", "format": "pdf", "type": "report"},
    "any": {"x-match": "any", "format": "pdf", "type": "report"},
    "all ignores x-": {"x-match": "all", "format": "pdf", "x-trace": 1},
    "any ignores x-": {"x-match": "any", "format": "pdf", "x-trace": 1},
    "all-with-x": {"x-match": "all-with-x", "format": "pdf", "x-trace": 1},
    "any-with-x": {"x-match": "any-with-x", "format": "pdf", "x-trace": 1},
    "void": {"x-match": "all", "format": None},
    "all of nothing": {"x-match": "all"},
    "any of nothing": {"x-match": "any"},
    "number": {"pages": 1},
    "text": {"pages": "1"},
    "truth": {"signed": True},
}
MESSAGES: dict[str, dict[str, Any] | None] = {
    "no headers": None,
    "pdf report": {"format": "pdf", "type": "report", "more": "x"},
    "pdf": {"format": "pdf"},
    "zip report": {"format": "zip", "type": "report"},
    "traced pdf": {"format": "pdf", "x-trace": 1},
    "traced zip": {"format": "zip", "x-trace": 1},
    "page 1": {"pages": 1},
    "page '1'": {"pages": "1"},
    "signed": {"signed": True},
    "signed 1": {"signed": 1},
}


async def with_floats(url: str) -> Json:
    """Whether 1 matches 1.0; aio-pika, because pika cannot send a float."""
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(EXCHANGE)
        queue = await channel.declare_queue("", exclusive=True)
        await queue.bind(exchange, arguments={"weight": 1.0})
        matched: list[Json] = []
        for weight in (1, 1.0, 1.5):
            await exchange.publish(aio_pika.Message(str(weight).encode(), headers={"weight": weight}), "")
            if message := await queue.get(no_ack=True, fail=False):
                matched.append(message.body.decode())
        return matched


def run(broker: Broker) -> Json:
    with scratch(broker.url, exchanges=[EXCHANGE]), connect(broker.url) as connection:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, "headers")
        queues = {}
        for name, arguments in BINDINGS.items():
            queues[name] = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(queues[name], EXCHANGE, "ignored", arguments)
        for name, headers in MESSAGES.items():
            channel.basic_publish(EXCHANGE, name, name.encode(), pika.BasicProperties(headers=headers))
        matched = {name: drain(channel, queue) for name, queue in queues.items()}

        def bind_with(x_match: Any) -> Json:
            other = connection.channel()
            return refusal(lambda: other.queue_bind(queues["all"], EXCHANGE, "", {"x-match": x_match}))[:2]

        refused = {str(value): bind_with(value) for value in ("some", "", 1)}
        floats = asyncio.run(with_floats(broker.url))
        return {"matched": matched, "refused x-match": refused, "1.0 matches": floats}


_PDF: list[Json] = ["pdf report", "pdf", "traced pdf"]
EXPECTED: Json = {
    "matched": {
        "default is all": ["pdf report"],
        "all": ["pdf report"],
        "any": ["pdf report", "pdf", "zip report", "traced pdf"],
        "all ignores x-": _PDF,
        "any ignores x-": _PDF,
        "all-with-x": ["traced pdf"],
        "any-with-x": [*_PDF, "traced zip"],
        "void": ["pdf report", "pdf", "zip report", "traced pdf", "traced zip"],
        "all of nothing": list(MESSAGES),
        "any of nothing": [],
        "number": ["page 1"],
        "text": ["page '1'"],
        "truth": ["signed"],
    },
    "1.0 matches": ["1.0"],
    "refused x-match": {"some": ["channel", 406], "": ["channel", 406], "1": ["channel", 406]},
}

if __name__ == "__main__":
    main(run, EXPECTED)
