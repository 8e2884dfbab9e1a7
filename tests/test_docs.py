"""What README.md and docs/ name exists: links, paths, make targets, options; and the README's program runs.

The checks read code spans and fenced blocks, where names are meant literally, and links outside of them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click
import pytest

from tests.support.programs import FENCE, broker, run_program
from tests.support.repository import ROOT

PAGES: Final = [
    "README.md",
    "CHANGELOG.md",
    "plugins/README.md",
    "interop/README.md",
    "interop/families/README.md",
    "interop/families/RECIPES.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "plugins").glob("*/README.md")),
]
# What a reader looks for first; a page that is missing must fail, not be left out.
EXPECTED: Final = ["README.md", "docs/ARCHITECTURE.md", "docs/dependencies.md"]

SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^()\s]+)\)")
HEADING = re.compile(r"(?m)^#+ +(.+?)\s*$")
PATH = re.compile(r"^(?:amqpd|bench|docs|etc|interop|plugins|tests|\.ci)/[\w./*-]*$")
MODULE = re.compile(r"^(?:auth|broker|exchanges|features|queues|server|session|spec|store|wire)/[\w/*-]+\.py$")
MAKE = re.compile(r"(?:^|[\s$;&|(])make ([a-z][a-z-]*)")
OWN_COMMAND = re.compile(r'entry-points\."amqpd\.commands"\]\n([\w-]+) =')  # of a plugin that the page builds
README_PROGRAM_LINES = 15  # "ten lines", with room for an import and a blank line


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code_of(text: str) -> list[str]:
    """The lines of all fenced blocks, and the code spans of the rest."""
    blocks = [line for _, block in FENCE.findall(text) for line in block.splitlines()]
    return blocks + SPAN.findall(FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """The anchors that hosting sites give headings: lower case, no punctuation, hyphens for spaces."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(FENCE.sub("", text)))
    return {heading.replace(" ", "-") for heading in plain}


def broken_links(page: str, text: str) -> list[str]:
    """Relative links of ``page`` whose file, or whose heading in a Markdown file, does not exist."""
    broken = []
    for link in LINK.findall(SPAN.sub("", FENCE.sub("", text))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        missing_heading = anchor and target.suffix == ".md" and target.is_file()
        if not target.exists() or (missing_heading and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(link)
    return broken


def missing_paths(text: str) -> list[str]:
    """Paths into the repository that code names and that do not exist; ``*`` must match something.

    ``broker/queue.py`` is short for ``amqpd/broker/queue.py``.
    """
    named = {word.rstrip(".,:;)") for code in code_of(text) for word in code.split()}
    paths = {f"amqpd/{name}" if MODULE.match(name) else name for name in named}
    return sorted(path for path in paths if PATH.match(path) and not any(ROOT.glob(path.rstrip("/"))))


def make_targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z][a-z-]*):(?!=)", text_of("Makefile")))


def missing_targets(text: str) -> list[str]:
    named = {target for code in code_of(text) for target in MAKE.findall(code)}
    return sorted(named - make_targets())


def command_lines(text: str) -> list[list[str]]:
    """Words after ``amqpd`` wherever code calls it, up to a comment, a pipe or the end of the line."""
    found = []
    for code in code_of(text):
        match = re.match(r"(?:[$#>] +|sudo +|[A-Z_]+=\S+ +)*(?:\S*/)?amqpd(?: (.*))?$", code.strip())
        if match:
            rest = re.split(r"\s[#|&;>]|\s{2,}", match.group(1) or "", maxsplit=1)[0]
            words = rest.split()
            if not words or re.match(r"[a-z\[-]", words[0]):  # not what `amqpd --version` prints
                found.append(words)
    return found


def unknown_words(command: click.Command, words: list[str]) -> list[str]:
    """Options and subcommands among ``words`` that the command line does not have."""
    known = {"-h", "--help"}
    while isinstance(command, click.Group):
        known.update(options_of(command))
        if not words or words[0].startswith(("-", "[")):
            # `amqpd` alone is `amqpd run`.
            command = command.commands["run"] if "run" in command.commands else click.Command("none")
            break
        names = words[0].split("|")  # a synopsis names alternatives: users|vhosts
        with click.Context(command) as context:
            found = [command.get_command(context, name) for name in names]  # plugins' commands, too
        unknown = [name for name, one in zip(names, found, strict=True) if one is None]
        if unknown or found[0] is None:
            return unknown
        command, words = found[0], words[1:]
    known.update(options_of(command))
    used = {word.strip("[]").split("=")[0] for word in words if re.match(r"\[?--?[a-z]", word)}
    return sorted(used - known)


def options_of(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("page", EXPECTED)
def test_expected_page_exists(page: str) -> None:
    assert (ROOT / page).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_resolve(page: str) -> None:
    assert broken_links(page, text_of(page)) == []


@pytest.mark.parametrize("page", PAGES)
def test_named_paths_exist(page: str) -> None:
    assert missing_paths(text_of(page)) == []


@pytest.mark.parametrize("page", PAGES)
def test_named_make_targets_exist(page: str) -> None:
    assert missing_targets(text_of(page)) == []


@pytest.mark.parametrize("page", PAGES)
def test_named_commands_and_options_exist(page: str) -> None:
    from amqpd.server import cli_commands
    from amqpd.server.cli import amqpd

    cli_commands.add_to(amqpd)  # as the entry point does
    text = text_of(page)
    built = OWN_COMMAND.findall(text)
    lines = [words for words in command_lines(text) if words[:1] not in ([name] for name in built)]
    unknown = {" ".join(words): unknown_words(amqpd, words) for words in lines}
    assert {line: words for line, words in unknown.items() if words} == {}


def test_readme_shows_the_two_commands_and_a_program() -> None:
    readme = text_of("README.md")
    assert MAKE.search("\n".join(code_of(readme)))
    assert len(program_of("README.md")[0].splitlines()) <= README_PROGRAM_LINES


# The checks themselves, on made-up pages.


def test_check_finds_a_broken_link_and_heading() -> None:
    text = (
        "[a](docs/none.md) [b](LICENSE) [c](docs/dependencies.md#to-build) [d](docs/dependencies.md#no) [e](https://x)"
    )
    assert broken_links("README.md", text) == ["docs/none.md", "docs/dependencies.md#no"]


def test_check_finds_a_missing_path() -> None:
    text = (
        "`amqpd/none.py`, `wire/none.py`, `wire/frames.py`, `amqpd/spec/`, `tests/*/__init__.py`\n"
        "```\ncp etc/none.toml /etc\n```\n"
    )
    assert missing_paths(text) == ["amqpd/none.py", "amqpd/wire/none.py", "etc/none.toml"]


def test_check_finds_a_missing_make_target() -> None:
    assert missing_targets("`make test`, `make none`, make sense\n```sh\n$ make run\n```\n") == ["none"]


def test_check_finds_an_unknown_option() -> None:
    run_command = click.Command("run", params=[click.Option(["-c", "--config"]), click.Option(["--data-dir"])])
    main = click.Group("amqpd", commands={"run": run_command, "users": click.Group("users", commands={})})
    text = (
        "`amqpd 0.1.0 (pure)`, `amqpd run -c x --data-dir DIR`, `amqpd --data-dir d`, `amqpd stop`, `users`\n"
        "```\n$ .venv/bin/amqpd run --port 1   # no such option --x\nmake run\n```\n"
    )
    found = [word for words in command_lines(text) for word in unknown_words(main, words)]
    assert sorted(found) == ["--port", "stop"]


# Programs as they stand on a page, each against a broker of its own.


def program_of(page: str) -> tuple[str, str]:
    """The first Python block of the page that uses pika, and the block after it: what it prints."""
    blocks = FENCE.findall(text_of(page))
    at = next(at for at, (kind, block) in enumerate(blocks) if kind == "python" and "pika" in block)
    return blocks[at][1], blocks[at + 1][1]


@pytest.mark.interop
@pytest.mark.parametrize("page", ["README.md", "docs/streams.md"])
def test_program_prints_what_its_page_says(page: str, tmp_path: Path) -> None:
    program, output = program_of(page)
    with broker(tmp_path / "data") as port:
        assert run_program(program, port, tmp_path).strip() == output.strip()
