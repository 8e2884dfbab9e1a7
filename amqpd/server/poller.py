"""All sockets of the broker in one task.

trio watches one file descriptor, that of an epoll set in which all sockets lie. When it becomes readable, every socket
that has input is read once, then one turn runs for all of them, then every outbox is sent. So a turn's cost is shared
by all connections that had something to say, an idle connection costs neither a task nor a wake-up, and no
connection is read more often than the others.

What other threads have to say (a committed batch, a page, a password that was checked) comes through the inbox, whose
descriptor lies in the same set. A deadline or a command is handed in through ``turn``, which does the same without
reading.

While there is work the next input is not waited for in trio but in the set itself, for a millisecond at a time: on a
busy broker a way through trio's scheduler for each message would cost more than the message.
"""

from __future__ import annotations

import errno
import select
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from amqpd.broker.timers import Timer
from amqpd.server.clock import now_ms
from amqpd.server.inbox import Inbox
from amqpd.server.links import Link, LinkLog, address_text
from amqpd.session.environment import Environment

if TYPE_CHECKING:
    from amqpd.auth.backend import Attempt
    from amqpd.broker.batch import Batch
    from amqpd.broker.shard import PageRequest
    from amqpd.session.connection import Connection

EVENTS_MAX = 512
ACCEPTS_MAX = 64  # of one listener at a time
ROUNDS_MAX = 16  # rounds before other tasks run
ROUNDS_MS = 10  # no further round after this time: sockets have input meanwhile
POLL_SECONDS = 0.001
NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
REST_MS = 200


class Listener:
    """A listening socket; ``context`` gives the TLS context new connections use, or None."""

    def __init__(self, sock: socket.socket, context: Callable[[], ssl.SSLContext] | None) -> None:
        self.sock = sock
        self.context = context


class RestTimer(Timer):
    """Tries again to accept connections after there was no descriptor for one."""

    def __init__(self, poller: Poller) -> None:
        self.poller = poller

    def fire(self, now: int) -> None:
        self.poller.accept_again()


class Poller:
    """``commit``, ``load`` and ``check``: where batches, page requests and passwords go; all return at once."""

    def __init__(
        self,
        environment: Environment,
        inbox: Inbox,
        log: LinkLog,
        commit: Callable[[Batch], None],
        load: Callable[[PageRequest], None],
        check: Callable[[Connection, Attempt], None],
        proxied: bool = False,
        connection_max: int = -1,
        layer_timeout_ms: int = 5000,
    ) -> None:
        self.environment = environment
        self.broker = environment.broker
        self.inbox = inbox
        self.log = log
        self.commit = commit
        self.load = load
        self.check = check
        self.proxied = proxied
        self.connection_max = connection_max
        self.layer_timeout_ms = layer_timeout_ms
        self.rest_timer = RestTimer(self)
        self.epoll = select.epoll()
        self.epoll.register(inbox.fd, select.EPOLLIN)
        self.links: dict[int, Link] = {}
        self.listeners: dict[int, Listener] = {}
        self.numbers = 0
        self.broker.now = now_ms()
        self._deadline_changed = trio.Event()
        self._next_deadline = 0

    def new_number(self) -> int:
        self.numbers += 1
        return self.numbers

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            if self._pending():
                await trio.lowlevel.checkpoint()  # the rounds are used up, the work is not
            else:
                await trio.lowlevel.wait_readable(self.epoll.fileno())
            for _ in range(ROUNDS_MAX):
                pending = self._pending()
                events = self.epoll.poll(0 if pending else POLL_SECONDS, EVENTS_MAX)
                if not events and not pending:
                    break
                self._handle(events)

    def _pending(self) -> bool:
        """There is something to do though no socket says so."""
        return self.broker.busy() or len(self.broker.outboxes) > 0

    async def run_timers(self) -> None:
        """Wake the core at its deadlines until cancelled."""
        while True:
            self._deadline_changed = trio.Event()
            self._next_deadline = self.broker.next_deadline()
            wait = (self._next_deadline - now_ms()) / 1000 if self._next_deadline else float("inf")
            with trio.move_on_after(max(wait, 0)):
                await self._deadline_changed.wait()
            self.broker.now = now_ms()
            self.broker.tick(self.broker.now)
            self.turn()

    def _handle(self, events: list[tuple[int, int]]) -> None:
        self.broker.now = now_ms()
        for fd, mask in events:
            link = self.links.get(fd)
            if link is None:
                if fd == self.inbox.fd:
                    self.inbox.make_calls()
                else:
                    self._accept(fd)
                continue
            try:
                if mask & select.EPOLLOUT:
                    link.push()
                if mask & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and not link.closed:
                    link.readable()
            except Exception as error:
                self._cut(link, error)
        self._turn()

    def _cut(self, link: Link, error: Exception) -> None:
        """A fault of ours in one link must not end the others."""
        self.log.broke(link, error)
        try:
            link.lost("internal error")
        except Exception as another:
            self.log.broke(link, another)
            link.close()

    def turn(self) -> None:
        """Something was handed to the broker: let it decide, and send what it has to say."""
        self.broker.now = now_ms()
        self._turn()
        # A consumer may have been waiting for its outbox only; without input nobody else comes by.
        rounds = 0
        while self._pending() and rounds < ROUNDS_MAX and now_ms() - self.broker.now < ROUNDS_MS:
            self._turn()
            rounds += 1
        if self._pending():
            trio.lowlevel.current_trio_token().run_sync_soon(self.turn, idempotent=True)

    def _turn(self) -> None:
        broker = self.broker
        broker.run_turn()
        self._flush()
        batch = broker.take_batch()
        if batch is not None:
            self.commit(batch)
        for request in broker.take_page_requests():
            self.load(request)
        if self.environment.logins:
            logins = self.environment.logins
            self.environment.logins = []
            for connection, attempt in logins:
                self.check(connection, attempt)
        self._flush()
        deadline = broker.next_deadline()
        if deadline and (not self._next_deadline or deadline < self._next_deadline):
            self._deadline_changed.set()

    def _flush(self) -> None:
        broker = self.broker
        if not broker.outboxes:
            return
        outboxes = list(broker.outboxes)
        broker.outboxes.clear()
        for outbox in outboxes:
            link = outbox.link
            if isinstance(link, Link):
                try:
                    link.flush()
                except Exception as error:
                    self._cut(link, error)

    # Listeners

    def listen(self, listener: Listener) -> None:
        listener.sock.setblocking(False)
        self.listeners[listener.sock.fileno()] = listener
        self.epoll.register(listener.sock.fileno(), select.EPOLLIN)

    def stop_listening(self) -> None:
        for fd, listener in self.listeners.items():
            self.epoll.unregister(fd)
            listener.sock.close()
        self.listeners.clear()

    def _accept(self, fd: int) -> None:
        listener = self.listeners.get(fd)
        if listener is None:
            return
        for _ in range(ACCEPTS_MAX):
            try:
                sock, _ = listener.sock.accept()
            except OSError as error:
                if error.errno in NO_DESCRIPTOR:
                    self._rest()
                return
            try:
                self._admit(listener, sock)
            except OSError:
                sock.close()  # gone before it was there

    def _admit(self, listener: Listener, sock: socket.socket) -> None:
        """Raises OSError where the peer is gone already."""
        if 0 <= self.connection_max <= len(self.links):
            peer, host = sock.getpeername(), sock.getsockname()
            self.log.rejected(address_text(peer), address_text(host), "connection_max is reached")
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = listener.context() if listener.context is not None else None
        link = Link(self, sock, context, self.proxied, self.log)
        self.links[link.fd] = link
        self.watch(link, True, False)

    def _rest(self) -> None:
        """No descriptor is left for a new connection: those in the backlog go on waiting for a while."""
        for fd in self.listeners:
            self.epoll.modify(fd, 0)
        self.broker.timers.set(self.rest_timer, self.broker.now + REST_MS)

    def accept_again(self) -> None:
        for fd in self.listeners:
            self.epoll.modify(fd, select.EPOLLIN)

    # Links

    def watch(self, link: Link, reading: bool, writing: bool) -> None:
        """Watch a link's socket for input, for room, or (neither) only for its end."""
        interest = (select.EPOLLIN if reading else 0) | (select.EPOLLOUT if writing else 0)
        if interest == link.interest or link.closed:
            return
        if link.interest >= 0:
            self.epoll.modify(link.fd, interest)
        else:
            self.epoll.register(link.fd, interest)
        link.interest = interest

    def forget(self, link: Link) -> None:
        if link.interest >= 0:
            self.epoll.unregister(link.fd)
            link.interest = -1
        self.links.pop(link.fd, None)
