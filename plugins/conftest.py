"""What holds for the tests of all plugins, also when they are run alone."""

from __future__ import annotations

from tests.support.examples import may_take_any_time

may_take_any_time()
