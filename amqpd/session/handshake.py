"""From the first octet to connection.open-ok (spec 1.4 and 2.2).

    header -> start / start-ok [secure / secure-ok]* -> tune / tune-ok -> open / open-ok

1. A peer that sends something else than AMQP 0-9-1 gets our protocol header and is closed.
2. A refused login is answered with 403 when the client announced ``authentication_failure_close``; otherwise, and
   for a malformed one, the socket is closed after three seconds without a frame. RabbitMQ does so, too.
3. Passwords are checked in a thread: the connection is stalled and put on ``Environment.logins`` meanwhile.
"""

from __future__ import annotations

from amqpd.auth.backend import Attempt, AuthFailed
from amqpd.auth.mechanisms import Challenge, Login, MechanismError, Peer
from amqpd.session.connection import CLOSED, RUNNING, Connection
from amqpd.session.environment import Environment
from amqpd.session.session_events import authenticated, connection_created, not_authenticated
from amqpd.spec.constants import (
    BASIC_PUBLISH,
    CONNECTION_OPEN,
    CONNECTION_OPEN_OK,
    CONNECTION_SECURE,
    CONNECTION_SECURE_OK,
    CONNECTION_START,
    CONNECTION_START_OK,
    CONNECTION_TUNE,
    CONNECTION_TUNE_OK,
    FRAME_MIN_SIZE,
    PROTOCOL_HEADER,
)
from amqpd.spec.errors import AmqpError, ChannelError, LoginRefused, NotAllowed, PreconditionFailed
from amqpd.wire.methods import ArgumentReader, MethodWriter
from amqpd.wire.table import Field, Table, boolean, longstr, plain

ACCEPTED_HEADERS = (PROTOCOL_HEADER, b"AMQP\x01\x01\x00\x09")  # the second is 0-9, which is 0-9-1 on the wire

CAPABILITIES = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
    "accept_consumer_cancel_ok",  # RabbitMQ 4.3.7: clients answer a basic.cancel where they see this
)


def server_properties(product: str, version: str, cluster_name: str, platform: str, own_version: str) -> Table:
    """The nine keys RabbitMQ announces. Clients choose their behaviour by product and version (trap T5)."""
    return {
        "capabilities": Field("F", {name: boolean(True) for name in CAPABILITIES}),
        "cluster_name": longstr(cluster_name),
        "copyright": longstr("amqpd contributors"),
        "information": longstr(f"amqpd {own_version}, licensed under the MPL 2.0"),
        "platform": longstr(platform),
        "product": longstr(product),
        "version": longstr(version),
    }


class Handshake:
    """One connection's handshake. ``state`` names what is awaited, in RabbitMQ's words."""

    def __init__(self, environment: Environment, peer: Peer) -> None:
        self.environment = environment
        self.peer = peer
        self.state = "handshake"
        self.login: Login | None = None
        self.challenge: Challenge | None = None

    def greet(self, connection: Connection) -> bool:
        """The protocol header. True when it is whole and ours."""
        got = connection.greeting[:8]
        if not any(header.startswith(got) for header in ACCEPTED_HEADERS):
            connection.outbox.write(PROTOCOL_HEADER)
            connection.lost("no AMQP 0-9-1 protocol header")
            return False
        if len(got) < 8:
            return False
        connection.greeted = True
        connection.reader.feed(connection.greeting[8:])
        connection.greeting = b""
        self.state = "starting"
        mechanisms = " ".join(self.environment.mechanisms.offered(self.peer))
        writer = MethodWriter(CONNECTION_START).octet(0).octet(9).table(self.environment.server_properties)
        connection.outbox.write(writer.longstr(mechanisms.encode()).longstr(b"en_US").frame(0))
        return True

    def hears_errors(self, error: AmqpError) -> bool:
        """Whether a close frame is sent for ``error``: before the login only the refusal of it."""
        return self.state in ("tuning", "opening", "running") or isinstance(error, LoginRefused)

    def method(self, connection: Connection, method: int, arguments: ArgumentReader) -> None:
        """A method on channel 0 before the connection is open."""
        if self.state == "starting" and method == CONNECTION_START_OK:
            self._start_ok(connection, arguments)
        elif self.state == "securing" and method == CONNECTION_SECURE_OK:
            assert self.challenge is not None
            challenge = self.challenge
            response = arguments.longstr()
            arguments.end()
            self._step(connection, lambda: challenge.respond(response))
        elif self.state == "tuning" and method == CONNECTION_TUNE_OK:
            self._tune_ok(connection, arguments)
        elif self.state == "opening" and method == CONNECTION_OPEN:
            self._open(connection, arguments)
        else:
            raise ChannelError(f"unexpected method in connection state {self.state}", method)

    def _start_ok(self, connection: Connection, arguments: ArgumentReader) -> None:
        properties = arguments.table()
        mechanism = arguments.shortstr()
        response = arguments.longstr()
        arguments.shortstr()  # the locale: RabbitMQ takes any
        arguments.end()
        connection.client_properties = {name: plain(field) for name, field in properties.items()}
        name = connection.client_properties.get("connection_name")
        connection.client_name = name if isinstance(name, str) else ""
        capabilities = connection.client_properties.get("capabilities")
        if isinstance(capabilities, dict):
            connection.hears_cancel = capabilities.get("consumer_cancel_notify") is True
            connection.hears_blocked = capabilities.get("connection.blocked") is True
            connection.hears_refusal = capabilities.get("authentication_failure_close") is True
        self._step(connection, lambda: self.environment.mechanisms.begin(mechanism, response, self.peer))

    def _step(self, connection: Connection, step: object) -> None:
        assert callable(step)
        try:
            answer = step()
        except MechanismError as error:
            self.environment.log.refused(connection, str(error))
            connection.end_silently()
            return
        except AuthFailed as error:
            self._refuse(connection, str(error), "")
            return
        if isinstance(answer, Challenge):
            self.challenge = answer
            self.state = "securing"
            connection.outbox.write(MethodWriter(CONNECTION_SECURE).longstr(answer.text).frame(0))
            return
        assert isinstance(answer, Login)
        self.login = answer
        attempt = answer.attempt(self.environment.backend)
        if attempt.quick:
            self.checked(connection, attempt, attempt.check())
        else:
            connection.stalled = True
            self.environment.logins.append((connection, attempt))

    def login_checked(self, connection: Connection, attempt: Attempt, passed: bool) -> None:
        """The thread's answer: go on where the connection was stalled."""
        if connection.state == CLOSED:
            return
        connection.stalled = False
        try:
            self.checked(connection, attempt, passed)
        except LoginRefused as error:
            connection.fail(error)
        connection.outbox.touch()
        connection.process()

    def checked(self, connection: Connection, attempt: Attempt, passed: bool) -> None:
        """Raises LoginRefused (403, closes the connection) where the client can hear it."""
        assert self.login is not None
        try:
            connection.user = attempt.user(passed)
        except AuthFailed as error:
            self._refuse(connection, str(error), self.login.mechanism)
            return
        self.state = "tuning"
        environment = self.environment
        if environment.broker.events.listening:
            authenticated(connection)
        writer = MethodWriter(CONNECTION_TUNE).short(environment.channel_max).long(environment.frame_max)
        connection.outbox.write(writer.short(environment.heartbeat).frame(0))

    def _refuse(self, connection: Connection, reason: str, mechanism: str) -> None:
        self.environment.log.refused(connection, reason)
        if self.environment.broker.events.listening:
            not_authenticated(connection, reason)
        if not connection.hears_refusal:
            connection.end_silently()
            return
        raise LoginRefused(
            f"Login was refused using authentication mechanism {mechanism}. For details see the broker logfile.",
            0,
        )

    def _tune_ok(self, connection: Connection, arguments: ArgumentReader) -> None:
        channel_max = arguments.short()
        frame_max = arguments.long()
        heartbeat = arguments.short()
        arguments.end()
        environment = self.environment
        _check_negotiated("channel_max", channel_max, 1, environment.channel_max)
        _check_negotiated("frame_max", frame_max, FRAME_MIN_SIZE, environment.frame_max)
        connection.channel_max = channel_max
        connection.outbox.frame_max = frame_max or 1 << 31
        connection.reader.payload_max = frame_max - 8 if frame_max else 0
        connection.start_heartbeats(heartbeat)
        self.state = "opening"

    def _open(self, connection: Connection, arguments: ArgumentReader) -> None:
        name = arguments.shortstr()
        arguments.shortstr()
        arguments.octet()
        arguments.end()
        user = connection.user.name
        environment = self.environment
        vhost = environment.broker.vhosts.get(name)
        if vhost is None:
            environment.log.refused(connection, f"vhost {name} not found")
            raise NotAllowed(f"vhost {name} not found")
        if not environment.backend.has_access(user, name):
            environment.log.refused(connection, f"access to vhost '{name}' refused for user '{user}'")
            raise NotAllowed(f"access to vhost '{name}' refused for user '{user}'")
        self._check_limits(name, user)
        connection.vhost = vhost
        connection.state = RUNNING
        environment.broker.timers.cancel(connection.close_timer)
        self.state = "running"
        connection.outbox.write(MethodWriter(CONNECTION_OPEN_OK).shortstr("").frame(0))
        environment.log.opened(connection)
        events = environment.broker.events
        events.actor = user
        if events.listening:
            connection_created(connection)

    def _check_limits(self, vhost: str, user: str) -> None:
        broker, limiter = self.environment.broker, self.environment.limiter
        limit = limiter.vhost_limit(vhost, "max-connections")
        if limit >= 0:
            opened = sum(1 for other in broker.connections.values() if other.vhost_name() == vhost)
            if opened >= limit:
                raise NotAllowed(
                    f"access to vhost '{vhost}' refused for user '{user}': connection limit ({limit}) is reached"
                )
        limit = limiter.user_limit(user, "max-connections")
        if limit >= 0:
            opened = sum(
                1
                for other in broker.connections.values()
                if isinstance(other, Connection) and other.user.name == user and other.state == RUNNING
            )
            if opened >= limit:
                raise NotAllowed(f"connection refused for user '{user}': user connection limit ({limit}) is reached")

    def check_user_id(self, connection: Connection, octets: bytes) -> None:
        """Raises PreconditionFailed (406) when a message claims another user than the one logged in."""
        user = connection.user
        claimed = octets.decode("utf-8", "replace")
        if claimed != user.name and "impersonator" not in user.tags:
            raise PreconditionFailed(
                f"user_id property set to '{claimed}' but authenticated user was '{user.name}'", BASIC_PUBLISH
            )


def _check_negotiated(name: str, value: int, minimum: int, maximum: int) -> None:
    """Raises NotAllowed (530) outside the bounds; a server maximum of 0 means no limit."""
    if value == 0 and maximum == 0:
        return
    if maximum and (value == 0 or value > maximum):
        shown = "0 (no limit)" if value == 0 else str(value)
        raise NotAllowed(
            f"negotiated {name} = {shown} is higher than the maximum allowed value ({maximum})",
            CONNECTION_TUNE,
        )
    if value < minimum:
        raise NotAllowed(
            f"negotiated {name} = {value} is lower than the minimum allowed value ({minimum})",
            CONNECTION_TUNE,
        )
