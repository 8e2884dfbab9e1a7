"""The runs of a comparison and what is drawn from them: medians, ratios, tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from bench.harness.loads import BY_NAME, Load
from bench.harness.report import number, quotient, significant, times

SIDES = ("a", "b")


@dataclass(frozen=True)
class Run:
    """One run of one load against one side; ``figures`` are those of `Load.figures`."""

    side: str
    load: str
    crowd: bool
    round: int
    ok: bool
    error: str
    figures: Mapping[str, float | None]
    summary: Mapping[str, object] = field(default_factory=dict)


@dataclass
class Results:
    """All runs; ``names`` are the two brokers' names by side."""

    names: dict[str, str]
    runs: list[Run] = field(default_factory=list)

    def select(self, side: str, load: str, crowd: bool = False) -> list[Run]:
        """Return the runs of one side, load and kind, in order."""
        return [run for run in self.runs if (run.side, run.load, run.crowd) == (side, load, crowd)]

    def median(self, side: str, load: str, figure: str, crowd: bool = False) -> float | None:
        """Return the median of a figure over the runs that are ok; None when there is none."""
        values = [run.figures.get(figure) for run in self.select(side, load, crowd) if run.ok]
        known = [value for value in values if value is not None]
        return median(known) if known else None

    def ratio(self, load: str, figure: str = "rate", crowd: bool = False) -> float | None:
        """Return the median of A over the median of B."""
        return quotient(self.median("a", load, figure, crowd), self.median("b", load, figure, crowd))

    def crowd_ratio(self, side: str, load: str, figure: str = "rate") -> float | None:
        """Return the figure in the crowd over the plain one."""
        return quotient(self.median(side, load, figure, True), self.median(side, load, figure))

    def all_ok(self) -> bool:
        """Whether there are runs and every one of them is ok."""
        return bool(self.runs) and all(run.ok for run in self.runs)

    def measured(self) -> list[tuple[Load, bool]]:
        """Return each load with its crowd flag, in the order first run."""
        return [(BY_NAME[load], crowd) for load, crowd in dict.fromkeys((run.load, run.crowd) for run in self.runs)]

    def as_json(self) -> dict[str, object]:
        """Return everything for a JSON file: the medians by load and every single run with its summary."""
        return {
            "brokers": dict(self.names),
            "medians": [self._medians(load, crowd) for load, crowd in self.measured()],
            "ok": self.all_ok(),
            "runs": [asdict(run) for run in self.runs],
        }

    def _medians(self, load: Load, crowd: bool) -> dict[str, object]:
        figures = ("rate", "cpu_us", "rss_mib", "rss_peak_mib", *load.latencies)
        return {
            "load": load.name,
            "crowd": crowd,
            "unit": load.unit,
            **{side: {figure: self.median(side, load.name, figure, crowd) for figure in figures} for side in SIDES},
            "ratio": {figure: self.ratio(load.name, figure, crowd) for figure in figures},
        }


def title(load: str, crowd: bool) -> str:
    """Return a load's name as tables show it."""
    return f"{load} in crowd" if crowd else load


def rate_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the rates: medians of both sides, ratio, CPU, peak memory, runs that are ok."""
    a, b = results.names["a"], results.names["b"]
    head = ["load", "unit", a, b, "A/B", f"{a} us CPU", f"{b} us CPU", f"{a} RSS MiB", f"{b} RSS MiB", "ok"]
    return head, [_rate_row(results, load, crowd) for load, crowd in results.measured()]


def _rate_row(results: Results, load: Load, crowd: bool) -> list[str]:
    def both(figure: str) -> Iterable[float | None]:
        return (results.median(side, load.name, figure, crowd) for side in SIDES)

    counts = [results.select(side, load.name, crowd) for side in SIDES]
    return [
        title(load.name, crowd),
        load.unit,
        *(number(value) for value in both("rate")),
        times(results.ratio(load.name, crowd=crowd)),
        *(significant(value) for value in both("cpu_us")),
        *(number(value) for value in both("rss_peak_mib")),
        " ".join(f"{sum(run.ok for run in runs)}/{len(runs)}" for runs in counts),
    ]


def latency_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the latencies in milliseconds; lower is better."""
    rows = [
        [
            title(load.name, crowd),
            figure.replace("_us.", " "),
            *(significant(results.median(side, load.name, figure, crowd)) for side in SIDES),
            times(results.ratio(load.name, figure, crowd)),
        ]
        for load, crowd in results.measured()
        for figure in load.latencies
    ]
    return ["load", "ms", results.names["a"], results.names["b"], "A/B"], rows


def crowd_table(results: Results, loads: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of crowd over plain; above 1 is more of the figure, so worse for a latency."""
    rows = [
        [
            name,
            figure.replace("_us.", " "),
            *(times(results.crowd_ratio(side, name, figure)) for side in SIDES),
        ]
        for name in loads
        for figure in ("rate", "cpu_us", *BY_NAME[name].latencies)
        if results.select("a", name, True)
    ]
    return ["crowd/plain", "figure", results.names["a"], results.names["b"]], rows
