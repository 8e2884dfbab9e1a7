"""The test suites that client libraries have of their own, run against the broker."""

from interop.own_tests import amqplib
from interop.own_tests.suites import SUITES
from interop.suite.family import Family


def families() -> list[Family]:
    return [*(suite.family() for suite in SUITES), amqplib.family()]
