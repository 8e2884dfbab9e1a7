"""What all sessions share: the broker, who may come in, limits, and where they report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from amqpd.auth.backend import Attempt, Backend
from amqpd.auth.mechanisms import Mechanisms
from amqpd.broker.broker import Broker
from amqpd.wire.methods import ArgumentReader
from amqpd.wire.table import Table

if TYPE_CHECKING:
    from amqpd.session.channel import Channel
    from amqpd.session.connection import Connection

Handler = Callable[["Channel", ArgumentReader], None]


class SessionLog(Protocol):
    """Where sessions report what operators look for."""

    def opened(self, connection: Connection) -> None:
        """connection.open succeeded."""

    def refused(self, connection: Connection, reason: str) -> None:
        """Login or connection.open was refused."""

    def failed(self, connection: Connection, channel: int, code: int, text: str) -> None:
        """The broker closes a channel (``channel`` above 0) or the connection for a client's fault."""

    def timed_out(self, connection: Connection, channel: int, consumer_tag: str, text: str) -> None:
        """The broker cancels a consumer that did not acknowledge in time."""

    def lost(self, connection: Connection, reason: str) -> None:
        """The connection ends without a close handshake."""

    def closed(self, connection: Connection) -> None:
        """The connection ended in order."""

    def crashed(self, connection: Connection, error: BaseException) -> None:
        """A fault of ours: the connection gets 541."""


class QuietLog:
    """Reports nowhere."""

    def opened(self, connection: Connection) -> None: ...

    def refused(self, connection: Connection, reason: str) -> None: ...

    def failed(self, connection: Connection, channel: int, code: int, text: str) -> None: ...

    def timed_out(self, connection: Connection, channel: int, consumer_tag: str, text: str) -> None: ...

    def lost(self, connection: Connection, reason: str) -> None: ...

    def closed(self, connection: Connection) -> None: ...

    def crashed(self, connection: Connection, error: BaseException) -> None: ...


class Limiter(Protocol):
    """Limits of users and vhosts; -1 means none."""

    def user_limit(self, user: str, name: str) -> int: ...

    def vhost_limit(self, vhost: str, name: str) -> int: ...


@dataclass
class Environment:
    """``token``: a fresh unguessable name part, 22 characters (randomness stays at the edge).

    ``connection_max`` and ``consumer_max_per_channel``: -1 means no limit.
    ``default_queue_type``: of queues declared without x-queue-type in a vhost that does not say either.
    ``consumer_timeout_ms``: how long a delivery may stay unacknowledged where neither consumer nor queue says; 0 is any
    time. ``consumer_timeout_closes``: what comes later closes its channel, rather than cancel its consumer.
    ``logins``: connections whose password is to be checked in a thread.
    """

    broker: Broker
    backend: Backend
    limiter: Limiter
    mechanisms: Mechanisms
    token: Callable[[], str]
    log: SessionLog = field(default_factory=QuietLog)
    server_properties: Table = field(default_factory=dict)
    heartbeat: int = 60
    frame_max: int = 131072
    channel_max: int = 2047
    max_message_size: int = 134217728
    consumer_max_per_channel: int = -1
    default_queue_type: str = "classic"
    consumer_timeout_ms: int = 0
    consumer_timeout_closes: bool = False
    handshake_timeout_ms: int = 10_000
    outbox_bytes_max: int = 1 << 20
    logins: list[tuple[Connection, Attempt]] = field(default_factory=list)
    handlers: dict[int, Handler] = field(default_factory=dict)
