from __future__ import annotations

import pytest

from tests.support.linked import Linked, LinkedClient


@pytest.fixture
def linked() -> Linked:
    return Linked()


@pytest.fixture
def client(linked: Linked) -> LinkedClient:
    """An open connection with channel 1."""
    return linked.client()
