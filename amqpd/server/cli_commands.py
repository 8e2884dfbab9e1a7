"""Commands for operators: users, vhosts, permissions, topic-permissions, connections and status.

Each goes to the running broker through the control socket in the data directory; when no broker runs, the
files are opened, changed and committed here.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from amqpd.server import control, definitions_commands
from amqpd.server.cli import Fault, common_options, kept, source
from amqpd.server.settings import Settings

NEW_USER_HINT = "it may not enter any vhost yet: see 'amqpd permissions set --help'"
PASSWORD_BYTES_MAX = 4096


def perform(command: str, **arguments: Any) -> Any:
    """The result of a command, from the running broker or from the files. Raises Fault."""
    settings = source().load().settings
    with contextlib.suppress(control.NotRunning):
        try:
            return control.request(Path(settings.store.data_dir, control.SOCKET_NAME), command, arguments)
        except (control.CommandRefused, control.ControlError) as error:
            raise Fault(str(error)) from None
    return _perform_offline(command, arguments, settings)


def _perform_offline(command: str, arguments: dict[str, Any], settings: Settings) -> Any:
    from amqpd.broker.inquiry import Inquiry
    from amqpd.server.administration import COMMANDS, execute, faults, find

    data_dir = Path(settings.store.data_dir)
    wanted = COMMANDS.get(command)  # None: a plugin's
    if wanted is not None and wanted.live:
        raise Fault(f"no broker runs with the data directory {data_dir}")
    if not (wanted is not None and wanted.changes) and not data_dir.is_dir():
        raise Fault(f"{data_dir}: there is no data directory")
    from amqpd.server.application import open_core
    from amqpd.server.plugins import PluginFailed
    from amqpd.store.contract import StoreError

    try:
        with open_core(settings) as core:
            with faults(core, command):
                result = execute(core, command, arguments)
                while isinstance(result, Inquiry):
                    result = core.answered(result)
            if find(core, command).changes:
                core.commit()
    except control.CommandRefused as error:
        raise Fault(str(error)) from None
    except PluginFailed as error:
        raise Fault(str(error)) from None
    except (StoreError, OSError) as error:
        raise Fault(f"{data_dir}: {error}") from None
    return result


def show_done(sentence: str) -> None:
    """Say what was done; as JSON only that it was."""
    click.echo('{"ok": true}' if kept("json") else sentence)


def show_rows(rows: list[dict[str, Any]], *columns: str) -> None:
    """Print rows as a table, or as JSON with all their keys."""
    if kept("json"):
        import json

        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    # Into a pipe or a file a row stays on its line whatever its length.
    Console(width=None if sys.stdout.isatty() else 10_000, soft_wrap=not sys.stdout.isatty()).print(table)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={one}" for key, one in value.items())
    return "" if value is None else str(value)


@click.group()
@common_options
def users() -> None:
    """Users of the broker."""


def _hashed(password: str | None, from_stdin: bool) -> dict[str, str]:
    """Hash a new password here, so that the broker does not stop for it."""
    from amqpd.auth import passwords

    if (password is not None) == from_stdin:
        raise click.UsageError("give either --password or --password-stdin")
    if from_stdin:
        password = sys.stdin.readline(PASSWORD_BYTES_MAX).rstrip("\r\n")
    assert password is not None
    try:
        made = passwords.create(password.encode(), os.urandom(passwords.SCRYPT_SALT_BYTES))
    except ValueError as error:
        raise Fault(str(error)) from None
    return {"password_hash": made, "hashing_algorithm": passwords.SCRYPT}


def _password_options(function: Any) -> Any:
    function = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")(function)
    return click.option(
        "--password",
        metavar="P",
        help="The password; other users of the machine may see it in the process list.",
    )(function)


@users.command("add")
@click.argument("name")
@_password_options
@click.option("--tag", "tags", multiple=True, metavar="T", help="A tag such as administrator; may be repeated.")
@common_options
def users_add(name: str, password: str | None, password_stdin: bool, tags: tuple[str, ...]) -> None:
    """Add a user."""
    perform("users add", name=name, tags=list(tags), **_hashed(password, password_stdin))
    show_done(f"user '{name}' added; {NEW_USER_HINT}")


@users.command("list")
@common_options
def users_list() -> None:
    """List the users with their tags and limits."""
    show_rows(perform("users list"), "name", "tags", "limits", "has_password", "hashing_algorithm")


@users.command("delete")
@click.argument("name")
@common_options
def users_delete(name: str) -> None:
    """Delete a user with all permissions; its connections are closed."""
    perform("users delete", name=name)
    show_done(f"user '{name}' deleted")


@users.command("set-password")
@click.argument("name")
@_password_options
@common_options
def users_set_password(name: str, password: str | None, password_stdin: bool) -> None:
    """Change a user's password."""
    perform("users set-password", name=name, **_hashed(password, password_stdin))
    show_done(f"password of user '{name}' changed")


@users.command("set-tags")
@click.argument("name")
@click.argument("tags", nargs=-1)
@common_options
def users_set_tags(name: str, tags: tuple[str, ...]) -> None:
    """Replace a user's tags; without TAGS take all away."""
    perform("users set-tags", name=name, tags=list(tags))
    show_done(f"tags of user '{name}' set to: {', '.join(tags) or 'none'}")


@users.command("limit", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("limit")
@click.argument("value", type=int)
@common_options
def users_limit(name: str, limit: str, value: int) -> None:
    """Limit a user: max-connections or max-channels. -1 removes the limit."""
    perform("users limit", name=name, limit=limit, value=value)
    show_done(f"{limit} of user '{name}' " + (f"set to {value}" if value >= 0 else "removed"))


@users.command("import-hash")
@click.argument("name")
@click.argument("password_hash", metavar="HASH")
@click.option(
    "--algorithm",
    metavar="A",
    default="rabbit_password_hashing_sha256",
    show_default=True,
    help="How the hash was made, as in an export of RabbitMQ's definitions.",
)
@click.option("--tag", "tags", multiple=True, metavar="T", help="A tag for a new user; may be repeated.")
@common_options
def users_import_hash(name: str, password_hash: str, algorithm: str, tags: tuple[str, ...]) -> None:
    """Take over a user from RabbitMQ: add it with the hash of its password, or replace the hash it has."""
    perform(
        "users import-hash",
        name=name,
        password_hash=password_hash,
        hashing_algorithm=algorithm,
        tags=list(tags),
    )
    show_done(f"password hash of user '{name}' imported")


@click.group()
@common_options
def vhosts() -> None:
    """Virtual hosts."""


@vhosts.command("add")
@click.argument("name")
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
@common_options
def vhosts_add(name: str, description: str) -> None:
    """Add a vhost."""
    perform("vhosts add", name=name, description=description)
    show_done(f"vhost '{name}' added")


@vhosts.command("list")
@common_options
def vhosts_list() -> None:
    """List the vhosts with their limits and default queue types."""
    show_rows(perform("vhosts list"), "name", "description", "limits", "default_queue_type")


@vhosts.command("delete")
@click.argument("name")
@common_options
def vhosts_delete(name: str) -> None:
    """Delete a vhost with all its queues, messages and permissions."""
    perform("vhosts delete", name=name)
    show_done(f"vhost '{name}' deleted")


@vhosts.command("limit", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("limit")
@click.argument("value", type=int)
@common_options
def vhosts_limit(name: str, limit: str, value: int) -> None:
    """Limit a vhost: max-connections or max-queues. -1 removes the limit."""
    perform("vhosts limit", name=name, limit=limit, value=value)
    show_done(f"{limit} of vhost '{name}' " + (f"set to {value}" if value >= 0 else "removed"))


@vhosts.command("default-queue-type")
@click.argument("name")
@click.argument("type_", metavar="TYPE")
@common_options
def vhosts_default_queue_type(name: str, type_: str) -> None:
    """What a durable shared queue declared without x-queue-type is: classic, quorum, stream; '' as configured."""
    perform("vhosts default-queue-type", vhost=name, type=type_)
    show_done(f"default queue type of vhost '{name}' set to {type_ or 'the configured one'}")


_in_vhost = click.option("--vhost", default="/", show_default=True, metavar="V", help="The vhost.")
_only_vhost = click.option("--vhost", default=None, metavar="V", help="Of this vhost only.")
_only_user = click.option("--user", default=None, metavar="U", help="Of this user only.")


@click.group()
@common_options
def permissions() -> None:
    """What users may do in vhosts. Patterns are regular expressions; '' allows nothing."""


@permissions.command("set")
@click.argument("user")
@_in_vhost
@click.option("--configure", required=True, metavar="P", help="Names the user may declare and delete.")
@click.option("--write", required=True, metavar="P", help="Names the user may publish to and bind.")
@click.option("--read", required=True, metavar="P", help="Names the user may consume and bind from.")
@common_options
def permissions_set(user: str, vhost: str, configure: str, write: str, read: str) -> None:
    """Let a user into a vhost."""
    perform("permissions set", user=user, vhost=vhost, configure=configure, write=write, read=read)
    show_done(f"permissions of user '{user}' in vhost '{vhost}' set")


@permissions.command("list")
@_only_user
@_only_vhost
@common_options
def permissions_list(user: str | None, vhost: str | None) -> None:
    """List permissions."""
    rows = perform("permissions list", user=user, vhost=vhost)
    show_rows(rows, "user", "vhost", "configure", "write", "read")


@permissions.command("delete")
@click.argument("user")
@_in_vhost
@common_options
def permissions_delete(user: str, vhost: str) -> None:
    """Shut a user out of a vhost."""
    perform("permissions delete", user=user, vhost=vhost)
    show_done(f"permissions of user '{user}' in vhost '{vhost}' deleted")


@click.group("topic-permissions")
@common_options
def topic_permissions() -> None:
    """What users may do with routing keys of topic exchanges; without a row all keys are allowed."""


@topic_permissions.command("set")
@click.argument("user")
@click.argument("exchange")
@_in_vhost
@click.option("--write", required=True, metavar="P", help="Routing keys the user may publish with.")
@click.option("--read", required=True, metavar="P", help="Binding keys the user may bind with.")
@common_options
def topic_permissions_set(user: str, exchange: str, vhost: str, write: str, read: str) -> None:
    """Narrow what a user may do with a topic exchange."""
    perform("topic-permissions set", user=user, exchange=exchange, vhost=vhost, write=write, read=read)
    show_done(f"topic permissions of user '{user}' on exchange '{exchange}' in vhost '{vhost}' set")


@topic_permissions.command("list")
@_only_user
@_only_vhost
@common_options
def topic_permissions_list(user: str | None, vhost: str | None) -> None:
    """List topic permissions."""
    rows = perform("topic-permissions list", user=user, vhost=vhost)
    show_rows(rows, "user", "vhost", "exchange", "write", "read")


@topic_permissions.command("delete")
@click.argument("user")
@click.argument("exchange", required=False)
@_in_vhost
@common_options
def topic_permissions_delete(user: str, exchange: str | None, vhost: str) -> None:
    """Delete a user's topic permissions on EXCHANGE, or on all exchanges of the vhost."""
    perform("topic-permissions delete", user=user, exchange=exchange, vhost=vhost)
    show_done(f"topic permissions of user '{user}' in vhost '{vhost}' deleted")


@click.command()
@common_options
def status() -> None:
    """How the running broker is."""
    found: dict[str, Any] = perform("status")
    if kept("json"):
        show_rows([found])
    else:
        show_rows([{"what": key.replace("_", " "), "value": value} for key, value in found.items()], "what", "value")


@click.group()
@common_options
def connections() -> None:
    """Connections of the running broker."""


@connections.command("list")
@common_options
def connections_list() -> None:
    """List the open connections."""
    columns = ("name", "client_name", "user", "vhost", "state", "channels")
    show_rows(perform("connections list"), *columns)


@connections.command("close")
@click.argument("name", required=False)
@click.option("--user", metavar="U", help="All of this user.")
@click.option("--vhost", metavar="V", help="All in this vhost.")
@click.option(
    "--reason", default="closed by an operator", show_default=True, metavar="TEXT", help="Told to the client."
)
@common_options
def connections_close(name: str | None, user: str | None, vhost: str | None, reason: str) -> None:
    """Close a connection by its name in the list, or all of a user or in a vhost."""
    if name is None and user is None and vhost is None:
        raise click.UsageError("say which connections to close: NAME, --user or --vhost")
    closed = perform("connections close", name=name, user=user, vhost=vhost, reason=reason)
    show_done(f"connections closed: {closed}")


def add_to(group: click.Group) -> None:
    """Put the commands into the main group."""
    from amqpd.server import plugin_commands, policy_commands, tracing_commands  # they use what is above

    policy_commands.add_to(group)
    tracing_commands.add_to(group)
    plugin_commands.add_to(group)
    for command in (users, vhosts, permissions, topic_permissions, connections, status):
        group.add_command(command)
    definitions_commands.add_to(group)
