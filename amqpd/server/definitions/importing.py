"""Taking entries into the broker, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from amqpd.auth.users import NoSuchUser
from amqpd.server.definitions import access, rules, topology
from amqpd.server.definitions.document import label
from amqpd.server.definitions.fields import Fields
from amqpd.server.definitions.target import Target, Verdict
from amqpd.spec.errors import AmqpError

Take = Callable[[Target, Fields], Verdict]

TAKE: Final[dict[str, Take]] = {
    "users": access.take_user,
    "vhosts": access.take_vhost,
    "permissions": access.take_permission,
    "topic_permissions": access.take_topic_permission,
    "global_parameters": rules.take_global_parameter,
    "parameters": rules.take_parameter,
    "policies": rules.take_policy,
    "exchanges": topology.take_exchange,
    "queues": topology.take_queue,
    "bindings": topology.take_binding,
}


class Outcome(NamedTuple):
    """What became of one entry. ``verdict`` is None when it was refused, and ``reason`` says why then."""

    section: str
    entry: object
    verdict: Verdict | None
    reason: str = ""

    def line(self) -> str:
        """The entry by its name, and the reason of a refusal."""
        name = label(self.section, self.entry)
        return f"{name}: {' '.join(self.reason.split())}" if self.verdict is None else name


def take(target: Target, section: str, entry: object) -> Outcome:
    """Take in one entry, or refuse it; a refused one changes nothing.

    What changes is in the open batch of the broker's journal: it lasts once that batch is committed.
    """
    try:
        return Outcome(section, entry, TAKE[section](target, Fields(entry)))
    except AmqpError as error:
        return Outcome(section, entry, None, error.text)
    except (NoSuchUser, ValueError) as error:
        return Outcome(section, entry, None, str(error))


def take_all(target: Target, entries: Iterable[tuple[str, object]]) -> list[Outcome]:
    """Take in entries with their sections, in the order they come."""
    return [take(target, section, entry) for section, entry in entries]


class Counts(NamedTuple):
    """How many entries became what, and a line for each refusal."""

    added: int
    changed: int
    same: int
    skipped: int
    refused: list[str]


def counted(outcomes: Iterable[Outcome]) -> Counts:
    found = dict.fromkeys(Verdict, 0)
    refused: list[str] = []
    for outcome in outcomes:
        if outcome.verdict is None:
            refused.append(outcome.line())
        else:
            found[outcome.verdict] += 1
    added, changed, same, skipped = (found[verdict] for verdict in Verdict)
    return Counts(added, changed, same, skipped, refused)
