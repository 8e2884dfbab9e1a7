"""One socket and its connection: what the poller found readable goes in, what the outbox holds goes out.

1. Nothing here waits. What the socket does not take stays in ``unsent`` until the poller finds it writable.
2. TLS runs over memory: the same loop serves both, and a handshake is bytes like any other.
3. A PROXY header, where the listener wants one, comes before everything else.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from amqpd.auth.mechanisms import Peer
from amqpd.broker.timers import Timer
from amqpd.server.proxy_protocol import HEADER_MAX, ProxyError, parse
from amqpd.session.connection import CLOSED, Connection
from amqpd.session.handshake import Handshake

if TYPE_CHECKING:
    from amqpd.server.poller import Poller

READ_SIZE = 256 << 10
LOOPBACK_PREFIXES = ("127.", "::1", "::ffff:127.")

# (connection, peer address, own address, TLS version): somebody got through to AMQP.
Accepted = Callable[[Connection, str, str, str], None]


class Tls:
    """The TLS layer of one link, over memory buffers."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.shaken = False

    def shake(self) -> bool:
        """Go on with the handshake; True once it is done. Raises ssl.SSLError when it fails."""
        if not self.shaken:
            try:
                self.session.do_handshake()
                self.shaken = True
            except ssl.SSLWantReadError:
                pass
        return self.shaken

    def read(self) -> bytes:
        """Everything that can be decrypted now. Raises ssl.SSLError; EOF is empty, as is nothing yet."""
        pieces: list[bytes] = []
        while True:
            try:
                piece = self.session.read(READ_SIZE)
            except ssl.SSLWantReadError:
                break
            if not piece:
                break
            pieces.append(piece)
        return b"".join(pieces)


class LayerTimer(Timer):
    """Ends a link that does not get through its PROXY header and TLS handshake."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def fire(self, now: int) -> None:
        self.link.close()


class Link:
    """``interest``: what the poller watches the socket for, as it was last told; -1 before it watches at all."""

    def __init__(
        self,
        poller: Poller,
        sock: socket.socket,
        context: ssl.SSLContext | None,
        proxied: bool,
        accepted: Accepted,
    ) -> None:
        self.poller = poller
        self.sock = sock
        self.fd = sock.fileno()
        self.tls = Tls(context) if context is not None else None
        self.proxied = proxied
        self.accepted = accepted
        self.early = b""
        self.peer = address_text(sock.getpeername())
        self.host = address_text(sock.getsockname())
        self.connection: Connection | None = None
        self.unsent = b""
        self.interest = -1
        self.closed = False
        self.timer = LayerTimer(self)
        if not proxied and context is None:
            self._begin()
        else:
            poller.broker.timers.set(self.timer, poller.broker.now + poller.layer_timeout_ms)

    def _begin(self) -> None:
        """The way to AMQP is free: make the connection."""
        self.poller.broker.timers.cancel(self.timer)
        tls = self.tls
        certificate = (tls.session.getpeercert() or {}) if tls is not None else None
        loopback = self.peer.lstrip("[").startswith(LOOPBACK_PREFIXES)
        environment = self.poller.environment
        handshake = Handshake(environment, Peer(self.peer, loopback, certificate))
        connection = Connection(
            environment, self.poller.new_number(), f"{self.peer} -> {self.host}", handshake
        )
        connection.outbox.link = self
        self.connection = connection
        now = environment.broker.now
        environment.broker.timers.set(connection.close_timer, now + environment.handshake_timeout_ms)
        self.accepted(
            connection, self.peer, self.host, (tls.session.version() or "") if tls is not None else ""
        )

    def readable(self) -> None:
        try:
            data = self.sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.lost("client unexpectedly closed TCP connection")
            return
        if self.tls is None and not self.proxied:
            assert self.connection is not None
            self.connection.receive_data(data)
            return
        try:
            self._layered(data)
        except ProxyError as error:
            self.lost(str(error))
        except ssl.SSLError as error:
            self.push()
            self.lost(f"TLS: {error.reason or error}")

    def _layered(self, data: bytes) -> None:
        """A PROXY header and TLS before AMQP."""
        if self.proxied:
            self.early += data
            header = parse(self.early)
            if header is None:
                if len(self.early) > HEADER_MAX:
                    raise ProxyError("PROXY header is too long")
                return
            data = self.early[header.size :]
            self.early = b""
            self.proxied = False
            self.peer = header.source or self.peer
            if self.tls is None:
                self._begin()
                if data and self.connection is not None:
                    self.connection.receive_data(data)
                return
        tls = self.tls
        assert tls is not None
        if data:
            tls.incoming.write(data)
        if not tls.shake():
            self.push()
            return
        if self.connection is None:
            self._begin()
        text = tls.read()
        if text and self.connection is not None:
            self.connection.receive_data(text)
        self.push()

    def flush(self) -> None:
        """Send what the outbox holds, keep what does not fit; close when the connection is done."""
        connection = self.connection
        if connection is None or self.closed:
            return
        data = connection.outbox.take()
        if data:
            if self.tls is not None:
                self.tls.session.write(data)
            else:
                self.unsent = self.unsent + data if self.unsent else data
        self.push()

    def push(self) -> None:
        """Write as much as the socket takes now."""
        if self.closed:
            return
        if self.tls is not None and self.tls.outgoing.pending:
            self.unsent += self.tls.outgoing.read()
        connection = self.connection
        if self.unsent:
            try:
                sent = self.sock.send(self.unsent)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.unsent = b""
                self.lost("client unexpectedly closed TCP connection")
                return
            self.unsent = self.unsent[sent:] if sent < len(self.unsent) else b""
        if connection is not None:
            connection.outbox.unsent = len(self.unsent)
            if connection.state == CLOSED and not self.unsent:
                self.close()
                return
            if connection.starved:
                connection.drained()
        self.watch()

    def watch(self) -> None:
        """Tell the poller what to watch the socket for."""
        connection = self.connection
        reading = connection is None or (connection.wants_read() and connection.state != CLOSED)
        self.poller.watch(self, reading, bool(self.unsent))

    def lost(self, reason: str) -> None:
        if self.connection is not None:
            self.connection.lost(reason)
        self.close()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.poller.broker.timers.cancel(self.timer)
        self.poller.forget(self)
        try:
            # A close with unread input resets the connection and may take our last frame with it.
            self.sock.shutdown(socket.SHUT_WR)
            self.sock.recv(READ_SIZE)
        except OSError:
            pass
        self.sock.close()


def address_text(address: object) -> str:
    """``host:port``, IPv6 hosts in brackets."""
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = str(address[0]), address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(address)
