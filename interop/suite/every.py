"""All families there are, and what is to be said of the broker they ran on."""

from importlib.machinery import EXTENSION_SUFFIXES

import amqpd.wire.frames
from interop import own_tests, side_by_side
from interop.broker import running_elsewhere
from interop.conformance.broker import target_from_url
from interop.conformance.client import Client
from interop.suite import own, programs
from interop.suite.family import Family, Outcome, Run


def families(against: str | None = None) -> list[Family]:
    """In the order of the table; transcripts and frames are compared with the RabbitMQ at the URL ``against``."""
    found = [*programs.families(), *own_tests.families(), *own.families(against), *side_by_side.families()]
    if against is not None:
        found.append(_compared(against))
    return sorted(found, key=lambda family: not family.ci)


def _compared(against: str) -> Family:
    def frames(run: Run) -> Outcome:
        with running_elsewhere(against) as other:
            return side_by_side.compare(run.broker, other, run.scratch)

    return Family("side-by-side", "Python", frames, tags=("own",))


def about(url: str | None) -> dict[str, str]:
    """``product`` and ``version`` of a broker; of an amqpd of our own also its ``form``, compiled or pure."""
    if url is None:
        compiled = str(amqpd.wire.frames.__file__).endswith(tuple(EXTENSION_SUFFIXES))
        return {"product": "amqpd", "version": amqpd.__version__, "form": "compiled" if compiled else "pure"}
    with Client(target_from_url(url)) as client:
        announced = client.greet()["server_properties"]
    return {name: str(announced.get(name, "unknown")) for name in ("product", "version")}
