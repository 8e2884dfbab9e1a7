"""What families need, from the ordinary package managers, into the cache folder: nothing on the machine changes.

What is once there is used again. Several runs may share a cache: who makes a folder holds its lock.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from interop.suite.apt import Apt, private_apt
from interop.suite.family import Unavailable

TOLD_CHARACTERS = 600  # of a package manager's complaint


def virtual_environment(requirements: Sequence[str], cache: Path) -> Path:
    """The Python of a virtual environment with these packages."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with _made_once(cache / f"python{version}", requirements) as (environment, missing):
        python = environment / "bin" / "python"
        if missing:
            # The suite may run in a virtual environment itself; --copies would not find its library from there.
            _run([sys.executable, "-m", "venv", "--clear", environment])
            _run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements])
        return python


def node_modules(requirements: Sequence[str], cache: Path) -> Path:
    """A ``node_modules`` folder with these packages."""
    _need("npm")
    with _made_once(cache / "node", requirements) as (directory, missing):
        if missing:
            directory.mkdir()
            (directory / "package.json").write_text('{"private": true}\n')
            _run(["npm", "install", "--silent", "--no-audit", "--no-fund", *requirements], directory)
        return directory / "node_modules"


def debian_root(packages: Sequence[str], cache: Path) -> Path:
    """The folder that Debian packages are unpacked in: these, and what they depend on and the machine lacks."""
    root = cache / "debian" / "root"
    with _made_once(cache / "debian", packages) as (directory, missing):
        if missing:
            apt = private_apt(cache / "debian" / "apt")
            apt.update()
            versions = {}
            for archive in _fetched(packages, apt):
                _run(["dpkg-deb", "-x", archive, root])
                name, version = _output(["dpkg-deb", "--show", "--showformat=${Package} ${Version}", archive]).split()
                versions[name] = version
                archive.unlink()
            _lead_links_back(root)
            directory.mkdir()
            (directory / "versions.json").write_text(json.dumps(versions, indent=1))
    return root


def pip_version(python: Path, package: str) -> str:
    script = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    return _output([python, "-c", script, package])


def npm_version(modules: Path, package: str) -> str:
    version: str = json.loads((modules / package / "package.json").read_text())["version"]
    return version


def debian_version(packages: Sequence[str], cache: Path, package: str) -> str:
    """The upstream part of the version of one package of ``debian_root(packages)``."""
    versions = json.loads((_directory(cache / "debian", packages) / "versions.json").read_text())
    return re.split(r"[-+~]", versions.get(package, "unknown").rpartition(":")[2])[0]


def need_commands(commands: Sequence[str]) -> None:
    """Raise ``Unavailable`` unless each of these is on the machine."""
    for command in commands:
        _need(command)


def _need(command: str) -> None:
    if shutil.which(command) is None:
        raise Unavailable(f"{command} is not on this machine")


@contextmanager
def _made_once(base: Path, requirements: Sequence[str]) -> Iterator[tuple[Path, bool]]:
    """Yield (folder for these requirements, whether it must be made); it counts as made when the block ends well."""
    base.mkdir(parents=True, exist_ok=True)
    directory = _directory(base, requirements)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = directory / ".made"
        missing = not ready.exists()
        if missing:
            shutil.rmtree(directory, ignore_errors=True)
        yield directory, missing
        if missing:
            ready.touch()


def _directory(base: Path, requirements: Sequence[str]) -> Path:
    return base / hashlib.sha256("\n".join(sorted(requirements)).encode()).hexdigest()[:12]


def _fetched(packages: Sequence[str], apt: Apt) -> list[Path]:
    """Archives of the packages, and of everything below them that is not installed on the machine."""
    unlocked = ("-qq", "-o", "Debug::NoLocking=1")  # the lock would be the machine's, and nothing of it changes
    apt.run("apt-get", *unlocked, "install", "--download-only", "--yes", "--no-install-recommends", *packages)
    archives = apt.directory / "archives"
    apt.run("apt-get", *unlocked, "download", *packages, cwd=archives)  # also when the machine has them
    return sorted(archives.glob("*.deb"))


def _lead_links_back(root: Path) -> None:
    """Make links to absolute paths, such as a package's to its own /etc, lead to what was unpacked, where it was."""
    for folder, subfolders, files in os.walk(root):
        for name in (*subfolders, *files):
            link = Path(folder, name)
            if link.is_symlink() and (target := link.readlink()).is_absolute():
                inside = root / target.relative_to("/")
                if inside.exists() and not target.is_relative_to(root):
                    link.unlink()
                    link.symlink_to(inside)


def _run(command: Sequence[str | Path], directory: Path | None = None) -> None:
    _output(command, directory)


def _output(command: Sequence[str | Path], directory: Path | None = None) -> str:
    """What the command printed; a command that fails makes its family unavailable, with its complaint."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        words = " ".join(str(word) for word in command[:3])
        raise Unavailable(f"{words}: {(done.stderr or done.stdout).strip()[-TOLD_CHARACTERS:]}")
    return done.stdout.strip()
