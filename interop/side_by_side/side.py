"""Compare recordings of two brokers, scenario by scenario, in the light of the known differences."""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

from interop import facts
from interop.conformance.recording import mark_of
from interop.differences import FRAMES, Shown
from interop.side_by_side.comparing import FrameDifference, differences
from interop.side_by_side.neutral import neutral
from interop.side_by_side.recordings import Recording
from interop.side_by_side.wording import worded
from interop.suite.family import Check

Scenarios = Mapping[str, Recording]


class Comparison:
    """``shown`` are the places where a difference may be; those that differed are not among ``unseen``."""

    def __init__(self, token: str, shown: Iterable[Shown] = FRAMES) -> None:
        self._token = token
        self._shown = list(shown)
        self._seen: set[Shown] = set()
        self._compared: list[str] = []

    def checks(
        self, amqpd: Scenarios, rabbitmq: Scenarios, skipped: Mapping[str, str] = MappingProxyType({})
    ) -> Iterator[Check]:
        """``skipped`` are the scenarios that could not be run on one of the two, with the reason."""
        for name in sorted(amqpd.keys() | rabbitmq.keys()):
            ours, theirs = amqpd.get(name), rabbitmq.get(name)
            if ours is None or theirs is None:
                where = f"it ran on {'RabbitMQ' if ours is None else 'amqpd'} only"
                reason = skipped.get(name)
                yield Check(name, "skipped", f"{where}: {reason}") if reason else Check(name, "failed", where)
                continue
            yield self.check(ours, theirs)

    def check(self, amqpd: Recording, rabbitmq: Recording) -> Check:
        """Whether the two differ nowhere but where they are meant to, and there indeed."""
        name = amqpd.scenario
        if skipped := amqpd.skipped or rabbitmq.skipped:
            return Check(name, "skipped", skipped)
        first = self._first_unlisted(amqpd, rabbitmq)
        if amqpd.differs:
            fact = dict(facts.facts())[amqpd.differs]
            if first is None and not rabbitmq.failed:
                return Check(name, "failed", f"nothing differs, but it is listed: RabbitMQ {fact.rabbitmq}")
            where = "in time, or in what no frame says" if first is None else told(first)
            return Check(name, "passed", f"as listed, RabbitMQ {fact.rabbitmq}: {where}")
        return Check(name, "passed") if first is None else Check(name, "failed", told(first))

    def unseen(self) -> Iterator[Check]:
        """A failed check for every listed place that was looked at and does not differ any more."""
        for one in self._shown:
            if one not in self._seen and any(_is_for(one, name) for name in self._compared):
                text = f"nothing differs there, but it is listed: RabbitMQ {one.fact.rabbitmq}"
                yield Check(f"{' '.join(one.scenarios)}: {' '.join(one.places)}", "failed", text)

    def _first_unlisted(self, amqpd: Recording, rabbitmq: Recording) -> FrameDifference | None:
        name = amqpd.scenario
        self._compared.append(name)
        mark, own = mark_of(name, self._token), dict(facts.facts()).get(amqpd.differs)
        for difference in differences(neutral(amqpd.connections, mark), neutral(rabbitmq.connections, mark)):
            if not all(self._is_listed(name, place, own) for place, _, _ in difference.places()):
                return difference
        return None

    def _is_listed(self, scenario: str, place: str, own: facts.Fact | None) -> bool:
        """In a row that is about a fact of its ``own``, this fact is what must show."""
        for one in self._shown:
            if one.fact is not own and _is_for(one, scenario) and _is_one_of(place, one.places):
                self._seen.add(one)
                return True
        return False


def told(difference: FrameDifference) -> str:
    """``connection 1, frame 7: amqpd `channel.close 406 ...`, RabbitMQ `...```."""
    ours, theirs = worded(difference.left), worded(difference.right)
    return f"connection {difference.connection}, frame {difference.frame}: amqpd `{ours}`, RabbitMQ `{theirs}`"


def _is_for(one: Shown, scenario: str) -> bool:
    return _is_one_of(scenario, one.scenarios)


def _is_one_of(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(text, pattern.replace("[", "[[]")) for pattern in patterns)
