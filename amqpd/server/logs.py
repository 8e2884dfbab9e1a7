"""The log: one line an event on standard error, as text or as JSON, with the sentences RabbitMQ's operators
grep for.

A line is a sentence, and may carry detail for machines. In JSON the detail is keys beside ``event``; in text
it is left out, because the sentence has said it. What a client chose (names, vhosts) cannot end a line or
move the cursor: control characters are escaped in text as JSON does by itself.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO, cast, final

import structlog

NAME_LENGTH_MAX = 256  # of a client-provided name in a line; it may be as long as a frame

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

_COLOURS = {
    "debug": "\x1b[2m",
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[31;1m",
}

EventDict = MutableMapping[str, Any]
Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


@final
class _Lossy:
    """A stream whose failure loses lines and stops nobody: the reader of a pipe is gone, the disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


@final
class Log:
    """Where the broker says what happens. ``form`` is ``auto``, ``text`` or ``json``."""

    def __init__(
        self, level: str = "info", form: str = "auto", stream: TextIO | None = None, clock: Clock = _now
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._json = form == "json"
        self._coloured = form == "auto" and self._stream.isatty()
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Log lines of this level and above from now on; lower ones cost a method call."""
        self._level = LEVELS[level]
        self._logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
            structlog.WriteLogger(cast(TextIO, _Lossy(self._stream))),
            processors=[
                structlog.processors.add_log_level,
                self._stamp,
                structlog.processors.JSONRenderer(default=str) if self._json else self._text,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
        ).bind()

    @property
    def debugging(self) -> bool:
        """Whether debug lines are logged, for callers whose line is costly to make."""
        return self._level <= LEVELS["debug"]

    def debug(self, sentence: str, **detail: object) -> None:
        self._logger.debug(sentence, **detail)

    def info(self, sentence: str, **detail: object) -> None:
        self._logger.info(sentence, **detail)

    def warning(self, sentence: str, **detail: object) -> None:
        self._logger.warning(sentence, **detail)

    def error(self, sentence: str, **detail: object) -> None:
        self._logger.error(sentence, **detail)

    def critical(self, sentence: str, **detail: object) -> None:
        self._logger.critical(sentence, **detail)

    def exception(self, sentence: str, error: BaseException, **detail: object) -> None:
        """A bug of ours: an error line with the traceback after it."""
        import traceback

        trace = "".join(traceback.format_exception(error))
        self._logger.error(sentence, **detail, traceback=trace)

    def _stamp(self, logger: object, method: str, event: EventDict) -> EventDict:
        now = self._clock()
        event["timestamp"] = now.isoformat(sep="T" if self._json else " ", timespec="milliseconds")
        return event

    def _text(self, logger: object, method: str, event: EventDict) -> str:
        level = event["level"]
        shown = f"{_COLOURS[level]}{level}\x1b[0m" if self._coloured else level
        line = f"{event['timestamp']} [{shown}] {printable(event['event'])}"
        if trace := event.get("traceback"):
            line += "\n" + "\n".join(f"  {printable(one)}" for one in trace.splitlines())
        return line


def printable(text: str) -> str:
    """The text with control and other unprintable characters escaped as in a Python string."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


@final
class ConnectionLog:
    """The lines about one connection. Addresses are ``host:port``; ``server`` is the broker's end.

    Name, user and vhost are filled in as the client tells them, and stand in every later line.
    """

    def __init__(self, log: Log, client: str, server: str) -> None:
        self._log = log
        self.client, self.server = client, server
        self.name = self.user = self.vhost = ""

    def accepted(self, tls: str = "") -> None:
        """``tls`` is the protocol version, empty for plain TCP."""
        detail = self._detail() | ({"tls": tls} if tls else {})
        self._log.info(f"accepting AMQP connection {self._with()}", **detail)

    def opened(self, user: str, vhost: str, name: str = "") -> None:
        """connection.open was answered; ``name`` is the client-provided name."""
        self.user, self.vhost, self.name = user, vhost, name[:NAME_LENGTH_MAX]
        self._log.info(
            f"connection {self._with(self.name)}: user '{user}' authenticated and granted access to vhost '{vhost}'",
            **self._detail(),
        )

    def refused(self, mechanism: str, user: str, reason: str) -> None:
        """A login failed. The client is told less than this line says."""
        self.user = user
        self._log.error(
            f"Error on AMQP connection {self._parties()}: {mechanism} login refused: {reason}",
            **self._detail(),
            mechanism=mechanism,
            reason=reason,
        )

    def failed(self, code: int, text: str, state: str = "running", channel: int = 0) -> None:
        """The broker closes the connection for an error of the client's; ``text`` is the reply text."""
        self._log.error(
            f"Error on AMQP connection {self._parties(f'state: {state}')}, channel {channel}: {code} {text}",
            **self._detail(),
            state=state,
            channel=channel,
            code=code,
            text=text,
        )

    def channel_failed(self, channel: int, code: int, text: str) -> None:
        """The broker closes a channel for an error of the client's."""
        self._log.error(
            f"Channel error on connection {self._parties()}, channel {channel}: {code} {text}",
            **self._detail(),
            channel=channel,
            code=code,
            text=text,
        )

    def timed_out(self, channel: int, consumer_tag: str, text: str) -> None:
        """The broker cancels a consumer that did not acknowledge in time; its channel stays open."""
        self._log.warning(
            f"Consumer '{consumer_tag}' cancelled on connection {self._parties()}, channel {channel}: {text}",
            **self._detail(),
            channel=channel,
            consumer_tag=consumer_tag,
            text=text,
        )

    def closed(self, reason: str = "") -> None:
        """The connection ended in order; ``reason`` is said when it was not the client's own close."""
        tail = f": {reason}" if reason else ""
        self._log.info(
            f"closing AMQP connection {self._parties()}{tail}",
            **self._detail() | ({"reason": reason} if reason else {}),
        )

    def client_unexpectedly_closed_tcp_connection(self) -> None:
        self.cut("client unexpectedly closed TCP connection")

    def cut(self, reason: str) -> None:
        """The connection ended without connection.close: missed heartbeats, a handshake timeout."""
        self._log.warning(f"closing AMQP connection {self._parties()}: {reason}", **self._detail(), reason=reason)

    def _parties(self, *more: str) -> str:
        vhost = f"vhost: '{self.vhost}'" if self.vhost else ""
        user = f"user: '{self.user}'" if self.user else ""
        return self._with(self.name, vhost, user, *more)

    def _with(self, *parts: str) -> str:
        said = ", ".join(part for part in parts if part)
        return f"{self.client} -> {self.server}" + (f" ({said})" if said else "")

    def _detail(self) -> dict[str, object]:
        known = {"name": self.name, "user": self.user, "vhost": self.vhost}
        detail: dict[str, object] = {"client": self.client, "server": self.server}
        return detail | {key: value for key, value in known.items() if value}
