"""What holds for all tests."""

from __future__ import annotations

from tests.support.examples import may_take_any_time

may_take_any_time()
