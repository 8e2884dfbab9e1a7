"""Tells the log what sessions report."""

from __future__ import annotations

from amqpd.server.links import Link
from amqpd.server.logs import ConnectionLog, Log
from amqpd.session.connection import Connection


class ConnectionLogs:
    """``SessionLog`` over one ``ConnectionLog`` for each connection.

    A peer that goes before it sent anything is a health check: its lines are for debugging only.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._logs: dict[int, ConnectionLog] = {}

    def accepted(self, connection: Connection, peer: str, host: str, tls: str) -> None:
        logs = ConnectionLog(self._log, peer, host)
        self._logs[connection.number] = logs
        logs.accepted(tls)

    def rejected(self, peer: str, host: str, reason: str) -> None:
        ConnectionLog(self._log, peer, host).cut(reason)

    def broke(self, link: Link, error: BaseException) -> None:
        self._log.exception(f"internal error on {link.peer} -> {link.host}", error)

    def opened(self, connection: Connection) -> None:
        self._of(connection).opened(connection.user.name, connection.vhost_name(), connection.client_name)

    def refused(self, connection: Connection, reason: str) -> None:
        login = connection.handshake.login
        mechanism = login.mechanism if login is not None else ""
        self._of(connection).refused(mechanism, login.username if login is not None else "", reason)

    def failed(self, connection: Connection, channel: int, code: int, text: str) -> None:
        logs = self._of(connection)
        if channel:
            logs.channel_failed(channel, code, text)
        else:
            logs.failed(code, text, connection.handshake.state)
            self._logs.pop(connection.number, None)  # whatever comes now is not worth a line

    def timed_out(self, connection: Connection, channel: int, consumer_tag: str, text: str) -> None:
        self._of(connection).timed_out(channel, consumer_tag, text)

    def lost(self, connection: Connection, reason: str) -> None:
        logs = self._logs.pop(connection.number, None)
        if logs is None:
            return
        if connection.received:
            logs.cut(reason)
        else:
            self._log.debug(f"{connection.name}: closed without a word")

    def closed(self, connection: Connection) -> None:
        logs = self._logs.pop(connection.number, None)
        if logs is not None:
            logs.closed()

    def crashed(self, connection: Connection, error: BaseException) -> None:
        self._log.exception(f"internal error on connection {connection.name}", error)

    def _of(self, connection: Connection) -> ConnectionLog:
        return self._logs.setdefault(connection.number, ConnectionLog(self._log, connection.name, ""))
