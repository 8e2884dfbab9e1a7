"""Passwords that need a hash are checked in a few threads, one after the other, for those who still wait.

A hash takes some 50 ms of a core: whoever sends wrong passwords and goes again must not keep the others waiting.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor

from amqpd.auth.backend import Attempt
from amqpd.server.inbox import Inbox
from amqpd.session.connection import CLOSED, Connection

# Passwords checked at once: each takes 16 MiB and some 50 ms of a core.
LOGIN_THREADS = 2


class LoginChecks:
    """``under_way``: passwords in the threads now."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._threads = ThreadPoolExecutor(LOGIN_THREADS, "amqpd-login")
        self._waiting: deque[tuple[Connection, Attempt]] = deque()
        self.under_way = 0

    def check(self, connection: Connection, attempt: Attempt) -> None:
        """Have a password checked; the connection hears of it on the trio thread."""
        self._waiting.append((connection, attempt))
        self._start()

    def stop(self) -> None:
        self._waiting.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        while self._waiting and self.under_way < LOGIN_THREADS:
            connection, attempt = self._waiting.popleft()
            if connection.state != CLOSED:
                self.under_way += 1
                self._threads.submit(self._check, connection, attempt)

    def _check(self, connection: Connection, attempt: Attempt) -> None:
        """In a thread."""
        passed = False
        try:
            passed = attempt.check()
        finally:
            self._inbox.call(self._checked, connection, attempt, passed)

    def _checked(self, connection: Connection, attempt: Attempt, passed: bool) -> None:
        self.under_way -= 1
        self._start()
        connection.handshake.login_checked(connection, attempt, passed)
