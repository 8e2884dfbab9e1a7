"""A pytest plugin for suites of others: skip the tests that LEFT_OUT names, ``{pattern: reason}`` as JSON."""

import json
import os
from fnmatch import fnmatchcase

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    left_out: dict[str, str] = json.loads(os.environ["LEFT_OUT"])
    for item in items:
        for pattern, reason in left_out.items():
            if fnmatchcase(item.nodeid, pattern):
                item.add_marker(pytest.mark.skip(reason=reason))
