"""Run a part of this project's own pytest suite for a family, with the Python and the amqpd of the suite."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from interop.suite import junit
from interop.suite.family import Check

HERE = Path(__file__).absolute().parent  # not resolved: for the compiled form the tests are imported through links
IMPORTED_FROM = HERE.parent.parent
REPOSITORY = HERE.resolve().parent.parent
TOLD_CHARACTERS = 3000
TEST_SECONDS = (
    900  # that one test may take, on the slowest machine; pyproject.toml has less, for tests that wait for nobody
)


def run(
    paths: Sequence[str], scratch: Path, marks: str, environment: Mapping[str, str], options: Sequence[str] = ()
) -> list[Check]:
    """One check for each test below ``paths`` (relative to the repository) that the marks select."""
    results, log = scratch / "results.xml", scratch / "pytest.log"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={results}", "-m", marks]
    command += ["-c", str(REPOSITORY / "pyproject.toml"), "--rootdir", str(REPOSITORY)]
    command += ["-o", f"timeout={TEST_SECONDS}"]
    command += ["-o", f"pythonpath={IMPORTED_FROM}", *options, *(str(REPOSITORY / path) for path in paths)]
    with log.open("wb") as output:
        done = subprocess.run(
            command, cwd=IMPORTED_FROM, env={**os.environ, **environment}, stdout=output, stderr=output
        )
    checks = junit.read(results)
    if done.returncode not in (0, 1):  # 1: some failed, as the results say
        told = log.read_text(errors="replace")[-TOLD_CHARACTERS:]
        checks.append(Check("report: pytest ends in order", "failed", f"exit status {done.returncode}\n{told}"))
    return checks
