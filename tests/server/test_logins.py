"""Passwords are checked in a few threads, for those who still wait."""

from __future__ import annotations

import select
import threading

from amqpd.auth.backend import AuthFailed, Credentials, User
from amqpd.auth.mechanisms import Login
from amqpd.server.inbox import Inbox
from amqpd.server.logins import LOGIN_THREADS, LoginChecks
from amqpd.session.connection import Connection
from tests.support.linked import Linked


class Held:
    """An attempt that takes until ``gate`` is open, and fails."""

    quick = False

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate
        self.checks = 0

    def check(self) -> bool:
        self.checks += 1
        return not self.gate.wait(60)

    def user(self, passed: bool) -> User:
        raise AuthFailed("refused")


def waiting(linked: Linked) -> Connection:
    """A connection whose password is to be checked."""
    connection = linked.dial().connection
    connection.stalled = True
    connection.handshake.login = Login("PLAIN", Credentials("guest", b"", True))
    return connection


def test_password_of_a_client_that_is_gone_is_not_checked() -> None:
    linked, inbox, gate = Linked(), Inbox(), threading.Event()
    logins = LoginChecks(inbox)
    attempts = [Held(gate) for _ in range(LOGIN_THREADS + 2)]
    connections = [waiting(linked) for _ in attempts]
    for connection, attempt in zip(connections, attempts, strict=True):
        logins.check(connection, attempt)
    connections[LOGIN_THREADS].lost("gone")
    gate.set()
    while logins.under_way:
        assert select.select([inbox.fd], [], [], 60)[0]
        inbox.make_calls()
    logins.stop()
    assert [attempt.checks for attempt in attempts] == [1] * LOGIN_THREADS + [0, 1]
    assert [text for event, text in linked.log.lines if event == "refused"] == ["refused"] * (LOGIN_THREADS + 1)
