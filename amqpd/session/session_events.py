"""What listeners hear of connections, channels and logins, in RabbitMQ's fields (see ``broker/events.py``).

Of TLS only whether there is any is known here: the fields that name version and cipher are empty.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from amqpd.broker.events import Fields
from amqpd.wire.table import Field, Table, boolean, longstr

if TYPE_CHECKING:
    from amqpd.session.channel import Channel
    from amqpd.session.connection import Connection

# As Erlang writes 0-9-1.
PROTOCOL: Final = "{0,9,1}"


def authenticated(connection: Connection) -> None:
    events = connection.broker.events
    events.emit("user.authentication.success", _attempt(connection))


def not_authenticated(connection: Connection, reason: str) -> None:
    events = connection.broker.events
    events.emit("user.authentication.failure", {"error": reason, **_attempt(connection)})


def _attempt(connection: Connection) -> Fields:
    peer, host = ends(connection.name)
    login = connection.handshake.login
    return {
        "ssl": connection.handshake.peer.certificate is not None,
        "auth_mechanism": login.mechanism if login is not None else "",
        "protocol": PROTOCOL,
        "peer_port": peer[1],
        "peer_host": peer[0],
        "connection_name": connection.name,
        "host": host[0],
        "name": login.username if login is not None else "",
        "connection_type": "network",
    }


def connection_created(connection: Connection) -> None:
    events = connection.broker.events
    peer, host = ends(connection.name)
    attempt = _attempt(connection)
    fields: Fields = {
        "user_who_performed_action": connection.user.name,
        "node": events.node,
        "connected_at": int(connection.broker.now),
        "client_properties": table_of(connection.client_properties),
        "channel_max": int(connection.channel_max),
        "frame_max": int(connection.outbox.frame_max),
        "timeout": connection.heartbeat,
        "vhost": connection.vhost_name(),
        "user": connection.user.name,
        "protocol": PROTOCOL,
        "ssl_hash": "",
        "ssl_cipher": "",
        "ssl_key_exchange": "",
        "ssl_protocol": "",
        "auth_mechanism": attempt["auth_mechanism"],
        "peer_cert_validity": "",
        "peer_cert_issuer": "",
        "peer_cert_subject": "",
        "ssl": attempt["ssl"],
        "peer_host": peer[0],
        "host": host[0],
        "peer_port": peer[1],
        "port": host[1],
        "name": connection.name,
        "pid": connection.process_id(),
        "type": "network",
    }
    if connection.client_name:
        fields["user_provided_name"] = connection.client_name
    events.emit("connection.created", fields)


def connection_closed(connection: Connection) -> None:
    events = connection.broker.events
    fields: Fields = {
        "client_properties": table_of(connection.client_properties),
        "node": events.node,
        "pid": connection.process_id(),
        "name": connection.name,
    }
    if connection.client_name:
        fields["user_provided_name"] = connection.client_name
    events.emit("connection.closed", fields)


def channel_created(channel: Channel) -> None:
    connection = channel.connection
    events = channel.broker.events
    fields: Fields = {
        "user_who_performed_action": connection.user.name,
        "vhost": channel.vhost.name,
        "user": connection.user.name,
        "number": int(channel.number),
        "connection": connection.process_id(),
        "name": f"{connection.name} ({channel.number})",
        "pid": events.process_id(*channel.place()),
    }
    events.emit("channel.created", fields)


def channel_closed(channel: Channel) -> None:
    events = channel.broker.events
    pid = events.process_id(*channel.place())
    events.emit("channel.closed", {"user_who_performed_action": channel.connection.user.name, "pid": pid})


def ends(name: str) -> tuple[tuple[str, int], tuple[str, int]]:
    """Peer and host of a connection's name (``address:port -> address:port``): each an Erlang address and a port."""
    peer, _, host = name.partition(" -> ")
    return _end(peer), _end(host)


def _end(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return address, int(port) if port.isdecimal() else 0
    if parsed.version == 4:
        parts = list(parsed.packed)
    else:
        packed = parsed.packed
        parts = [packed[at] << 8 | packed[at + 1] for at in range(0, 16, 2)]
    return f"{{{','.join(map(str, parts))}}}", int(port)


def table_of(values: dict[str, object]) -> Table:
    """Client properties as they most likely were sent; the connection keeps plain values of them."""
    return {name: _field(value) for name, value in values.items()}


def _field(value: object) -> Field:
    if isinstance(value, bool):
        return boolean(value)
    if isinstance(value, int):
        return Field("I" if -(1 << 31) <= value < 1 << 31 else "l", value)
    if isinstance(value, float):
        return Field("d", value)
    if isinstance(value, dict):
        return Field("F", table_of(value))
    if isinstance(value, list):
        return Field("A", [_field(item) for item in value])
    if isinstance(value, bytes):
        return Field("S", value)
    return Field("V", None) if value is None else longstr(str(value))
