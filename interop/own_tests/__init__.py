"""The test suites that client libraries have of their own, run against the broker."""

from interop.own_tests import amqp091_go, amqplib, bunny
from interop.own_tests.suites import SUITES
from interop.suite.family import Family


def families() -> list[Family]:
    return [*(suite.family() for suite in SUITES), amqplib.family(), amqp091_go.family(), bunny.family()]
