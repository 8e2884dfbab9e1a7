"""The conformance set on two brokers: frame by frame the same, but where they mean to differ.

``families`` is the set on one broker; ``compare`` records it on both and compares. By hand:
``python -m interop.side_by_side --against amqp://guest:guest@127.0.0.1:5672/``.
"""

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from interop import facts
from interop.broker import Broker
from interop.side_by_side.recordings import Recorded, announced, record
from interop.side_by_side.side import Comparison
from interop.suite.family import Family, Outcome, Run

__all__ = ["compare", "families"]


def families() -> list[Family]:
    """The set on a broker alone, each row a check."""

    def rows(run: Run) -> Outcome:
        return Outcome("", record(run.broker, run.scratch, _new_token()).checks)

    return [Family("frames", "Python", rows, ci=True, tags=("own",))]


def compare(amqpd: Broker, against: Broker, scratch: Path) -> Outcome:
    """One check a scenario, and one for each listed difference that does not show any more.

    ``scratch`` gets the recordings and the test runners' reports, below ``amqpd`` and ``rabbitmq``. What the rows
    themselves say is in the family ``frames`` of each broker.
    """
    token = _new_token()
    version = str(announced(against.url)["version"])

    def recorded(broker: Broker, name: str) -> Recorded:
        (directory := scratch / name).mkdir()
        return record(broker, directory, token)

    with ThreadPoolExecutor(2) as pool:
        ours, theirs = pool.map(recorded, (amqpd, against), ("amqpd", "rabbitmq"))
    comparison = Comparison(token)
    checks = list(comparison.checks(ours.scenarios, theirs.scenarios, {**ours.skipped, **theirs.skipped}))
    if version == facts.RABBITMQ:
        checks += comparison.unseen()
    return Outcome(f"RabbitMQ {version}", checks)


def _new_token() -> str:
    return secrets.token_hex(3)
