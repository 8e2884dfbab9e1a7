"""The README's program prints what the README says, against a broker of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from interop.broker import AmqpdProcess

README = Path(__file__).parents[1] / "README.md"
PROGRAM = re.compile(r"```python\n(.*?)```\n\n```\n(.*?)```", re.DOTALL)


@pytest.mark.interop
def test_the_program_of_the_readme_prints_what_it_says(tmp_path: Path) -> None:
    ((program, printed),) = PROGRAM.findall(README.read_text(encoding="utf-8"))
    process = AmqpdProcess(tmp_path)
    process.start()
    try:
        program = program.replace('("127.0.0.1")', f'("127.0.0.1", {process.port})')
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    finally:
        process.stop()
    assert (done.stderr, done.stdout) == ("", printed)
