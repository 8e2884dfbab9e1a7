"""The families that are programs: what ``families.toml`` says of them, and one run of one."""

import os
import shutil
import subprocess
import sysconfig
import tomllib
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interop.suite import install, tap
from interop.suite.control import controlling
from interop.suite.family import Check, Family, Known, Outcome, Run

FAMILIES = Path(__file__).resolve().parent.parent / "families"
REPOSITORY = FAMILIES.parent.parent
SECONDS = 1200.0  # that a program may take, on the slowest machine
TOLD_LINES = 30  # of what a program that died said
KEYS = {"language", "package", "ci", "commands", "pip", "npm", "debian", "environment", "build", "run", "differs"}


@dataclass(frozen=True)
class Program:
    """One section of a ``families.toml``; interop/families/README.md describes the keys."""

    name: str
    folder: Path
    language: str
    package: str
    run: list[str]
    ci: bool
    commands: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    debian: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    build: tuple[tuple[str, ...], ...] = ()
    differs: Mapping[str, str] | None = None

    def family(self) -> Family:
        tags = (self.folder.name, "programs")
        known = tuple(Known(pattern, reason) for pattern, reason in (self.differs or {}).items())
        return Family(self.name, self.language, self.observe, self.ci, elsewhere=known, comparable=True, tags=tags)

    def observe(self, run: Run) -> Outcome:
        """Install, build, run; raises ``Unavailable`` when something that it needs cannot be had."""
        install.need_commands(self.commands)
        work = run.scratch / "work"
        shutil.copytree(self.folder, work, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        places, version = self._installed(run.cache, work)
        with controlling(run.broker, run.scratch) as control:
            environment = self._environment(run, places, control)
            self._built(work, places, environment)
            return Outcome(version, self._observed(work, places, environment))

    def _installed(self, cache: Path, work: Path) -> tuple[dict[str, str], str]:
        """What the placeholders stand for, and the client's version."""
        places = {"cache": str(cache), "work": str(work), "multiarch": sysconfig.get_config_var("MULTIARCH") or ""}
        version = "unknown"
        if self.pip:
            python = install.virtual_environment(self.pip, cache)
            places["python"] = str(python)
            version = install.pip_version(python, self.package)
        if self.npm:
            modules = install.node_modules(self.npm, cache)
            (work / "node_modules").symlink_to(modules)
            version = install.npm_version(modules, self.package)
        if self.debian:
            places["debian"] = str(install.debian_root(self.debian, cache))
            version = install.debian_version(self.debian, cache, self.package)
        return places, version

    def _environment(self, run: Run, places: dict[str, str], control: Path) -> dict[str, str]:
        environment = {**os.environ, **address(run.broker.url), "INTEROP_CONTROL": str(control)}
        # Of the suite's own Python nothing may reach another's; the programs in Python find the repository.
        environment = {key: value for key, value in environment.items() if not key.startswith("PYTHON")}
        environment["PYTHONPATH"] = str(REPOSITORY)
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        if root := places.get("debian"):
            environment["PATH"] = f"{root}/usr/bin:{environment.get('PATH', '')}"
        filled = {key: filled_in(value, places) for key, value in (self.environment or {}).items()}
        return environment | filled

    def _built(self, work: Path, places: dict[str, str], environment: dict[str, str]) -> None:
        for words in self.build:
            command = [filled_in(word, places) for word in words]
            done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")

    def _observed(self, work: Path, places: dict[str, str], environment: dict[str, str]) -> list[Check]:
        """What the program reports; of one that died also its last words on standard error."""
        command = [filled_in(word, places) for word in self.run]
        log = work / "standard-error"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                command, cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
            try:
                said, _ = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                said, _ = process.communicate()
        checks = tap.read(said.decode(errors="replace").splitlines())
        if any(check.name == tap.DIED for check in checks):
            last_words = "\n".join(log.read_text(errors="replace").splitlines()[-TOLD_LINES:])
            checks.append(Check("report: exit status 0", "failed", f"{process.returncode}\n{last_words}"))
        return checks


def families() -> list[Family]:
    return [program.family() for path in sorted(FAMILIES.glob("*/families.toml")) for program in programs_of(path)]


def programs_of(path: Path) -> Iterator[Program]:
    """The programs of one ``families.toml``; raises ValueError, naming the key, for what is not as described."""
    for name, section in tomllib.loads(path.read_text()).items():
        yield program_of(name, path.parent, section)


def program_of(name: str, folder: Path, section: Mapping[str, Any]) -> Program:
    if unknown := section.keys() - KEYS:
        raise ValueError(f"{folder.name}/families.toml: [{name}] has no key {', '.join(sorted(unknown))}")
    for key in ("language", "package", "run"):
        if key not in section:
            raise ValueError(f"{folder.name}/families.toml: [{name}] needs {key}")
    return Program(
        name,
        folder,
        section["language"],
        section["package"],
        list(section["run"]),
        section.get("ci", False),
        tuple(section.get("commands", ())),
        tuple(section.get("pip", ())),
        tuple(section.get("npm", ())),
        tuple(section.get("debian", ())),
        section.get("environment"),
        tuple(tuple(words) for words in section.get("build", ())),
        section.get("differs"),
    )


def filled_in(text: str, places: Mapping[str, str]) -> str:
    """``{name}`` replaced by its place; other braces stay."""
    for name, place in places.items():
        text = text.replace("{" + name + "}", place)
    return text


def address(url: str) -> dict[str, str]:
    """A broker's URL as the environment variables that programs read."""
    parts = urllib.parse.urlsplit(url)
    user, password = (urllib.parse.unquote(part or "guest") for part in (parts.username, parts.password))
    vhost = urllib.parse.unquote(parts.path[1:]) or "/"
    host, port = parts.hostname or "127.0.0.1", parts.port or 5672
    quoted = [urllib.parse.quote(part, safe="") for part in (user, password, vhost)]
    return {
        "AMQP_URL": f"amqp://{quoted[0]}:{quoted[1]}@{host}:{port}/{quoted[2]}",
        "AMQP_HOST": host,
        "AMQP_PORT": str(port),
        "AMQP_USER": user,
        "AMQP_PASSWORD": password,
        "AMQP_VHOST": vhost,
    }
