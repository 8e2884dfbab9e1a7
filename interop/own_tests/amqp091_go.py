"""amqp091-go's own integration tests, from Debian's source package, run by Debian's ``go test``.

One test ends the whole test program when it fails; it runs in a program of its own, so that the others are seen.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from interop.own_tests.management import management_port
from interop.own_tests.sources import DebianSource, unpacked
from interop.own_tests.suite import own_tests, version_of
from interop.suite import install
from interop.suite.control import controlling
from interop.suite.family import Check, Family, Outcome, Result, Run

SOURCE = DebianSource("golang-github-rabbitmq-amqp091-go", "1.14.0")
PACKAGES = ("golang-go", "golang-uber-goleak-dev")
IMPORTED_AS = "github.com/rabbitmq/amqp091-go"
ALONE = ("TestIntegrationConsumeFlow",)
NEEDS_BROKER = "//go:build integration"
MANAGEMENT = "15672"
SECONDS = 600.0
TOLD_CHARACTERS = 1500
RESULTS: Mapping[str, Result] = {"pass": "passed", "fail": "failed", "skip": "skipped"}


def family() -> Family:
    return own_tests("amqp091-go", "Go", observe)


def observe(run: Run) -> Outcome:
    """Raises ``Unavailable`` when the source or Debian's Go cannot be had."""
    root = install.debian_root(PACKAGES, run.cache)
    archive = SOURCE.archive(run.cache)
    tree = _in_gopath(unpacked(archive, run.scratch / "source"), run.scratch / "go")
    with management_port(run.broker) as port, controlling(run.broker, run.scratch) as control:
        _set_management_port(tree, port)
        environment = _environment(run, root)
        if run.ours:  # an alarm in a broker that others use would stop them
            environment["RABBITMQ_RABBITMQCTL_PATH"] = str(_rabbitmqctl(run.scratch, control))
        return Outcome(version_of(archive), list(_tested(tree, root, environment)))


def _in_gopath(tree: Path, gopath: Path) -> Path:
    """The source, at the place where Go looks for it without modules."""
    place = gopath / "src" / IMPORTED_AS
    place.parent.mkdir(parents=True)
    return tree.rename(place)


def _set_management_port(tree: Path, port: int) -> None:
    """The tests have the port written out."""
    for path in (tree / "internal" / "utils" / "http.go", tree / "recovery_test.go"):
        text = path.read_text()
        if MANAGEMENT not in text:
            raise RuntimeError(f"{path.name} does not name the port {MANAGEMENT}")
        path.write_text(text.replace(f"localhost:{MANAGEMENT}", f"127.0.0.1:{port}").replace(MANAGEMENT, str(port)))


def _rabbitmqctl(directory: Path, control: Path) -> Path:
    """A ``rabbitmqctl`` that knows the watermark of the memory alarm: 0.4 as it was, anything else raises it."""
    command = directory / "rabbitmqctl"
    command.write_text(
        '#!/bin/sh\n[ "$1" = set_vm_memory_high_watermark ] || exit 64\n'
        f'case "$2" in 0.4) exec {control} alarm off;; *) exec {control} alarm on;; esac\n'
    )
    command.chmod(0o755)
    return command


def _environment(run: Run, root: Path) -> dict[str, str]:
    return {
        **os.environ,
        "AMQP_URL": run.broker.url,
        "CGO_ENABLED": "0",
        "GO111MODULE": "off",
        "GOCACHE": str(run.cache / "go-build"),
        "GOPATH": f"{run.scratch / 'go'}:{root / 'usr/share/gocode'}",
        "GOROOT": str(root / "usr/lib/go"),
    }


def _tested(tree: Path, root: Path, environment: Mapping[str, str]) -> Iterator[Check]:
    names = list(_tests(tree))
    yield from _ran([name for name in names if name not in ALONE], tree, root, environment)
    for name in ALONE:
        yield from _ran([name], tree, root, environment)


def _tests(tree: Path) -> Iterator[str]:
    """The tests that talk to a broker."""
    for path in sorted(tree.glob("*_test.go")):
        text = path.read_text()
        if NEEDS_BROKER in text:
            yield from re.findall(r"^func (Test\w+)\(t \*testing\.T\)", text, re.MULTILINE)


def _ran(names: list[str], tree: Path, root: Path, environment: Mapping[str, str]) -> Iterator[Check]:
    """One check for each test; what else goes wrong with their program is a failed one."""
    command = [str(root / "usr/bin/go"), "test", "-json", "-tags", "integration", f"-timeout={SECONDS:.0f}s"]
    command += ["-run", f"^({'|'.join(names)})$", "."]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    checks, told = _read(done.stdout)
    yield from checks
    seen = {check.name for check in checks}
    for name in names:
        if name not in seen:
            yield Check(name, "failed", f"it did not run\n{told[-TOLD_CHARACTERS:]}{done.stderr[-TOLD_CHARACTERS:]}")
    if done.returncode != 0 and all(check.result != "failed" for check in checks):
        yield Check("report: go test ends in order", "failed", f"{told[-TOLD_CHARACTERS:]}{done.stderr}")


def _read(report: str) -> tuple[list[Check], str]:
    """The checks of ``go test -json``, and what the program said that belongs to no test."""
    said: dict[str, str] = {}
    checks = []
    for line in report.splitlines():
        if not line.startswith("{"):
            continue
        event = json.loads(line)
        name = event.get("Test", "")
        if event["Action"] == "output":
            said[name] = said.get(name, "") + event["Output"]
        elif name and event["Action"] in RESULTS:
            result = RESULTS[event["Action"]]
            explanation = "" if result == "passed" else said.get(name, "").strip()[:TOLD_CHARACTERS]
            checks.append(Check(name, result, explanation))
    return checks, said.get("", "")
