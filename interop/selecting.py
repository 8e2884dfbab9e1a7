"""What programs with pika's SelectConnection share: one channel, served until the connection closes."""

from typing import Any

import pika

from interop.blocking import WAIT_SECONDS


class SelectClient:
    """Subclasses start in ``on_channel`` and call ``finish`` when they have seen all they wait for."""

    def __init__(self, url: str) -> None:
        self.channel: Any = None
        self.closed_with: Any = None
        self._finished = False
        self.connection = pika.SelectConnection(
            pika.URLParameters(url),
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_closed,
            on_close_callback=self._on_closed,
        )

    def serve(self) -> None:
        """Run the loop until the connection closes; AssertionError if ``finish`` was not called in time."""
        self.connection.ioloop.call_later(WAIT_SECONDS, self.connection.close)
        self.connection.ioloop.start()
        self.connection.ioloop.close()
        assert self._finished, f"the program did not finish: {self.closed_with!r}"

    def finish(self) -> None:
        self._finished = True
        self.connection.close()

    def on_channel(self, channel: Any) -> None:
        raise NotImplementedError

    def _on_open(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._on_channel_open)

    def _on_channel_open(self, channel: Any) -> None:
        self.channel = channel
        self.on_channel(channel)

    def _on_closed(self, connection: pika.SelectConnection, reason: Any) -> None:
        self.closed_with = reason
        connection.ioloop.stop()


class Confirms:
    """The confirms of one channel: which publish numbers were acked and which nacked."""

    def __init__(self) -> None:
        self.acked: set[int] = set()
        self.nacked: set[int] = set()

    def __len__(self) -> int:
        return len(self.acked) + len(self.nacked)

    def answered(self, method: pika.spec.Basic.Ack | pika.spec.Basic.Nack) -> list[int]:
        """Note one ack or nack frame; returns the publish numbers that it answers."""
        tag = method.delivery_tag
        known = self.acked | self.nacked
        numbers = [n for n in range(1 if method.multiple else tag, tag + 1) if n not in known]
        assert numbers, f"publish {tag} was confirmed twice"
        (self.acked if isinstance(method, pika.spec.Basic.Ack) else self.nacked).update(numbers)
        return numbers
