"""docs/dependencies.md and each pyproject.toml name the same packages, and each has a reason."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from tests.support.repository import ROOT, pyproject

PLUGINS = [
    tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    for path in sorted((ROOT / "plugins").glob("*/pyproject.toml"))
]
ROW = re.compile(r"^\| ([A-Za-z0-9-]+) \| (.+) \|$")


def documented(heading: str) -> dict[str, str]:
    """Package to reason, from the table below ``heading``."""
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [match.groups() for match in map(ROW.match, section.splitlines()) if match]
    return {name: reason for name, reason in rows if name != "package"}


def required(requirements: list[str]) -> set[str]:
    """Names without their bounds."""
    return {re.split(r"[<>=!~; \[]", requirement, maxsplit=1)[0] for requirement in requirements}


@pytest.mark.parametrize(
    ("heading", "requirements"),
    [
        ("At run time", pyproject()["project"]["dependencies"]),
        ("Of plugins", [one for each in PLUGINS for one in each["dependencies"] if one != "amqpd"]),
        ("To build", pyproject()["build-system"]["requires"]),
        ("To develop", pyproject()["project"]["optional-dependencies"]["dev"]),
    ],
)
def test_page_lists_exactly_what_pyproject_requires(heading: str, requirements: list[str]) -> None:
    assert set(documented(heading)) == required(requirements)


@pytest.mark.parametrize("heading", ["At run time", "Of plugins", "To build", "To develop"])
def test_each_dependency_has_a_sentence_of_reason(heading: str) -> None:
    assert [name for name, reason in documented(heading).items() if not reason.endswith(".")] == []


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: str(plugin["name"]))
def test_a_plugin_needs_amqpd(plugin: dict[str, Any]) -> None:
    assert "amqpd" in plugin["dependencies"]


def test_every_requirement_has_a_lower_bound() -> None:
    project = pyproject()["project"]
    every = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert [requirement for requirement in every if ">=" not in requirement] == []
