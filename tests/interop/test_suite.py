"""The suite that runs client libraries tells what happened: reports, lists of failures, control, tables."""

from __future__ import annotations

import json
import re
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from interop.broker import Broker, CannotDo, controlled
from interop.suite import cli, every, junit, pages, programs, report, running, tap
from interop.suite.control import controlling
from interop.suite.family import Check, Family, Known, Outcome, Run, Unavailable, explained

WHOLE = [f"ok - {name}: done" for name in tap.SCENARIOS]


def results(lines: list[str]) -> dict[str, str]:
    return {check.name: check.result for check in tap.read(lines)}


# ---- reports of programs


def test_a_whole_report_is_its_checks() -> None:
    checks = tap.read([*WHOLE, f"1..{len(WHOLE)}"])
    assert {check.result for check in checks} == {"passed"}
    assert [tap.scenario_of(check) for check in checks] == list(tap.SCENARIOS)


def test_a_failed_check_carries_the_lines_below_it() -> None:
    (check,) = tap.read(["not ok 3 - get: empty", "# expected 1", "# got 2", "ok 4 - x"])[:1]
    assert check == Check("get: empty", "failed", "expected 1\ngot 2")


def test_a_comment_below_a_check_that_passed_is_no_explanation() -> None:
    assert tap.read(["ok 1 - get: empty", "# by the way"])[0].explanation == ""


def test_a_skip_has_its_reason() -> None:
    (check,) = tap.read(["ok 1 - blocked # SKIP the client has no notice"])[:1]
    assert check == Check("blocked", "skipped", "the client has no notice")


def test_a_report_without_an_end_is_a_failure() -> None:
    assert results(WHOLE)[tap.DIED] == "failed"


def test_a_plan_with_another_number_is_a_failure() -> None:
    assert results([*WHOLE, "1..3"])["report: every check arrived"] == "failed"


def test_a_scenario_that_is_not_mentioned_is_a_failure() -> None:
    assert results([*WHOLE[1:], f"1..{len(WHOLE) - 1}"])["connect: reported"] == "failed"


def test_a_scenario_that_nobody_knows_is_a_failure() -> None:
    assert results([*WHOLE, "ok - dreams: come true", f"1..{len(WHOLE) + 1}"])["dreams: is a scenario"] == "failed"


def test_the_page_of_scenarios_has_those_the_reader_knows() -> None:
    page = (programs.FAMILIES / "README.md").read_text(encoding="utf-8").split("## The scenarios")[1]
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert rows == list(tap.SCENARIOS)


# ---- lists of failures


def test_a_known_failure_is_expected_and_a_listed_one_that_passes_is_not() -> None:
    checks = [Check("a.one", "failed"), Check("a.two", "passed"), Check("b", "passed")]
    rest, expected = explained(checks, [Known("a.*", "it is so"), Known("b", "was so")])
    assert expected == {"a.one": "it is so"}
    assert [(check.name, check.result) for check in rest] == [("a.two", "passed"), ("b", "passed"), ("b", "failed")]


def test_on_another_broker_a_listed_failure_may_pass() -> None:
    assert explained([Check("b", "passed")], [Known("b", "was so")], shrinking=False) == ([Check("b", "passed")], {})


# ---- acting on the broker


def test_the_command_acts_on_the_broker_and_says_what_cannot_be_done(tmp_path: Path) -> None:
    done: list[str] = []
    broker = Broker(
        "amqp://x",
        restart=lambda: done.append("restart"),
        alarm=lambda on: done.append(f"alarm {on}"),
        policy=lambda name, pattern, definition: done.append(f"policy {name} {pattern} {definition}"),
    )
    with controlling(broker, tmp_path) as command:
        there = controlled("amqp://x", str(command))
        there.restart()
        there.alarm(True)
        there.policy("short one", "^a b$", {"max-length": 5})
        assert done == ["restart", "alarm True", "policy short one ^a b$ {'max-length': 5}"]
        with pytest.raises(CannotDo, match="management URL"):
            there.interrupt("somebody")
        unknown = subprocess.run([command, "dance"], capture_output=True, text=True)
    assert (unknown.returncode, "dance" in unknown.stdout) == (1, True)


# ---- descriptions of families


def test_every_families_file_can_be_read_and_names_are_used_once() -> None:
    names = [family.name for family in every.families()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("section", "told"),
    [({"langage": "C", "package": "p", "run": []}, "no key langage"), ({"language": "C", "run": []}, "needs package")],
)
def test_a_wrong_key_is_named(section: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        programs.program_of("x", Path("c"), section)


def test_placeholders_are_filled_in_and_other_braces_stay() -> None:
    assert programs.filled_in("{debian}/usr {x} {}", {"debian": "/d"}) == "/d/usr {x} {}"


def test_programs_get_the_address_in_parts() -> None:
    told = programs.address("amqp://me:p%40ss@127.0.0.1:7/a%2Fb")
    assert told["AMQP_URL"] == "amqp://me:p%40ss@127.0.0.1:7/a%2Fb"
    assert (told["AMQP_PASSWORD"], told["AMQP_VHOST"], told["AMQP_PORT"]) == ("p@ss", "a/b", "7")
    assert programs.address("amqp://127.0.0.1/")["AMQP_URL"] == "amqp://guest:guest@127.0.0.1:5672/%2F"


# ---- runs


def family(name: str, *checks: Check, ci: bool = False) -> Family:
    return Family(name, "Python", lambda _run: Outcome("1.0", list(checks)), ci=ci)


@pytest.fixture
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        def __init__(self, _directory: Path) -> None:
            pass

        def start(self) -> None:
            pass

        def broker(self) -> Broker:
            return Broker("amqp://127.0.0.1:1/")

        def stop(self) -> None:
            raise AssertionError("it did not stop in order")

        def kill(self) -> None:
            pass

    monkeypatch.setattr(running, "AmqpdProcess", Process)


@pytest.mark.usefixtures("no_broker")
def test_a_broker_that_does_not_stop_in_order_fails_its_family(tmp_path: Path) -> None:
    row = running.run_one(family("a", Check("x", "passed")), running.Place(tmp_path))
    assert [check.result for check in row.checks] == ["passed", "failed"]
    assert "did not stop in order" in row.checks[-1].explanation


@pytest.mark.usefixtures("no_broker")
def test_a_family_that_lacks_something_is_not_run_and_says_why(tmp_path: Path) -> None:
    def lacking(_run: Run) -> Outcome:
        raise Unavailable("no go here")

    row = running.run_one(Family("go", "Go", lacking), running.Place(tmp_path))
    assert (row.unavailable, row.checks) == ("no go here", [])
    told = report.as_json([row], {})
    assert not report.has_failures(told, complete=False)
    assert report.has_failures(told, complete=True)


@pytest.mark.usefixtures("no_broker")
def test_a_family_that_checks_nothing_fails(tmp_path: Path) -> None:
    row = running.run_one(family("a", Check("x", "skipped", "no")), running.Place(tmp_path))
    assert row.count("failed") > 0


def row_of(name: str, *checks: Check) -> running.Row:
    return running.Row(family(name), "1.0", checks=list(checks))


def test_the_table_shows_counts_reasons_and_the_closing_line() -> None:
    rows = [
        row_of(
            "good", Check("a: b", "passed"), Check("get", "skipped", "no such thing"), Check("ttl", "skipped", "old")
        ),
        row_of("bad", Check("a: b", "failed", "expected 1, got 2")),
    ]
    shown = StringIO()
    report.print_table(rows, Console(file=shown, width=120), "amqpd")
    text = shown.getvalue()
    assert "skipped: get: no such thing" in text
    assert "FAILED a: b: expected 1, got 2" in text
    assert text.splitlines()[-1] == "1 passed, 1 failed, 2 skipped"


def test_a_page_gets_a_row_for_each_family_and_the_reasons(tmp_path: Path) -> None:
    rows = [row_of("good", Check("a: b", "passed"), Check("get", "skipped", "no such thing"))]
    rows[0].expected = {"x": "it is so", "y": "it is so"}
    families = report.as_json(rows, {})["families"]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{pages.BEGIN}\nold\n{pages.END}\nafter\n")
    pages.write(page, pages.table(families))
    assert "| good | Python | 1.0 | 4 | 1 | 0 (and 2 expected) | 1 | 0 |" in pages.written(page)
    text = page.read_text()
    assert (text.startswith("before\n"), text.endswith("after\n"), "old" in text) == (True, True, False)
    told = pages.reasons(families).splitlines()
    assert told == ["- good, skipped `get`: no such thing", "- good, expected to fail `x`, `y`: it is so"]


def test_a_page_without_a_place_is_refused(tmp_path: Path) -> None:
    (page := tmp_path / "page.md").write_text("nothing here\n")
    with pytest.raises(ValueError, match="no place for the table"):
        pages.write(page, "text")


def test_of_many_names_the_first_are_shown() -> None:
    assert report.some(["a", "b", "a"]) == "a, b"
    assert report.some(list("abcdefgh")) == "a, b, c, d, e, 3 more"
    assert report.some(list("abcdef")) == "a, b, c, d, e, f"


def test_checks_with_another_result_on_another_broker_are_told() -> None:
    here = report.as_json(
        [row_of("a", Check("x", "passed"), Check("y", "passed")), row_of("b", Check("x", "passed"))], {}
    )
    there = report.as_json([row_of("a", Check("x", "skipped", "no"), Check("y", "passed"))], {})
    told = list(report.differing(here["families"], there["families"]))
    assert told == ["differs: a, x: passed, and there skipped"]


def test_names_choose_families_and_groups(capsys: pytest.CaptureFixture[str]) -> None:
    families = [family("a", ci=True), family("b")]
    assert [one.name for one in cli.chosen(families, ["ci"])] == ["a"]
    assert [one.name for one in cli.chosen(families, ["b"])] == ["b"]
    assert len(cli.chosen(families, [])) == 2
    with pytest.raises(SystemExit) as stop:
        cli.chosen(families, ["c"])
    assert stop.value.code == 2
    assert "no family or group c" in capsys.readouterr().err


# ---- results of test runners


def test_junit_results_are_checks(tmp_path: Path) -> None:
    (tmp_path / "r.xml").write_text(
        '<testsuites><testsuite><testcase classname="t" name="a"/><testcase classname="t" name="b"><failure '
        'message="no"/></testcase><testcase name="c"><skipped message="why"/></testcase></testsuite></testsuites>'
    )
    checks = junit.read(tmp_path / "r.xml")
    assert checks == [Check("t.a", "passed"), Check("t.b", "failed", "no"), Check("c", "skipped", "why")]


def test_a_runner_that_wrote_nothing_has_failed(tmp_path: Path) -> None:
    assert [check.result for check in junit.read(tmp_path / "none.xml")] == ["failed"]


def test_results_can_be_written_as_json() -> None:
    told = report.as_json([row_of("a", Check("x", "failed", "no"))], {"product": "amqpd"})
    assert json.loads(json.dumps(told)) == told


# ---- the table in the pages


def test_the_readme_has_every_family_and_the_versions_that_are_pinned() -> None:
    rows = [line.split(" | ") for line in pages.written(programs.REPOSITORY / "README.md").splitlines()[3:] if line]
    shown = {cells[0].removeprefix("| "): cells[2] for cells in rows}
    assert list(shown) == [family.name for family in every.families()], "write it again: interop/run --pages"
    pinned = {
        program.name: requirement.rpartition("=" if program.pip else "@")[2]
        for path in programs.FAMILIES.glob("*/families.toml")
        for program in programs.programs_of(path)
        for requirement in (*program.pip, *program.npm)
        if re.split(r"[\[=@]", requirement.lstrip("@"))[0] == program.package
    }
    assert {name: shown[name] for name in pinned} == pinned, "write it again: interop/run --pages"


def test_the_readme_shows_no_failure_that_is_not_explained() -> None:
    rows = [line.split(" | ") for line in pages.written(programs.REPOSITORY / "README.md").splitlines()[3:] if line]
    assert [cells[0] for cells in rows if not cells[5].startswith("0")] == []
