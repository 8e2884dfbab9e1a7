"""Commands over policies and runtime parameters; see ``cli_commands`` for how they reach the broker."""

from __future__ import annotations

import json
from typing import Any

import click

from amqpd.server.cli import Fault, common_options
from amqpd.server.cli_commands import perform, show_done, show_rows

_operator = click.option("--operator", is_flag=True, help="An operator policy: a limit that policies cannot lift.")
_in_vhost = click.option("--vhost", default="/", show_default=True, metavar="V", help="The vhost.")
_only_vhost = click.option("--vhost", default=None, metavar="V", help="Of this vhost only.")


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Fault(f"{what} is no JSON: {error}") from None


@click.group()
@common_options
def policies() -> None:
    """Settings for queues and exchanges by name, in force at once: TTL, limits, dead-lettering ..."""


@policies.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("pattern")
@click.argument("definition")
@_in_vhost
@_operator
@click.option(
    "--priority", default=0, show_default=True, type=int, metavar="N", help="The highest that matches applies."
)
@click.option(
    "--apply-to",
    default=None,
    metavar="KIND",
    help="queues, exchanges, all, classic_queues, quorum_queues or streams."
    " Default: all; queues for an operator policy.",
)
@common_options
def policies_set(
    name: str, pattern: str, definition: str, vhost: str, operator: bool, priority: int, apply_to: str | None
) -> None:
    """Set a policy for names that PATTERN (a regular expression) is found in.

    DEFINITION is a JSON object, such as '{"max-length": 1000, "overflow": "reject-publish"}'.
    """
    perform(
        "policies set",
        name=name,
        pattern=pattern,
        definition=_json(definition, "DEFINITION"),
        vhost=vhost,
        operator=operator,
        priority=priority,
        **({"apply_to": apply_to} if apply_to is not None else {}),
    )
    show_done(f"{_kind(operator)} '{name}' in vhost '{vhost}' set")


@policies.command("clear")
@click.argument("name")
@_in_vhost
@_operator
@common_options
def policies_clear(name: str, vhost: str, operator: bool) -> None:
    """Take a policy away."""
    perform("policies clear", name=name, vhost=vhost, operator=operator)
    show_done(f"{_kind(operator)} '{name}' in vhost '{vhost}' cleared")


@policies.command("list")
@_only_vhost
@_operator
@common_options
def policies_list(vhost: str | None, operator: bool) -> None:
    """List policies."""
    rows = perform("policies list", vhost=vhost, operator=operator)
    show_rows(rows, "vhost", "name", "pattern", "apply-to", "definition", "priority")


def _kind(operator: bool) -> str:
    return "operator policy" if operator else "policy"


@click.group()
@common_options
def parameters() -> None:
    """Runtime parameters: JSON values kept for plugins and tools."""


@parameters.command("set")
@click.argument("component")
@click.argument("name")
@click.argument("value")
@_in_vhost
@common_options
def parameters_set(component: str, name: str, value: str, vhost: str) -> None:
    """Set a parameter of a component in a vhost. COMPONENT '-' makes it a global one. VALUE is JSON."""
    if component == "-":
        perform("parameters set", name=name, value=_json(value, "VALUE"))
        show_done(f"global parameter '{name}' set")
        return
    perform("parameters set", component=component, name=name, value=_json(value, "VALUE"), vhost=vhost)
    show_done(f"parameter '{name}' of component '{component}' in vhost '{vhost}' set")


@parameters.command("clear")
@click.argument("component")
@click.argument("name")
@_in_vhost
@common_options
def parameters_clear(component: str, name: str, vhost: str) -> None:
    """Take a parameter away. COMPONENT '-' means a global one."""
    if component == "-":
        perform("parameters clear", name=name)
        show_done(f"global parameter '{name}' cleared")
        return
    perform("parameters clear", component=component, name=name, vhost=vhost)
    show_done(f"parameter '{name}' of component '{component}' in vhost '{vhost}' cleared")


@parameters.command("list")
@_only_vhost
@click.option("--global", "global_", is_flag=True, help="The global ones.")
@common_options
def parameters_list(vhost: str | None, global_: bool) -> None:
    """List parameters."""
    if global_:
        show_rows(perform("parameters list", **{"global": True}), "name", "value")
    else:
        show_rows(perform("parameters list", vhost=vhost), "vhost", "component", "name", "value")


def add_to(group: click.Group) -> None:
    """Put the commands into the main group."""
    for command in (policies, parameters):
        group.add_command(command)
