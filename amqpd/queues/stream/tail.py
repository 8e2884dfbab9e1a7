"""The newest messages of a stream, in memory while it has consumers, so that who keeps up reads no disk. Hot."""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import i64

from amqpd.broker.message import Message
from amqpd.broker.shard import MESSAGE_COST, Shard
from amqpd.queues.stream.stamp import Stamp

TRIM_AT: Final = 4096  # slots let go before they are cut off the lists


@final
class Tail:
    """Messages with the offsets ``first`` to ``end`` - 1; those that were delivered carry theirs already.

    It grows while the shard has room for it; beyond that the oldest go, and are read from the disk by who needs them.
    """

    def __init__(self, shard: Shard) -> None:
        self.shard: Shard = shard
        self.first: i64 = 0
        self.end: i64 = 0
        self.bytes: i64 = 0
        self._slots: list[Message | None] = []
        self._stamped: list[bool] = []
        self._at: i64 = 0  # index of ``first``
        self._stamp: Stamp = Stamp()

    def push(self, message: Message) -> None:
        """What was published last."""
        cost: i64 = MESSAGE_COST + message.header.body_size
        self._slots.append(message)
        self._stamped.append(False)
        self.end += 1
        self.bytes += cost
        self.shard.window_bytes += cost
        while not self.shard.room(self.bytes) and self.end - self.first > 1:
            self._drop()

    def skip(self) -> None:
        """A message was published that nobody waits for."""
        if self.end > self.first:
            self.clear()
        self.end += 1
        self.first = self.end

    def message(self, offset: i64) -> Message:
        """The one with this offset, which it must hold, as it is delivered."""
        index = self._at + offset - self.first
        message = self._slots[index]
        assert message is not None
        if not self._stamped[index]:
            message = self._stamp.message(message, offset)
            self._slots[index] = message
            self._stamped[index] = True
        return message

    def let_go(self, up_to: i64) -> None:
        """Nobody is going to read what is ahead of this offset here."""
        while self.first < up_to and self.first < self.end:
            self._drop()
        if self.first == self.end:
            self.clear()

    def clear(self) -> None:
        """Nobody is going to read what is here."""
        self.shard.window_bytes -= self.bytes
        self.bytes = 0
        self.first = self.end
        self._slots = []
        self._stamped = []
        self._at = 0

    def _drop(self) -> None:
        at = self._at
        message = self._slots[at]
        assert message is not None
        cost: i64 = MESSAGE_COST + message.header.body_size
        self._slots[at] = None
        self.bytes -= cost
        self.shard.window_bytes -= cost
        self.first += 1
        at += 1
        if at == TRIM_AT:
            del self._slots[:TRIM_AT]
            del self._stamped[:TRIM_AT]
            at = 0
        self._at = at
