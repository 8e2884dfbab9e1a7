"""The ``amqpd`` command: start the broker, check its configuration, and the groups of ``cli_commands``.

Errors are one line on standard error; the exit status is 1 when a command is refused and 2 when it, or the
configuration, is not understood. trio, structlog and rich are imported by what needs them only: ``--version``
and ``--help`` answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from amqpd import __version__
from amqpd.server.configuration import ConfigurationError, Loaded, Source

F = TypeVar("F", bound=Callable[..., Any])

REFUSED, MISUSED = 1, 2  # exit statuses


class Fault(Exception):
    """An error for the person at the terminal: one line, exit status 1."""


def form() -> str:
    """``compiled`` when the hot modules are shared libraries, else ``pure``."""
    # Looked up, not imported: this must be quick.
    spec = find_spec("amqpd.wire.frames")
    compiled = spec is not None and spec.origin is not None and spec.origin.endswith(tuple(EXTENSION_SUFFIXES))
    return "compiled" if compiled else "pure"


def version_line() -> str:
    return f"amqpd {__version__} ({form()}) python {sys.version.split()[0]}"


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Remember an option wherever on the line it stood; the last one counts."""
    if value not in (None, (), False):
        context.find_root().meta[f"amqpd.{parameter.name}"] = value


def common_options(function: F) -> F:
    """-c, --data-dir and --json, before or after the name of a command."""
    for made in (
        click.option("--json", is_flag=True, expose_value=False, callback=_keep, help="Print JSON."),
        click.option("--data-dir", metavar="DIR", expose_value=False, callback=_keep, help="Directory of the data."),
        click.option("-c", "--config", metavar="FILE", expose_value=False, callback=_keep, help="Configuration file."),
    ):
        function = made(function)
    return function


def _run_options(function: F) -> F:
    for made in (
        click.option("--log-level", metavar="L", expose_value=False, callback=_keep, help="debug, info, warning, ..."),
        click.option(
            "--listen",
            metavar="ADDR:PORT",
            multiple=True,
            expose_value=False,
            callback=_keep,
            help="Listen here, in place of listeners.amqp; may be repeated.",
        ),
    ):
        function = made(function)
    return function


def kept(name: str) -> Any:
    """The value of a common option, or None."""
    return click.get_current_context().find_root().meta.get(f"amqpd.{name}")


def source() -> Source:
    """Where the configuration comes from, by the options given and the environment."""
    options = [
        (option, section, key, kept(name))
        for option, name, section, key in (
            ("--data-dir", "data_dir", "store", "data_dir"),
            ("--listen", "listen", "listeners", "amqp"),
            ("--log-level", "log_level", "log", "level"),
        )
        if kept(name) is not None
    ]
    file = kept("config")
    return Source(Path(file) if file is not None else None, os.environ, options)


def _show_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(version_line())
        context.exit()


class WithPlugins(click.Group):
    """The main group: its own commands, and those that plugins bring."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from amqpd.server import plugin_commands

        own = super().list_commands(ctx)
        return [*own, *(name for name in plugin_commands.names() if name not in own)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from amqpd.server import plugin_commands

        return super().get_command(ctx, cmd_name) or plugin_commands.find(cmd_name)


@click.group(
    "amqpd", cls=WithPlugins, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Print the version.",
)
@common_options
@_run_options
@click.pass_context
def amqpd(context: click.Context) -> None:
    """A RabbitMQ-compatible AMQP 0-9-1 broker. Without a command: run it."""
    if context.invoked_subcommand is None:
        context.invoke(run)


@amqpd.command()
@common_options
@_run_options
def run() -> None:
    """Run the broker until SIGTERM or SIGINT."""
    chosen = source()
    loaded = _with_plugins(chosen.load())
    _warn(loaded)
    import trio

    from amqpd.server.application import serve

    sys.exit(trio.run(serve, loaded.settings, chosen))


def _with_plugins(loaded: Loaded) -> Loaded:
    """Checked against what is installed. Raises ConfigurationError, and Fault when that is what cannot be used."""
    wanted = loaded.settings.plugins
    if not wanted.order and not wanted.disabled:
        return loaded
    from amqpd.server import plugins

    try:
        installed = plugins.installed()
    except plugins.PluginFailed as error:
        raise Fault(str(error)) from None
    try:
        plugins.chosen(wanted, installed)
    except plugins.PluginFailed as error:
        where = ", ".join(map(str, loaded.files)) or "configuration"
        raise ConfigurationError(f"{where}: {error}") from None
    missing = [
        f"plugins.disabled names '{name}', which is not installed" for name in plugins.unknown(wanted, installed)
    ]
    return replace(loaded, warnings=(*loaded.warnings, *missing))


def _warn(loaded: Loaded) -> None:
    if loaded.warnings:
        from amqpd.server.logs import Log

        log = Log(loaded.settings.log.level, loaded.settings.log.format)
        for line in loaded.warnings:
            log.warning(line)


@amqpd.command("check-config")
@click.argument("file", required=False)
@common_options
def check_config(file: str | None) -> None:
    """Check the configuration in FILE, or the one that would be used, with the environment."""
    if file is not None:
        click.get_current_context().find_root().meta["amqpd.config"] = file
    loaded = _with_plugins(source().load())
    for line in loaded.warnings:
        click.echo(f"warning: {line}", err=True)
    files = ", ".join(map(str, loaded.files)) or "no file, all defaults"
    click.echo(f"configuration is good ({files})")


@amqpd.command("sample-config")
def sample_config() -> None:
    """Print a commented configuration with every key and its default."""
    from amqpd.server.sample import sample

    click.echo(sample(), nl=False)


def fail(line: str, status: int) -> NoReturn:
    """Say ``line`` on standard error and leave."""
    click.echo(f"amqpd: {' '.join(line.split())}", err=True)
    sys.exit(status)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point of the command; ``arguments`` without the program's name."""
    from amqpd.server import cli_commands

    cli_commands.add_to(amqpd)
    try:
        status = amqpd.main(arguments, prog_name="amqpd", standalone_mode=False)
    except ConfigurationError as error:
        fail(str(error), MISUSED)
    except Fault as error:
        fail(str(error), REFUSED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(MISUSED)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "amqpd"
        fail(f"{error.format_message().rstrip('.')} (see '{path} --help')", MISUSED)
    except click.ClickException as error:
        fail(error.format_message(), REFUSED)
    except click.Abort:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (head, less) has had enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(REFUSED)
    sys.exit(status if isinstance(status, int) else 0)
