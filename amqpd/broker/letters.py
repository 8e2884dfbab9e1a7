"""Dead letters: entries that left their queue for good and go to its dead-letter exchange.

An entry is never published from inside a pump: a queue puts a letter on the shard's list, the next turn hands it to
the letter handler, and that publishes and settles within one open batch. So it is in the old queue or in the new
ones, whatever happens in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from amqpd.broker.message import Entry

if TYPE_CHECKING:
    from amqpd.broker.broker import Broker

# Why an entry left its queue; RabbitMQ's words, they stand in x-death.
REJECTED: Final = "rejected"
EXPIRED: Final = "expired"
MAXLEN: Final = "maxlen"
DELIVERY_LIMIT: Final = "delivery_limit"


@final
class Letter:
    """``entry`` is out of its queue's lists, and still in the store until the handler settles it."""

    def __init__(self, entry: Entry, reason: str) -> None:
        self.entry: Entry = entry
        self.reason: str = reason


@mypyc_attr(allow_interpreted_subclasses=True)
class Poster:
    """Has messages to publish that no input brought: it puts itself on ``Shard.due`` and is called in the next turn."""

    def post(self, broker: Broker, limit: i64) -> None:
        """Publish at most ``limit`` of them; with more left it puts itself on ``Shard.due`` again."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class LetterHandler:
    """Publishes dead letters."""

    def post(self, broker: Broker, letter: Letter) -> None:
        """Publish ``letter`` and settle its entry, or arrange that both happen later. Never raises."""
        raise NotImplementedError
