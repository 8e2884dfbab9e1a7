"""The client's faults: one exception class for each reply code.

Raise where the rule is broken, with RabbitMQ's own text after the code's name. ``Connection`` turns them into
``channel.close`` (311-313, 403-406) or ``connection.close`` (everything else); nobody else catches them.
"""

from __future__ import annotations

from typing import ClassVar

from amqpd.spec.constants import REPLY_NAMES

REPLY_TEXT_MAX = 255  # a shortstr on the wire
SNIPPET_MAX = 16  # octets of a payload that an error text shows


class AmqpError(Exception):
    """A protocol error with its reply code.

    ``text`` is the explanation without the code's name. ``method`` is the offending method's id; 0 means
    none (class-id 0, method-id 0 on the wire), None means the method being handled.
    """

    code: ClassVar[int] = 541
    closes_connection: ClassVar[bool] = True

    def __init__(self, text: str, method: int | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.method = method

    @property
    def reply_text(self) -> str:
        """``NAME - explanation``; above 255 octets of UTF-8 it is cut to 252, between characters, and dots."""
        # A name may come from octets that are no UTF-8 (CC headers): what cannot be encoded is shown as "?".
        full = f"{REPLY_NAMES[self.code]} - {self.text}".encode("utf-8", "replace")
        if len(full) <= REPLY_TEXT_MAX:
            return full.decode()
        return full[: REPLY_TEXT_MAX - 3].decode("utf-8", "ignore") + "..."


def snippet(octets: bytes) -> str:
    """A frame's payload as RabbitMQ shows it: the beginning of what it holds, in Erlang's notation."""
    which = "all" if len(octets) <= SNIPPET_MAX else f"first {SNIPPET_MAX}"
    return f"{which} octets = {binary(octets[:SNIPPET_MAX])}"


def binary(octets: bytes) -> str:
    """``<<"abc">>`` where everything is printable ASCII, else ``<<1,2,3>>``."""
    if octets and all(32 <= octet < 127 for octet in octets):
        text = octets.decode("ascii").replace("\\", "\\\\").replace('"', '\\"')
        return f'<<"{text}">>'
    return f"<<{','.join([str(octet) for octet in octets])}>>"


class ChannelClosingError(AmqpError):
    """A soft error: closes the channel."""

    closes_connection = False


class AccessRefused(ChannelClosingError):
    code = 403


class NotFound(ChannelClosingError):
    code = 404


class ResourceLocked(ChannelClosingError):
    code = 405


class PreconditionFailed(ChannelClosingError):
    code = 406


class ConnectionForced(AmqpError):
    code = 320


class LoginRefused(AmqpError):
    """403 during login, where there is no channel to close."""

    code = 403


class FrameError(AmqpError):
    code = 501


class AmqpSyntaxError(AmqpError):
    code = 502


class CommandInvalid(AmqpError):
    code = 503


class ChannelError(AmqpError):
    code = 504


class UnexpectedFrame(AmqpError):
    code = 505


class ResourceError(AmqpError):
    code = 506


class NotAllowed(AmqpError):
    code = 530


class NotImplementedByBroker(AmqpError):
    code = 540


class InternalError(AmqpError):
    code = 541
