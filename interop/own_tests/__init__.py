"""The test suites that client libraries have of their own, run against the broker."""

from interop.own_tests import amqp091_go, amqplib, bunny, php_amqplib
from interop.own_tests.suites import SUITES
from interop.suite.family import Family


def families() -> list[Family]:
    others = (amqplib, amqp091_go, bunny, php_amqplib)
    return [*(suite.family() for suite in SUITES), *(other.family() for other in others)]
