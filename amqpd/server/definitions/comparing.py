"""What an import would do, found by doing it to a scratch broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from amqpd.auth.users import Users
from amqpd.broker.broker import Broker
from amqpd.broker.registry import Registry
from amqpd.server.definitions.document import SECTIONS, Document, key, label
from amqpd.server.definitions.importing import Outcome, take_all
from amqpd.server.definitions.target import Target, Verdict

ADD: Final = "+"
CHANGE: Final = "~"
CONFLICT: Final = "!"
ONLY_HERE: Final = "-"


class Difference(NamedTuple):
    """``sign``: ADD, CHANGE, CONFLICT (an import refuses it; ``reason``) or ONLY_HERE (an import leaves it)."""

    sign: str
    section: str
    name: str
    reason: str = ""

    def line(self) -> str:
        return f"{self.sign} {self.name}" + (f": {self.reason}" if self.reason else "")


SIGNS: Final[dict[Verdict | None, str]] = {Verdict.ADDED: ADD, Verdict.CHANGED: CHANGE, None: CONFLICT}


def differences(
    registry: Registry, current: Document, wanted: Document, vhost: str | None = None
) -> Iterator[Difference]:
    """What an import of ``wanted`` would do to a broker whose export is ``current``, in the order of an import.

    Then what only the broker has, of the sections that ``wanted`` has; ``vhost``: only of what is in this one.
    Raises ValueError when ``current`` does not import, which an export does.
    """
    for outcome in _outcomes(registry, current, wanted):
        sign = SIGNS.get(outcome.verdict)
        if sign is not None:
            reason = " ".join(outcome.reason.split())
            yield Difference(sign, outcome.section, label(outcome.section, outcome.entry), reason)
    yield from _only_here(current if vhost is None else current.into(vhost), wanted)


def _outcomes(registry: Registry, current: Document, wanted: Document) -> list[Outcome]:
    broker = Broker(registry, 1, 0)
    users = Users(broker.journal.define)
    for outcome in take_all(Target(broker, users, current.version), current.entries()):
        if outcome.verdict is None:
            raise ValueError(f"the broker's own definitions cannot be compared with: {outcome.line()}")
    return take_all(Target(broker, users, wanted.version), wanted.entries())


def _only_here(current: Document, wanted: Document) -> Iterator[Difference]:
    for section in SECTIONS:
        if section in wanted.sections:
            known = {key(section, entry) for entry in wanted.sections[section] if isinstance(entry, dict)}
            for entry in current.sections.get(section, ()):
                if key(section, entry) not in known:
                    yield Difference(ONLY_HERE, section, label(section, entry))
