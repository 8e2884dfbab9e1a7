"""What an operator can tell the broker: one table of commands, the same for a running broker and for its
files.

A command is a function of the core and of arguments as JSON has them, and returns what JSON can carry. It
changes everything or nothing; only an import of definitions leaves out single entries, and says which. The
command line has done what is slow (hashing a password) before a command comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from amqpd.auth import listing
from amqpd.auth.users import NoSuchUser, UserExists, Users
from amqpd.broker.broker import Broker
from amqpd.broker.inquiry import Inquiry
from amqpd.server.control import CommandRefused
from amqpd.server.definitions.fields import check_vhost_name
from amqpd.server.definitions.operator import definitions_export, definitions_import
from amqpd.server.rules import (
    parameters_clear,
    parameters_list,
    parameters_set,
    policies_clear,
    policies_list,
    policies_set,
    tracing_list,
    tracing_off,
    tracing_on,
    vhosts_default_queue_type,
)

Arguments = Mapping[str, Any]
Row = dict[str, object]


class Vhost(Protocol):
    @property
    def description(self) -> str: ...

    def default_queue_type(self) -> str: ...


class VhostTable(Protocol):
    """What commands ask of the broker."""

    @property
    def vhosts(self) -> Mapping[str, Vhost]: ...

    def create_vhost(self, name: str, description: str = ..., tags: str = ..., metadata: str = ...) -> object: ...

    def delete_vhost(self, name: str) -> object: ...


class Live(Protocol):
    """What only a running broker has."""

    def status(self) -> Row: ...

    def connections(self) -> list[Row]:
        """One row a connection, with ``name`` (``client -> server``), ``user`` and ``vhost`` at least."""
        ...

    def close_connection(self, name: str, reason: str) -> None:
        """Close with 320 CONNECTION_FORCED and the reason."""
        ...


class Core(Protocol):
    """The broker and its users; ``live`` is None when only the files are open."""

    @property
    def broker(self) -> VhostTable: ...

    @property
    def users(self) -> Users: ...

    @property
    def live(self) -> Live | None: ...


class CommandFailed(CommandRefused):
    """A plugin's command has a fault; the cause is what was raised."""


class Command(NamedTuple):
    """``changes``: there is something to commit after it. ``live``: it needs a running broker."""

    run: Callable[[Core, Arguments], object]
    changes: bool = False
    live: bool = False


def execute(core: Core, name: str, arguments: Arguments) -> object:
    """Run one command: its result, or an ``Inquiry`` that brings it.

    Raises CommandRefused with one line when it cannot be done; nothing changes then.
    """
    command = find(core, name)
    if command.live and core.live is None:
        raise CommandRefused(f"'{name}' needs a running broker")
    with _refusals():
        return command.run(core, arguments)


def answer(inquiry: Inquiry) -> object:
    """What was read is answered. Raises CommandRefused."""
    with _refusals():
        return inquiry.answer()


def find(core: Core, name: str) -> Command:
    """A command of ours or of a plugin. Raises CommandRefused when there is none."""
    command = COMMANDS.get(name)
    if command is not None:
        return command
    broker = core.broker
    if not isinstance(broker, Broker) or name not in broker.registry.commands:
        raise CommandRefused(f"unknown command '{name}'")
    added, whole = broker.registry.commands[name], broker
    return Command(lambda _, arguments: added.run(whole, arguments), changes=added.changes)


@contextmanager
def faults(core: Core, name: str) -> Iterator[None]:
    """A fault of a plugin costs no more than its command: CommandFailed, in one line. One of ours goes up."""
    try:
        yield
    except CommandRefused:
        raise
    except Exception as error:
        if name in COMMANDS or not isinstance(core.broker, Broker):
            raise
        plugin = core.broker.registry.owners["command", name]
        text = " ".join(str(error).split())
        raise CommandFailed(f"command '{name}' of plugin '{plugin}' failed: {type(error).__name__}: {text}") from error


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (NoSuchUser, UserExists, ValueError) as error:
        raise CommandRefused(str(error)) from None


# Users


def users_add(core: Core, arguments: Arguments) -> None:
    core.users.add_user(
        _text(arguments, "name"),
        _text(arguments, "password_hash"),
        _text(arguments, "hashing_algorithm"),
        _texts(arguments, "tags"),
    )


def users_import_hash(core: Core, arguments: Arguments) -> None:
    """Add a user with a hash made elsewhere, or replace the hash of one who is there."""
    name, password_hash = _text(arguments, "name"), _text(arguments, "password_hash")
    algorithm = _text(arguments, "hashing_algorithm")
    if name in core.users.users:
        core.users.set_password(name, password_hash, algorithm)
    else:
        core.users.add_user(name, password_hash, algorithm, _texts(arguments, "tags"))


def users_set_password(core: Core, arguments: Arguments) -> None:
    core.users.set_password(
        _text(arguments, "name"), _text(arguments, "password_hash"), _text(arguments, "hashing_algorithm")
    )


def users_set_tags(core: Core, arguments: Arguments) -> None:
    core.users.set_tags(_text(arguments, "name"), _texts(arguments, "tags"))


def users_delete(core: Core, arguments: Arguments) -> None:
    name = _text(arguments, "name")
    core.users.delete_user(name)
    if core.live is not None:
        for connection in core.live.connections():
            if connection["user"] == name:
                core.live.close_connection(str(connection["name"]), f"user '{name}' is deleted")


def users_limit(core: Core, arguments: Arguments) -> None:
    """Set a limit of a user; a negative value removes it."""
    name, limit, value = _text(arguments, "name"), _text(arguments, "limit"), _number(arguments, "value")
    core.users.set_user_limit(name, limit, value)
    if value < 0:
        core.users.clear_user_limits(name, limit)


def users_list(core: Core, arguments: Arguments) -> list[Row]:
    limits = {row["user"]: row["limits"] for row in listing.list_user_limits(core.users)}
    return [row | {"limits": limits.get(row["name"], {})} for row in listing.list_users(core.users)]


# Vhosts


def vhosts_add(core: Core, arguments: Arguments) -> None:
    name = _text(arguments, "name")
    check_vhost_name(name)
    if name in core.broker.vhosts:
        raise ValueError(f"vhost '{name}' exists already")
    core.broker.create_vhost(name, description=_text(arguments, "description", ""))


def vhosts_delete(core: Core, arguments: Arguments) -> None:
    name = _vhost(core, arguments, "name")
    core.broker.delete_vhost(name)
    core.users.vhost_deleted(name)


def vhosts_limit(core: Core, arguments: Arguments) -> None:
    """Set a limit of a vhost; a negative value removes it."""
    name, limit, value = (
        _vhost(core, arguments, "name"),
        _text(arguments, "limit"),
        _number(arguments, "value"),
    )
    core.users.set_vhost_limit(name, limit, value)
    if value < 0:
        core.users.clear_vhost_limits(name, limit)


def vhosts_list(core: Core, arguments: Arguments) -> list[Row]:
    limits = {row["vhost"]: row["limits"] for row in listing.list_vhost_limits(core.users)}
    return [
        {
            "name": name,
            "description": vhost.description,
            "limits": limits.get(name, {}),
            "default_queue_type": vhost.default_queue_type(),
        }
        for name, vhost in sorted(core.broker.vhosts.items(), key=lambda item: item[0])
    ]


# Permissions


def permissions_set(core: Core, arguments: Arguments) -> None:
    patterns = (_text(arguments, kind) for kind in ("configure", "write", "read"))
    core.users.set_permissions(_text(arguments, "user"), _vhost(core, arguments), *patterns)


def permissions_delete(core: Core, arguments: Arguments) -> None:
    user, vhost = _text(arguments, "user"), _vhost(core, arguments)
    core.users.clear_permissions(user, vhost)


def permissions_list(core: Core, arguments: Arguments) -> list[Row]:
    return listing.list_permissions(core.users, arguments.get("user"), arguments.get("vhost"))


def topic_permissions_set(core: Core, arguments: Arguments) -> None:
    core.users.set_topic_permissions(
        _text(arguments, "user"),
        _vhost(core, arguments),
        _text(arguments, "exchange"),
        _text(arguments, "write"),
        _text(arguments, "read"),
    )


def topic_permissions_delete(core: Core, arguments: Arguments) -> None:
    """Delete the row of one exchange, or without one those of all in the vhost."""
    exchange = None if arguments.get("exchange") is None else _text(arguments, "exchange")
    core.users.clear_topic_permissions(_text(arguments, "user"), _vhost(core, arguments), exchange)


def topic_permissions_list(core: Core, arguments: Arguments) -> list[Row]:
    return listing.list_topic_permissions(core.users, arguments.get("user"), arguments.get("vhost"))


# The running broker


def status(core: Core, arguments: Arguments) -> Row:
    assert core.live is not None
    return core.live.status()


def connections_list(core: Core, arguments: Arguments) -> list[Row]:
    assert core.live is not None
    return core.live.connections()


def connections_close(core: Core, arguments: Arguments) -> int:
    """Close connections by name, user or vhost; what is not given matches all. Returns how many."""
    assert core.live is not None
    wanted = {key: _text(arguments, key) for key in ("name", "user", "vhost") if arguments.get(key) is not None}
    if not wanted:
        raise ValueError("say which connections to close: by name, user or vhost")
    found = [row for row in core.live.connections() if all(row[key] == value for key, value in wanted.items())]
    if not found and "name" in wanted:
        raise ValueError(f"no connection is named '{wanted['name']}'")
    for row in found:
        core.live.close_connection(str(row["name"]), _text(arguments, "reason", "closed by an operator"))
    return len(found)


COMMANDS: dict[str, Command] = {
    "users add": Command(users_add, changes=True),
    "users list": Command(users_list),
    "users delete": Command(users_delete, changes=True),
    "users set-password": Command(users_set_password, changes=True),
    "users set-tags": Command(users_set_tags, changes=True),
    "users limit": Command(users_limit, changes=True),
    "users import-hash": Command(users_import_hash, changes=True),
    "vhosts add": Command(vhosts_add, changes=True),
    "vhosts list": Command(vhosts_list),
    "vhosts delete": Command(vhosts_delete, changes=True),
    "vhosts limit": Command(vhosts_limit, changes=True),
    "vhosts default-queue-type": Command(vhosts_default_queue_type, changes=True),
    "policies set": Command(policies_set, changes=True),
    "policies list": Command(policies_list),
    "policies clear": Command(policies_clear, changes=True),
    "parameters set": Command(parameters_set, changes=True),
    "parameters list": Command(parameters_list),
    "parameters clear": Command(parameters_clear, changes=True),
    "permissions set": Command(permissions_set, changes=True),
    "permissions list": Command(permissions_list),
    "permissions delete": Command(permissions_delete, changes=True),
    "topic-permissions set": Command(topic_permissions_set, changes=True),
    "topic-permissions list": Command(topic_permissions_list),
    "topic-permissions delete": Command(topic_permissions_delete, changes=True),
    "definitions export": Command(definitions_export),
    "definitions import": Command(definitions_import, changes=True),
    "tracing on": Command(tracing_on, live=True),
    "tracing off": Command(tracing_off, live=True),
    "tracing list": Command(tracing_list, live=True),
    "status": Command(status, live=True),
    "connections list": Command(connections_list, live=True),
    "connections close": Command(connections_close, live=True),
}


def _text(arguments: Arguments, key: str, default: str | None = None) -> str:
    value = arguments.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"argument '{key}' must be text")
    return value


def _texts(arguments: Arguments, key: str) -> list[str]:
    value = arguments.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"argument '{key}' must be a list of texts")
    return value


def _number(arguments: Arguments, key: str) -> int:
    value = arguments.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ValueError(f"argument '{key}' must be a whole number of 64 bits")
    return value


def _vhost(core: Core, arguments: Arguments, key: str = "vhost") -> str:
    """The vhost that the arguments name, which must exist."""
    name = _text(arguments, key)
    if name not in core.broker.vhosts:
        raise ValueError(f"vhost '{name}' does not exist")
    return name
