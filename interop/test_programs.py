"""Programs see the right answers from amqpd, and the same from RabbitMQ but for intended differences."""

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType

import pytest

from interop import programs
from interop.broker import Broker, CannotDo
from interop.differences import INTENDED
from interop.transcript import Json, differing_places, unexplained

pytestmark = pytest.mark.interop

CELERY = ("celery", "kombu", "amqp")
NAMES = sorted(module.name for module in pkgutil.iter_modules(programs.__path__))

Observe = Callable[[Broker, str], Json]


def program(name: str) -> ModuleType:
    """The program's module; the test is skipped when Celery, or what comes with it, is not there to be imported."""
    try:
        return importlib.import_module(f"interop.programs.{name}")
    except ModuleNotFoundError as error:
        if error.name not in CELERY:
            raise
        pytest.skip(f"{error.name} is not installed")


@pytest.fixture(scope="module")
def observe() -> Observe:
    """Run a program against a broker, once for each pair; skips when this broker cannot do what it needs."""
    seen: dict[tuple[str, str], Json] = {}

    def observe_once(broker: Broker, name: str) -> Json:
        if (broker.url, name) not in seen:
            try:
                seen[broker.url, name] = broker.observe(program(name).run)
            except CannotDo as reason:
                pytest.skip(str(reason))
        return seen[broker.url, name]

    return observe_once


@pytest.mark.parametrize("name", NAMES)
def test_program_sees_what_it_must(name: str, broker: Broker, observe: Observe) -> None:
    wrong = [
        f"{path}: expected {expected!r}, got {got!r}"
        for path, expected, got in differing_places(program(name).EXPECTED, observe(broker, name))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.rabbitmq
@pytest.mark.parametrize("name", NAMES)
def test_rabbitmq_answers_the_same(name: str, broker: Broker, rabbitmq: Broker, observe: Observe) -> None:
    wrong = unexplained(observe(broker, name), observe(rabbitmq, name), INTENDED.get(name, []))
    assert not wrong, "\n".join(wrong)


def test_intended_differences_name_programs_that_exist() -> None:
    assert INTENDED.keys() <= set(NAMES)


@pytest.mark.parametrize("name", sorted(INTENDED))
def test_intended_differences_name_places_that_exist(name: str) -> None:
    """A place that no transcript has any more explains nothing."""
    for difference in INTENDED[name]:
        place = program(name).EXPECTED
        for key in difference.path.split("/"):
            place = place[int(key)] if isinstance(place, list) else place[key]
        assert place not in difference.answers
