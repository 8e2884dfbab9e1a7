"""Commands over definitions: export, import and compare them as a file in RabbitMQ's schema.

A file goes to a running broker piece by piece, so that a large one neither stops the broker nor needs a long
message; each piece is on disk when the broker answers. While no broker runs, the files are opened here.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from amqpd.server import control
from amqpd.server.cli import MISUSED, REFUSED, Fault, common_options, fail, kept, source
from amqpd.server.definitions.document import Document, NotDefinitions, label, read_document
from amqpd.server.settings import Settings

PIECE_BYTES = control.REQUEST_BYTES_MAX // 2  # of a document in one request; a piece is a few milliseconds' work
# A larger entry does not fit in a request beside what stands around it.
ENTRY_BYTES_MAX = control.REQUEST_BYTES_MAX - 1024

Perform = Callable[[str, dict[str, Any]], Any]


@click.group()
@common_options
def definitions() -> None:
    """Users, vhosts, permissions, policies, exchanges, queues and bindings as a file, as RabbitMQ writes it."""


_in_vhost = click.option("--vhost", default=None, metavar="V", help="Only what is in this vhost.")


@definitions.command("export")
@click.argument("file", default="-")
@_in_vhost
@common_options
def export(file: str, vhost: str | None) -> None:
    """Write the definitions to FILE, or to standard output ('-')."""
    settings = source().load().settings
    with _broker(settings, changes=False) as perform:
        sections = perform("definitions export", {"vhost": vhost})
    from amqpd.server.definitions.exporting import head

    text = json.dumps(head(settings.server, vhost is not None) | sections, ensure_ascii=False, indent=2)
    if file == "-":
        click.echo(text)
    else:
        _write(Path(file), text + "\n")


def _write(path: Path, text: str) -> None:
    """In one step, and for its owner only: it holds hashes of passwords."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=path.name, delete=False
        ) as made:
            try:
                made.write(text)
                made.flush()
                os.fsync(made.fileno())
                os.replace(made.name, path)
            except BaseException:
                os.unlink(made.name)
                raise
    except OSError as error:
        raise Fault(f"{path}: {error.strerror}") from None


@definitions.command("import")
@click.argument("file", default="-")
@_in_vhost
@common_options
def import_(file: str, vhost: str | None) -> int:
    """Take in the definitions in FILE, or from standard input ('-').

    Nothing is deleted. An entry that contradicts what is there, or is wrong in itself, is refused and named; the
    others go in. Exit status 0: all went in, 1: some were refused, 2: FILE is no definitions.
    """
    settings = source().load().settings
    document = _wanted(file, vhost)
    from amqpd.server.definitions.access import hashed

    total: dict[str, Any] = {"added": 0, "changed": 0, "same": 0, "skipped": 0, "refused": []}
    with _broker(settings, changes=True) as perform:
        _check_vhost(perform, vhost)
        for piece in document.with_hashes(hashed).pieces(PIECE_BYTES):
            for name, value in _imported(perform, piece, document.version).items():
                total[name] += value
    for line in total["refused"]:
        click.echo(f"refused: {line}", err=True)
    if kept("json"):
        click.echo(json.dumps(total, ensure_ascii=False, indent=2))
    else:
        click.echo(
            f"{total['added']} added, {total['changed']} changed, {total['same']} there already,"
            f" {len(total['refused'])} refused"
        )
    return REFUSED if total["refused"] else 0


def _imported(perform: Perform, piece: dict[str, list[Any]], version: str) -> dict[str, Any]:
    (section, entries), *more = piece.items()
    if not more and len(entries) == 1 and len(json.dumps(entries[0])) > ENTRY_BYTES_MAX:
        return {"refused": [f"{label(section, entries[0])}: is larger than {ENTRY_BYTES_MAX} bytes"]}
    result: dict[str, Any] = perform("definitions import", {"sections": piece, "version": version})
    return result


@definitions.command("diff")
@click.argument("file", default="-")
@_in_vhost
@common_options
def diff(file: str, vhost: str | None) -> int:
    """Say what an import of FILE would do, and change nothing.

    + is added, ~ is changed, ! would be refused (with the reason), - is in the broker only and would stay. Exit
    status 0: nothing differs, 1: something does, 2: it could not be found out.
    """
    try:
        found = _differences(file, vhost)
    except Fault as error:
        fail(str(error), MISUSED)
    if kept("json"):
        click.echo(json.dumps([one._asdict() for one in found], ensure_ascii=False, indent=2))
    else:
        for one in found:
            click.echo(one.line())
    return 1 if found else 0


def _differences(file: str, vhost: str | None) -> list[Any]:
    settings = source().load().settings
    document = _wanted(file, vhost)
    with _broker(settings, changes=False) as perform:
        _check_vhost(perform, vhost)
        current = Document(perform("definitions export", {}))
    from amqpd.server.core import make_registry
    from amqpd.server.definitions.comparing import differences
    from amqpd.server.plugins import PluginFailed

    try:
        return list(differences(make_registry(settings.plugins), current, document, vhost))
    except (ValueError, PluginFailed) as error:
        raise Fault(str(error)) from None


def _wanted(file: str, vhost: str | None) -> Document:
    """The document in a file, for one vhost if it was named. Leaves with status 2 when it is none."""
    shown = "standard input" if file == "-" else file
    try:
        document = read_document(sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes())
    except NotDefinitions as error:
        fail(f"{shown}: {error}", MISUSED)
    except OSError as error:
        fail(f"{shown}: {error.strerror}", MISUSED)
    if vhost is not None:
        return document.into(vhost)
    if document.of_one_vhost and document.lacks_vhost():
        fail(f"{shown}: was exported from a single vhost; say with --vhost where it goes", MISUSED)
    return document


def _check_vhost(perform: Perform, vhost: str | None) -> None:
    if vhost is not None and all(row["name"] != vhost for row in perform("vhosts list", {})):
        raise Fault(f"vhost '{vhost}' does not exist")


@contextlib.contextmanager
def _broker(settings: Settings, changes: bool) -> Iterator[Perform]:
    """What performs commands: the running broker, or its files, open until the end of the ``with``.

    ``changes``: a data directory that is not there is made. Raises Fault.
    """
    data_dir = Path(settings.store.data_dir)
    path = data_dir / control.SOCKET_NAME

    def perform(command: str, arguments: dict[str, Any]) -> Any:
        return control.request(path, command, arguments)

    try:
        try:
            perform("vhosts list", {})
        except control.NotRunning:
            if not changes and not data_dir.is_dir():
                raise Fault(f"{data_dir}: there is no data directory") from None
        else:
            yield perform
            return
        with _files(settings) as offline:
            yield offline
    except control.NotRunning:
        raise Fault("the broker stopped before all was done") from None
    except (control.CommandRefused, control.ControlError) as error:
        raise Fault(str(error)) from None


@contextlib.contextmanager
def _files(settings: Settings) -> Iterator[Perform]:
    from amqpd.server.administration import COMMANDS, execute
    from amqpd.server.core import open_core
    from amqpd.server.plugins import PluginFailed
    from amqpd.store.contract import StoreError

    try:
        with open_core(settings) as core:

            def perform(command: str, arguments: dict[str, Any]) -> Any:
                result = execute(core, command, arguments)
                if COMMANDS[command].changes:
                    core.commit()
                return result

            yield perform
    except PluginFailed as error:
        raise Fault(str(error)) from None
    except (StoreError, OSError) as error:
        raise Fault(f"{settings.store.data_dir}: {error}") from None


def add_to(group: click.Group) -> None:
    """Put the commands into the main group."""
    group.add_command(definitions)
