"""The operator's commands over definitions; rows of the table in ``administration``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from amqpd.auth.users import Users
from amqpd.broker.broker import Broker
from amqpd.server.definitions.document import SECTIONS, Document, Sections
from amqpd.server.definitions.exporting import sections_of, vhost_sections_of
from amqpd.server.definitions.importing import counted, take_all
from amqpd.server.definitions.target import Target

Arguments = Mapping[str, Any]


class Core(Protocol):
    """What the commands need of the core: its broker is a whole one."""

    @property
    def broker(self) -> object: ...

    @property
    def users(self) -> Users: ...


def definitions_export(core: Core, arguments: Arguments) -> Sections:
    """All sections, or those of the vhost that is named."""
    vhost = arguments.get("vhost")
    if vhost is None:
        return sections_of(_broker(core), core.users)
    if vhost not in _broker(core).vhosts:
        raise ValueError(f"vhost '{vhost}' does not exist")
    return vhost_sections_of(_broker(core), core.users, vhost)


def definitions_import(core: Core, arguments: Arguments) -> dict[str, object]:
    """Take in what can be taken in of a piece of a document. Returns counts, and a line for each refused entry.

    A piece comes after those that hold what its entries need.
    """
    sections, version = arguments.get("sections"), arguments.get("version", "")
    if not isinstance(sections, dict) or not isinstance(version, str):
        raise ValueError("argument 'sections' must be an object, 'version' text")
    if not all(name in SECTIONS and isinstance(entries, list) for name, entries in sections.items()):
        raise ValueError(f"'sections' are lists by name; names are {', '.join(SECTIONS)}")
    target = Target(_broker(core), core.users, version)
    return counted(take_all(target, Document(sections).entries()))._asdict()


def _broker(core: Core) -> Broker:
    assert isinstance(core.broker, Broker)
    return core.broker
