"""One socket and its connection: what the poller found readable goes in, what the outbox holds goes out.

1. Nothing here waits. What the socket does not take stays in ``unsent`` until the poller finds it writable.
2. TLS runs over memory: the same loop serves both, and a handshake is bytes like any other.
3. A PROXY header, where the listener wants one, comes before everything else.
4. A peer that does not read is bounded by ``outbox_bytes_max``: above it the connection's consumers are
   skipped, and above ``UNREAD_MARKS`` times it (a publisher that does not take its confirms) nothing is read
   from it any more.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING, Protocol

from amqpd.auth.mechanisms import Peer
from amqpd.broker.timers import Timer
from amqpd.server.clock import now_ms
from amqpd.server.proxy_protocol import HEADER_MAX, ProxyError, parse
from amqpd.session.connection import CLOSED, Connection
from amqpd.session.handshake import Handshake

if TYPE_CHECKING:
    from amqpd.server.poller import Poller

READ_SIZE = 256 << 10
# How long a connection that is done may take to send what it still has to say to a peer that reads slowly.
LINGER_MS = 5000
# How long what a peer sends after our last frame is read and dropped. A socket closed before would answer it with a
# reset, which can take the last frame away from a peer that has not read it yet.
DRAIN_MS = 1000


class LinkLog(Protocol):
    """Where links report. ``peer`` and ``host`` are ``host:port``."""

    def accepted(self, connection: Connection, peer: str, host: str, tls: str) -> None:
        """Somebody got through to AMQP; ``tls`` is the protocol version, empty without TLS."""

    def rejected(self, peer: str, host: str, reason: str) -> None:
        """A socket was closed before it got through to AMQP."""

    def broke(self, link: Link, error: BaseException) -> None:
        """A fault of ours: the link is cut."""


class Tls:
    """The TLS layer of one link, over memory buffers."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.shaken = False
        self.ended = False  # the peer said that it sends nothing more

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
        """Everything that can be decrypted now. Raises ssl.SSLError."""
        pieces: list[bytes] = []
        while True:
            try:
                piece = self.session.read(READ_SIZE)
            except ssl.SSLWantReadError:
                break
            if not piece:
                self.ended = True
                break
            pieces.append(piece)
        return b"".join(pieces)

    def write(self, data: bytes) -> None:
        """Encrypt; memory takes everything at once. Raises ssl.SSLError."""
        with memoryview(data) as view:
            at = 0
            while at < len(data):
                at += self.session.write(view[at:])

    def end(self) -> None:
        """Say that nothing more comes, so that the peer knows that nothing was cut off."""
        try:
            if self.shaken:
                self.session.unwrap()
        except (ssl.SSLError, OSError):
            pass  # it waits for the peer's own word, or the session is broken already


class LinkTimer(Timer):
    """Ends a link that does not get through its PROXY header and TLS handshake, or not to its end."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def fire(self, now: int) -> None:
        link = self.link
        if link.connection is None:
            link.lost("PROXY header timeout" if link.proxied else "TLS handshake timeout")
        else:
            link.close()


class Link:
    """``interest``: what the poller watches the socket for, as it was last told; -1 before it watches."""

    def __init__(
        self,
        poller: Poller,
        sock: socket.socket,
        context: ssl.SSLContext | None,
        proxied: bool,
        log: LinkLog,
    ) -> None:
        self.poller = poller
        self.sock = sock
        self.fd = sock.fileno()
        self.tls = Tls(context) if context is not None else None
        self.proxied = proxied
        self.log = log
        self.early = b""
        self.peer = address_text(sock.getpeername())
        self.host = address_text(sock.getsockname())
        self.connection: Connection | None = None
        self.unsent = bytearray()
        self.interest = -1
        self.closed = False
        self.lingering = False
        self.draining = False
        self.timer = LinkTimer(self)
        if not proxied and context is None:
            self._begin()
        else:
            poller.broker.timers.set(self.timer, poller.broker.now + poller.layer_timeout_ms)

    def _begin(self) -> None:
        """The way to AMQP is free: make the connection."""
        self.poller.broker.timers.cancel(self.timer)
        tls = self.tls
        certificate = (tls.session.getpeercert() or {}) if tls is not None else None
        environment = self.poller.environment
        handshake = Handshake(environment, Peer(self.peer, is_loopback(self.peer), certificate))
        connection = Connection(environment, self.poller.new_number(), f"{self.peer} -> {self.host}", handshake)
        connection.outbox.link = self
        self.connection = connection
        now = environment.broker.now
        environment.broker.timers.set(connection.close_timer, now + environment.handshake_timeout_ms)
        self.log.accepted(connection, self.peer, self.host, (tls.session.version() or "") if tls is not None else "")

    def readable(self) -> None:
        try:
            data = self.sock.recv(READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if self.draining:
            if not data:
                self.close()
            return
        if not data:
            self.lost("client unexpectedly closed TCP connection")
            return
        # A round of many reads takes a while: what was sent meanwhile must not be due before its time.
        self.poller.broker.now = now_ms()
        if self.tls is None and not self.proxied:
            connection = self.connection
            assert connection is not None
            connection.receive_data(data)
            if not connection.wants_read():
                self.watch()  # now: a publisher without confirms has nothing to be sent that would do it
            return
        try:
            self._layered(data)
        except ProxyError as error:
            self.lost(str(error))
        except ssl.SSLError as error:
            self.push()  # the alert that tells the peer why
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
        if tls.ended:
            self.lost("client unexpectedly closed TLS session")
            return
        self.push()

    def flush(self) -> None:
        """Send what the outbox holds, keep what does not fit; close when the connection is done."""
        connection = self.connection
        if connection is None or self.closed:
            return
        data = connection.outbox.take()
        if self.tls is not None:
            if data and not self._encrypted(self.tls, data):
                return
        elif self.unsent:
            self.unsent += data
        elif data and not self._send(data):
            return
        self.push()

    def _encrypted(self, tls: Tls, data: bytes) -> bool:
        """False when the TLS session is broken, and with it the link."""
        try:
            tls.write(data)
        except ssl.SSLError as error:
            self.lost(f"TLS: {error.reason or error}")
            return False
        return True

    def _send(self, data: bytes) -> bool:
        """Send without copying, while nothing waits; False when the socket, and with it the link, is gone."""
        try:
            sent = self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.lost("client unexpectedly closed TCP connection")
            return False
        if sent < len(data):
            with memoryview(data) as view:
                self.unsent += view[sent:]
        return True

    def push(self) -> None:
        """Write as much of what waits as the socket takes now."""
        if self.closed:
            return
        unsent = self.unsent
        if self.tls is not None and self.tls.outgoing.pending:
            unsent += self.tls.outgoing.read()
        if unsent:
            try:
                sent = self.sock.send(unsent)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                unsent.clear()
                self.lost("client unexpectedly closed TCP connection")
                return
            del unsent[:sent]  # moves the start, not the rest
        connection = self.connection
        if connection is not None:
            connection.outbox.unsent = len(unsent)
            if connection.state == CLOSED:
                self._finish()
                return
            if connection.starved or connection.unread:
                connection.drained()
            elif connection.outbox.far_behind():
                connection.unread = True
        self.watch()

    def _finish(self) -> None:
        """The connection is done: close once everything is sent, but do not wait for it for ever."""
        connection = self.connection
        if connection is not None and connection.outbox.queued:
            return  # its last words are not taken yet: ``flush`` comes at the end of the turn
        if self.draining:
            return
        if not self.unsent:
            self._drain()
            return
        if not self.lingering:
            self.lingering = True
            self.poller.broker.timers.set(self.timer, self.poller.broker.now + LINGER_MS)
        self.watch()

    def _drain(self) -> None:
        """Everything is sent: say so, and wait for the peer to close its side."""
        try:
            self._end_sending()
        except OSError:
            self.close()
            return
        self.draining = True
        self.poller.broker.timers.set(self.timer, self.poller.broker.now + DRAIN_MS)
        self.poller.watch(self, True, False)

    def _end_sending(self) -> None:
        """Raises OSError where the peer is gone."""
        if self.tls is not None and not self.unsent:
            self.tls.end()
            self.sock.send(self.tls.outgoing.read())
        self.sock.shutdown(socket.SHUT_WR)

    def watch(self) -> None:
        """Tell the poller what to watch the socket for."""
        connection = self.connection
        reading = connection is None or (connection.wants_read() and connection.state != CLOSED)
        self.poller.watch(self, reading, bool(self.unsent))

    def lost(self, reason: str) -> None:
        if self.connection is not None:
            self.connection.lost(reason)
        elif not self.closed:
            self.log.rejected(self.peer, self.host, reason)
        self.close()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.poller.broker.timers.cancel(self.timer)
        self.poller.forget(self)
        if not self.draining:
            try:
                self._end_sending()
                # A close with unread input resets the connection and may take our last frame with it.
                self.sock.recv(READ_SIZE)
            except OSError:
                pass
        self.sock.close()


def is_loopback(peer: str) -> bool:
    """Whether ``peer``, as ``address_text`` wrote it, is this machine itself."""
    host = peer.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def address_text(address: object) -> str:
    """``host:port``, IPv6 hosts in brackets."""
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = str(address[0]), address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(address)
