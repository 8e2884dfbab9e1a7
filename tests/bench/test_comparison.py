"""Medians, ratios and targets of the comparison, and how a run's answer is read."""

import subprocess

import pytest

from bench.harness.client import Address
from bench.harness.generator import read_answer
from bench.harness.results import Results, Run, rate_table
from bench.harness.targets import judge
from bench.harness.versus import parse_options


def run(side: str, load: str, *, ok: bool = True, crowd: bool = False, **figures: float) -> Run:
    named = {name.replace("__", "_us."): value for name, value in figures.items()}
    return Run(side, load, crowd, 1, ok, "" if ok else "lost 1", named)


def results(*runs: Run) -> Results:
    return Results({"a": "amqpd", "b": "rabbitmq"}, list(runs))


def answered(stdout: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], status, stdout, "said on standard error")


def verdicts(found: Results) -> dict[str, bool | None]:
    return {verdict.target: verdict.passed for verdict in judge(found)}


def test_the_ratio_is_that_of_the_medians() -> None:
    a = [run("a", "persistent", rate=rate) for rate in (100.0, 500.0, 900.0)]
    b = [run("b", "persistent", rate=rate) for rate in (90.0, 100.0, 300.0)]
    assert results(*a, *b).ratio("persistent") == 5.0


def test_a_run_that_is_not_ok_counts_for_no_median_and_spoils_the_whole() -> None:
    found = results(run("a", "persistent", rate=900.0, ok=False), run("a", "persistent", rate=100.0))
    assert found.median("a", "persistent", "rate") == 100.0
    assert not found.all_ok()
    assert rate_table(found)[1][0][-1] == "1/2 0/0"


def test_nothing_measured_is_not_ok() -> None:
    assert not results().all_ok()


def test_crowd_runs_do_not_mix_with_plain_ones() -> None:
    found = results(run("a", "persistent", rate=100.0), run("a", "persistent", rate=40.0, crowd=True))
    assert found.median("a", "persistent", "rate") == 100.0
    assert found.crowd_ratio("a", "persistent") == 0.4


@pytest.mark.parametrize(("rate", "passed"), [(499.0, False), (500.0, True)])
def test_persistent_must_be_five_times_as_fast(rate: float, passed: bool) -> None:
    found = results(run("a", "persistent", rate=rate), run("b", "persistent", rate=100.0))
    assert verdicts(found)["persistent, times RabbitMQ at least 5"] is passed


@pytest.mark.parametrize(("p99", "beside", "absolute"), [(16.0, True, False), (14.0, True, True), (20.0, False, False)])
def test_paced_p99_must_be_below_rabbitmq_and_the_limit(p99: float, beside: bool, absolute: bool) -> None:
    found = results(run("a", "paced", confirm__p99=p99), run("b", "paced", confirm__p99=20.0))
    assert verdicts(found)["paced confirm p99, beside RabbitMQ's below 1"] is beside
    assert verdicts(found)["paced confirm p99 in ms below 15"] is absolute


@pytest.mark.parametrize(("rate", "passed"), [(49.0, False), (50.0, True)])
def test_a_crowd_may_halve_a_rate(rate: float, passed: bool) -> None:
    found = results(run("a", "transient", rate=100.0), run("a", "transient", rate=rate, crowd=True))
    assert verdicts(found)["transient rate in crowd, times plain at least 0.5"] is passed


def test_a_target_that_was_not_measured_is_not_passed() -> None:
    assert set(verdicts(results()).values()) == {None}


def test_an_answer_is_ok_only_with_summary_and_status_0() -> None:
    assert read_answer(answered('{"ok":true,"e2e_rate":5}')).ok
    assert not read_answer(answered('{"ok":true,"e2e_rate":5}', status=1)).ok
    assert not read_answer(answered('{"ok":false,"lost":3}', status=1)).ok
    assert not read_answer(answered("")).ok


def test_a_failed_answer_says_why() -> None:
    assert read_answer(answered('{"ok":false,"lost":3,"duplicate":0}', 1)).error == "lost 3"
    assert read_answer(answered('{"ok":false,"error":"connect: refused"}', 2)).error == "connect: refused"
    assert read_answer(answered("", 2)).error == "said on standard error"


def test_a_figure_is_found_by_its_path() -> None:
    answer = read_answer(answered('{"ok":true,"confirm_us":{"p50":12.5}}'))
    assert answer.number("confirm_us.p50") == 12.5
    assert answer.number("confirm_us.p99") is None
    assert answer.number("deliver_us.p50") is None


def test_an_unknown_load_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options(["--only", "persistent,nonsense"])
    assert ended.value.code == 2
    assert "unknown load nonsense" in capsys.readouterr().err


def test_an_address_is_read_from_a_url() -> None:
    assert Address.from_url("amqp://") == Address()
    assert Address.from_url("amqp://u:p%40@h:1/%2fv") == Address("h", 1, "u", "p@", "/v")
    with pytest.raises(ValueError, match="not an amqp"):
        Address.from_url("http://h")
