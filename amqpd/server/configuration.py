"""Reading the configuration: files, environment, command line; later ones win.

1. defaults (``settings.py``)
2. ``rabbitmq.conf`` that ``RABBITMQ_CONFIG_FILE`` names
3. the file, TOML or (by its ``.conf`` suffix) RabbitMQ's format; then ``conf.d`` beside it in the order of
names
4. ``RABBITMQ_DEFAULT_USER``, ``_PASS``, ``_VHOST``
5. ``AMQPD_SECTION__KEY``
6. command-line options

Every value given is checked, also one that a later layer replaces, so a mistake never waits to be found.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from amqpd.server import rabbitmq_conf
from amqpd.server.setting_kinds import NotAllowed
from amqpd.server.settings import SECTIONS, SETTINGS, Setting, Settings, build, inconsistency, value_of

DEFAULT_FILE = Path("/etc/amqpd/amqpd.toml")
FILE_BYTES_MAX = 1024**2  # a configuration is small; a wrong path may be anything

Values = dict[tuple[str, str], object]


class ConfigurationError(Exception):
    """The configuration cannot be used; the text is one line that says where and why."""


@dataclass(frozen=True)
class Loaded:
    """What reading gave: the settings, warnings to log (one line each), and the files read."""

    settings: Settings
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Reloaded:
    """What a reload gave.

    ``settings`` are the ones to run with from now on: live keys are new, the others as they were. ``error``
    is the line that says why nothing changed. ``changed`` and ``waiting`` are names such as ``log.level``: in
    effect now, and different in the files but waiting for a restart.
    """

    settings: Settings
    error: str | None = None
    changed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where a configuration comes from, so that it can be read again.

    ``options`` are raw values from the command line: option as typed, section, key, value.
    """

    file: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[tuple[str, str, str, object]] = ()
    default_file: Path = DEFAULT_FILE

    def load(self) -> Loaded:
        """Read everything. Raises ConfigurationError."""
        values: Values = {}
        warnings: list[str] = []
        files: list[Path] = []
        for path in self._files():
            files.append(path)
            values |= _read_file(path, warnings)
        values |= _from_environment(self.environ, warnings)
        for option, section, key, raw in self.options:
            values[section, key] = _typed(f"option {option}", SETTINGS[section, key], raw)
        settings = build(values)
        if (problem := inconsistency(settings)) is not None:
            raise ConfigurationError(f"{', '.join(map(str, files)) or 'configuration'}: {problem}")
        return Loaded(settings, tuple(warnings), tuple(files))

    def reload(self, current: Settings) -> Reloaded:
        """Read everything again for a running broker; a bad configuration leaves ``current`` as it is."""
        try:
            loaded = self.load()
        except ConfigurationError as error:
            return Reloaded(current, error=str(error))
        different = [one for one in SETTINGS.values() if value_of(loaded.settings, one) != value_of(current, one)]
        taken: Values = {key: value_of(loaded.settings if one.live else current, one) for key, one in SETTINGS.items()}
        settings = build(taken)
        # What is live may be right with the new other half only: no certificate, and no TLS listener.
        if (problem := inconsistency(settings)) is not None:
            return Reloaded(current, error=f"{problem}; this change needs a restart")
        return Reloaded(
            settings,
            changed=tuple(one.name for one in different if one.live),
            waiting=tuple(one.name for one in different if not one.live),
            warnings=loaded.warnings,
        )

    def _files(self) -> Iterator[Path]:
        if name := self.environ.get("RABBITMQ_CONFIG_FILE"):
            yield _rabbitmq_file(name)
        if self.file is not None:
            main = self.file
        elif name := self.environ.get("AMQPD_CONFIG_FILE"):
            main = Path(name)
        elif self.default_file.is_file():
            main = self.default_file
        else:
            return
        yield main
        yield from sorted((main.parent / "conf.d").glob("*.conf" if main.suffix == ".conf" else "*.toml"))


def reload(current: Settings, source: Source) -> Reloaded:
    """What SIGHUP does to the settings; see ``Source.reload``."""
    return source.reload(current)


def _rabbitmq_file(name: str) -> Path:
    # RabbitMQ's own variable may leave the suffix out, and older guides do.
    path = Path(name)
    return path if path.is_file() or name.endswith(".conf") else Path(name + ".conf")


def _read_file(path: Path, warnings: list[str]) -> Values:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise ConfigurationError(f"{path}: larger than {FILE_BYTES_MAX} bytes; not a configuration file")
        text = content.decode()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not UTF-8 text") from None
    return _from_rabbitmq(path, text, warnings) if path.suffix == ".conf" else _from_toml(path, text)


def _from_toml(path: Path, text: str) -> Values:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from None
    values: Values = {}
    for section, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigurationError(f"{path}: key '{section}' stands outside of a section{_elsewhere(section)}")
        if section not in SECTIONS:
            raise _unknown_section(str(path), section)
        for key, raw in table.items():
            values[section, key] = _typed(str(path), _known(str(path), section, key), raw)
    return values


def _from_rabbitmq(path: Path, text: str, warnings: list[str]) -> Values:
    try:
        translated = rabbitmq_conf.translate(text)
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from None
    warnings += [f"{path}: {line}" for line in translated.warnings]
    return {
        (section, key): _typed(f"{path}: {name}", SETTINGS[section, key], raw)
        for name, section, key, raw in translated.given
    }


def _from_environment(environ: Mapping[str, str], warnings: list[str]) -> Values:
    values: Values = {}
    for name, key in rabbitmq_conf.ENVIRONMENT.items():
        if text := environ.get(name):
            values["auth", key] = _typed(f"environment variable {name}", SETTINGS["auth", key], text)
    for name, text in environ.items():
        if not name.startswith("AMQPD_"):
            continue
        section, double, key = name.removeprefix("AMQPD_").partition("__")
        if double:
            where = f"environment variable {name}"
            one = _known(where, section.lower(), key.lower())
            values[one.section, one.key] = _typed(where, one, one.kind.from_text(text))
        elif meant := _meant(section):
            warnings.append(f"environment variable {name} is not used; did you mean {meant}?")
    return values


def _meant(rest: str) -> str | None:
    """The variable that ``AMQPD_`` + ``rest`` is with a second underscore after the section."""
    section, _, key = rest.lower().partition("_")
    return f"AMQPD_{section}__{key}".upper() if (section, key) in SETTINGS else None


def _known(where: str, section: str, key: str) -> Setting:
    if section not in SECTIONS:
        raise _unknown_section(where, section)
    if (section, key) in SETTINGS:
        return SETTINGS[section, key]
    keys = [name for table, name in SETTINGS if table == section]
    near = _nearest(key, keys) or _elsewhere(key)
    raise ConfigurationError(f"{where}: unknown key '{section}.{key}'; [{section}] has {', '.join(keys)}{near}")


def _elsewhere(key: str) -> str:
    names = [one.name for one in SETTINGS.values() if one.key == key]
    return f"; did you mean '{names[0]}'?" if names else ""


def _unknown_section(where: str, section: str) -> ConfigurationError:
    near = _nearest(section, SECTIONS)
    return ConfigurationError(f"{where}: unknown section [{section}]; sections are {', '.join(SECTIONS)}{near}")


def _typed(where: str, one: Setting, raw: object) -> object:
    try:
        return one.kind.read(raw)
    except NotAllowed:
        shown = re.sub(r"[\x00-\x1f\x7f]", "?", "***" if one.key == "default_pass" else repr(raw))
        near = _nearest(raw, one.kind.choices) if isinstance(raw, str) else ""
        raise ConfigurationError(f"{where}: {one.name} = {shown[:80]}: must be {one.kind.allowed}{near}") from None


def _nearest(word: str, words: Sequence[str]) -> str:
    match = difflib.get_close_matches(word.lower(), [one.lower() for one in words], n=1)
    found = [one for one in words if match and one.lower() == match[0]]
    return f"; did you mean '{found[0]}'?" if found else ""
