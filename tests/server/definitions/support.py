"""A broker with definitions in it, and the ways in and out."""

from __future__ import annotations

import json
from typing import Any

from amqpd.server.definitions.document import Document, Sections
from amqpd.server.definitions.exporting import sections_of, vhost_sections_of
from amqpd.server.definitions.importing import Outcome, take, take_all
from amqpd.server.definitions.target import Target, Verdict
from tests.support.linked import Linked

ADDED, CHANGED, SAME, SKIPPED = Verdict


def into(linked: Linked, section: str, /, **entry: Any) -> Verdict:
    """Take in one entry, which must not be refused."""
    outcome = taken(linked, section, entry)
    assert outcome.verdict is not None, outcome.line()
    return outcome.verdict


def refused(linked: Linked, section: str, entry: object) -> str:
    """The reason of a refusal, which must have changed nothing."""
    linked.commit()
    before = export(linked)
    outcome = taken(linked, section, entry)
    assert outcome.verdict is None, f"{outcome.line()} went in"
    assert linked.broker.journal.empty(), "a refused entry wrote something"
    assert export(linked) == before
    assert "\n" not in outcome.line()
    return outcome.reason


def taken(linked: Linked, section: str, entry: object, version: str = "") -> Outcome:
    return take(Target(linked.broker, linked.users, version), section, entry)


def import_all(linked: Linked, sections: Sections, version: str = "") -> list[Outcome]:
    """Everything, through JSON as a file would; written to the store."""
    document = Document(json.loads(json.dumps(sections)), version)
    outcomes = take_all(Target(linked.broker, linked.users, document.version), document.entries())
    linked.commit()
    return outcomes


def export(linked: Linked, vhost: str | None = None) -> Sections:
    """As JSON has it."""
    if vhost is None:
        made = sections_of(linked.broker, linked.users)
    else:
        made = vhost_sections_of(linked.broker, linked.users, vhost)
    read: Sections = json.loads(json.dumps(made, allow_nan=False))
    return read


def restarted(linked: Linked) -> Linked:
    """What the store holds after a crash."""
    linked.crash()
    return Linked(linked.store)
