"""Where the repository lies and what its pyproject.toml says, for tests that look at the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

# `make test-compiled` imports this module through a link beside the installed package; __file__ names the
# link, and pyproject.toml is not there.
ROOT: Final = Path(os.path.realpath(__file__)).parents[2]


def pyproject() -> dict[str, Any]:
    """The parsed pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def hot_modules() -> list[str]:
    """Paths of the hot modules relative to the repository, such as ``amqpd/wire/frames.py``."""
    hot: list[str] = pyproject()["tool"]["amqpd"]["hot"]
    return hot


def tool(name: str) -> str:
    """Path of a program installed beside the Python that runs the tests."""
    return str(Path(sys.executable).parent / name)


def copy_sources(target: Path) -> None:
    """Copy what a build or a run of import-linter reads into ``target``: no caches, no built files."""
    clean = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "amqpd", target / "amqpd", ignore=clean)
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, target / name)


def run(*arguments: str, cwd: Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return it with its output (standard error is put into ``stdout``)."""
    return subprocess.run(
        arguments,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
