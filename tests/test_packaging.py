"""What setup.py builds: the compiled form only where it can, all of it or none, and it says so."""

from __future__ import annotations

import re
import stat
import zipfile
from pathlib import Path

import pytest

from tests.support.repository import copy_sources, run, tool

HOT = '''"""A small hot module."""

from __future__ import annotations


def double(number: int) -> int:
    return number * 2
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The repository with one small hot module, so that mypyc takes seconds."""
    directory = tmp_path / "project"
    directory.mkdir()
    copy_sources(directory)
    config = directory / "pyproject.toml"
    text, replaced = re.subn(
        r"(?m)^hot = \[[^\]]*\]", 'hot = ["amqpd/wire/tiny.py"]', config.read_text(encoding="utf-8")
    )
    assert replaced == 1
    config.write_text(text, encoding="utf-8")
    (directory / "amqpd" / "wire" / "tiny.py").write_text(HOT)
    return directory


def build(project: Path, **environment: str) -> tuple[int, str, Path | None]:
    """Build a wheel with the tools installed here: exit status, output, and the wheel if there is one."""
    done = run(
        tool("pip"), "wheel", "-v", "--no-deps", "--no-build-isolation", "-w", "out", ".",
        cwd=project, environment={"AMQPD_PURE": "", **environment},
    )  # fmt: skip
    return done.returncode, done.stdout, next((project / "out").glob("*.whl"), None)


def binaries(wheel: Path | None) -> list[str]:
    assert wheel is not None
    return sorted(name.split(".")[0] for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so"))


def failing_compiler(directory: Path, *, only_for: str) -> str:
    """A C compiler that fails on files whose path contains ``only_for`` and is the real one otherwise."""
    script = directory / "cc-that-fails"
    script.write_text(f'#!/bin/sh\ncase "$*" in *{only_for}*) exit 1;; esac\nexec cc "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def test_hot_module_and_its_library_are_compiled(project: Path) -> None:
    status, output, wheel = build(project, AMQPD_PURE="0")
    assert status == 0, output
    assert binaries(wheel) == ["amqpd/wire/tiny", "amqpd__mypyc"]


def test_pure_form_on_request(project: Path) -> None:
    status, output, wheel = build(project, AMQPD_PURE="1")
    assert status == 0, output
    assert binaries(wheel) == []
    assert wheel is not None
    assert wheel.name.endswith("-none-any.whl")


def test_missing_compiler_gives_the_pure_form_and_one_line(project: Path) -> None:
    status, output, wheel = build(project, CC="/nonexistent/cc")
    assert status == 0, output
    assert wheel is not None
    assert wheel.name.endswith("-none-any.whl")
    assert output.count("amqpd: building the pure Python form: no working C compiler") == 1


def test_compiler_failing_late_leaves_no_binary(project: Path, tmp_path: Path) -> None:
    status, output, wheel = build(project, CC=failing_compiler(tmp_path, only_for="__native"))
    assert status == 0, output
    assert binaries(wheel) == []
    assert output.count("amqpd: building the pure Python form: the C compiler failed") == 1


def test_type_error_in_a_hot_module_gives_the_pure_form_and_one_line(project: Path) -> None:
    (project / "amqpd" / "wire" / "tiny.py").write_text(HOT.replace("number * 2", "str(number)"))
    status, output, wheel = build(project)
    assert status == 0, output
    assert binaries(wheel) == []
    assert output.count("amqpd: building the pure Python form: mypyc refuses") == 1


def test_demanded_compiled_form_fails_without_a_compiler(project: Path) -> None:
    status, output, wheel = build(project, CC="/nonexistent/cc", AMQPD_PURE="0")
    assert status != 0
    assert wheel is None
    assert "cannot build the compiled form" in output


def test_missing_hot_module_fails_the_build(project: Path) -> None:
    (project / "amqpd" / "wire" / "tiny.py").unlink()
    status, output, wheel = build(project)
    assert status != 0
    assert wheel is None
    assert "hot modules of pyproject.toml do not exist: amqpd/wire/tiny.py" in output


def test_outdated_build_directory_is_not_packed(project: Path) -> None:
    stale = project / "build" / "lib" / "amqpd" / "removed.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    status, output, wheel = build(project, AMQPD_PURE="1")
    assert status == 0, output
    assert wheel is not None
    assert "amqpd/removed.py" not in zipfile.ZipFile(wheel).namelist()
