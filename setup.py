"""Compiles the hot modules with mypyc when that is possible; everything else is in pyproject.toml.

AMQPD_PURE decides the form of a wheel:

- unset: compiled when a C compiler is there and does its work, otherwise pure, with one line that says so;
- ``1``: pure;
- ``0``: compiled, or the build fails (what the tests and packagers want).

An editable install is always pure: a stale binary must never shadow an edited file.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

GROUP = "amqpd"  # the shared library is amqpd__mypyc


class Uncompilable(Exception):
    """The hot modules cannot be compiled here; the text says why."""


def hot_modules() -> list[str]:
    """Paths of the hot modules, relative to this file."""
    config = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    paths: list[str] = config["tool"]["amqpd"]["hot"]
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise SystemExit(f"amqpd: hot modules of pyproject.toml do not exist: {', '.join(missing)}")
    return paths


def probe_compiler() -> None:
    """Raise Uncompilable unless an extension module can be compiled here; mypyc asks only after a minute."""
    from setuptools import Distribution

    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "probe.c")
        source.write_text("#include <Python.h>\nint probe(void) { return PY_MAJOR_VERSION; }\n")
        command = build_ext(Distribution({"ext_modules": [Extension("probe", [str(source)])]}))
        command.build_temp = command.build_lib = scratch
        # The probe only compiles: an extension without PyInit_probe links as well, and is never loaded.
        try:
            command.ensure_finalized()
            command.run()
        except Exception as error:
            headers = sysconfig.get_paths()["include"]
            raise Uncompilable(f"no working C compiler or no Python.h in {headers} ({error})") from error


def compiled_extensions() -> list[Extension]:
    """Translate the hot modules to C. Raises Uncompilable."""
    modules = hot_modules()
    probe_compiler()
    from mypyc.build import mypycify

    try:
        compiled: list[Extension] = mypycify(["--strict", *modules], opt_level="3", group_name=GROUP)
    except SystemExit as error:  # mypyc's way to report type errors, after printing them
        raise Uncompilable("mypyc refuses a hot module, see its messages above") from error
    for extension in compiled:
        # mypyc asks for -Werror; a warning new in somebody's compiler is no reason to run slowly.
        extension.extra_compile_args.append("-Wno-error")
    return compiled


class AllOrNothing(build_ext):  # type: ignore[misc]
    """Build every extension or leave none: the modules share one library, half of them cannot be imported."""

    extensions: list[Extension]

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            fall_back(Uncompilable(f"the C compiler failed ({error})"))
            for extension in self.extensions:
                Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
            self.extensions = []


def fall_back(reason: Uncompilable) -> None:
    """Say that the pure form is built; raise instead where the compiled form was demanded."""
    if os.environ.get("AMQPD_PURE") == "0":
        raise SystemExit(f"amqpd: cannot build the compiled form: {reason}")
    print(f"amqpd: building the pure Python form: {reason}", file=sys.stderr)


def extensions() -> list[Extension]:
    """What this run of setup.py compiles: nothing unless it builds a wheel."""
    if "bdist_wheel" not in sys.argv or os.environ.get("AMQPD_PURE") == "1":
        return []
    try:
        return compiled_extensions()
    except Uncompilable as reason:
        fall_back(reason)
        return []


options: dict[str, Any] = {"ext_modules": extensions(), "cmdclass": {"build_ext": AllOrNothing}}
if "bdist_wheel" in sys.argv:
    # setuptools packs whatever an earlier build left there: modules since removed, binaries since outdated.
    for leftover in Path("build").glob("lib*"):
        shutil.rmtree(leftover)
setup(**options)
