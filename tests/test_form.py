"""Which form of amqpd the tests run against: pure Python, or the hot modules compiled."""

from __future__ import annotations

import importlib
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from tests.support.repository import ROOT, hot_modules


def form_of(path: str) -> str:
    """``compiled`` or ``pure``: what importing the hot module at ``path`` gives."""
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    assert module.__file__ is not None
    return "compiled" if module.__file__.endswith(tuple(EXTENSION_SUFFIXES)) else "pure"


@pytest.mark.parametrize("path", hot_modules())
def test_hot_module_exists(path: str) -> None:
    assert (ROOT / path).is_file()


def test_hot_list_names_each_module_once() -> None:
    assert len(set(hot_modules())) == len(hot_modules())


def test_all_hot_modules_have_the_expected_form() -> None:
    forms = {path: form_of(path) for path in hot_modules() if (ROOT / path).is_file()}
    # Without an expectation they must still agree: they share one library.
    expected = os.environ.get("AMQPD_EXPECT") or next(iter(forms.values()))
    assert expected in ("pure", "compiled")
    assert [path for path, form in forms.items() if form != expected] == []


def test_compiled_form_is_not_imported_from_the_source_tree() -> None:
    import amqpd

    assert amqpd.__file__ is not None
    from_tree = Path(amqpd.__file__).resolve().is_relative_to(ROOT / "amqpd")
    assert from_tree == (os.environ.get("AMQPD_EXPECT", "pure") == "pure")


def test_no_binary_lies_in_the_source_tree() -> None:
    """It would shadow the source that the next edit changes."""
    binaries = [path for suffix in EXTENSION_SUFFIXES for path in (ROOT / "amqpd").rglob(f"*{suffix}")]
    assert binaries == []
