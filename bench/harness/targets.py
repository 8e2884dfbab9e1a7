"""What the A side must reach beside RabbitMQ on the B side, and whether it did."""

from __future__ import annotations

from dataclasses import dataclass

from bench.harness.report import significant
from bench.harness.results import Results

CROWD_LOADS = ("persistent", "transient", "paced")
PERSISTENT_RATIO_MIN = 5.0
TRANSIENT_RATIO_MIN = 6.0
FEATURE_LOADS = ("ttl", "priority", "maxlength", "dropping")
FEATURE_RATIO_MIN = 5.0
PACED_P99_MS_MAX = 15.0
PACED_MEAN_MS_MAX = 5.0
CROWD_RATE_MIN = 0.5
CROWD_LATENCY_MAX = 2.0


@dataclass(frozen=True)
class Verdict:
    """One target. ``passed`` is None when the figure was not measured."""

    target: str
    value: float | None
    passed: bool | None

    def line(self) -> str:
        """Return the verdict as one line of text."""
        word = {True: "PASS", False: "FAIL", None: "NOT MEASURED"}[self.passed]
        return f"{word:<12}  {self.target}: {significant(self.value)}"


def at_least(target: str, value: float | None, limit: float) -> Verdict:
    """Judge a value that may not be below ``limit``."""
    return Verdict(f"{target} at least {limit:g}", value, None if value is None else value >= limit)


def below(target: str, value: float | None, limit: float) -> Verdict:
    """Judge a value that must be below ``limit``."""
    return Verdict(f"{target} below {limit:g}", value, None if value is None else value < limit)


def at_most(target: str, value: float | None, limit: float) -> Verdict:
    """Judge a value that may not be above ``limit``."""
    return Verdict(f"{target} at most {limit:g}", value, None if value is None else value <= limit)


def judge(results: Results) -> list[Verdict]:
    """Judge every target on the medians."""
    return [
        at_least("persistent, times RabbitMQ", results.ratio("persistent"), PERSISTENT_RATIO_MIN),
        at_least("transient, times RabbitMQ", results.ratio("transient"), TRANSIENT_RATIO_MIN),
        below("paced confirm p50, beside RabbitMQ's", results.ratio("paced", "confirm_us.p50"), 1.0),
        below("paced confirm p99, beside RabbitMQ's", results.ratio("paced", "confirm_us.p99"), 1.0),
        below("paced confirm p99 in ms", results.median("a", "paced", "confirm_us.p99"), PACED_P99_MS_MAX),
        below("paced confirm mean in ms", results.median("a", "paced", "confirm_us.mean"), PACED_MEAN_MS_MAX),
        *(at_least(f"{load}, times RabbitMQ", results.ratio(load), FEATURE_RATIO_MIN) for load in FEATURE_LOADS),
        *judge_crowd(results),
    ]


def judge_crowd(results: Results) -> list[Verdict]:
    """Judge that no figure falls by more than half in the crowd: rates halved, latencies doubled at worst."""
    rates = [
        at_least(f"{load} rate in crowd, times plain", results.crowd_ratio("a", load), CROWD_RATE_MIN)
        for load in CROWD_LOADS
    ]
    latencies = [
        at_most(
            f"paced {figure.replace('_us.', ' ')} in crowd, times plain",
            results.crowd_ratio("a", "paced", figure),
            CROWD_LATENCY_MAX,
        )
        for figure in ("confirm_us.p50", "confirm_us.p99")
    ]
    return rates + latencies
