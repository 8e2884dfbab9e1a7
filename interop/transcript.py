"""What a client saw, as plain JSON data, and how two such transcripts are compared.

A transcript holds no generated names, no timings and nothing that may come in either order, so two brokers
that behave alike give equal transcripts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from interop.facts import Fact

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


@dataclass(frozen=True)
class Difference:
    """One place where a RabbitMQ may answer otherwise than amqpd, and the fact that says why that is intended.

    ``path`` is the place in the transcript, keys and list indexes joined by ``/``.
    ``answers`` are the values RabbitMQ may give there; ``MISSING`` when the place does not exist.
    """

    path: str
    answers: tuple[Json, ...]
    fact: Fact


MISSING = "(missing)"


def differing_places(left: Json, right: Json, path: str = "") -> Iterator[tuple[str, Json, Json]]:
    """Yield (path, left value, right value) of the innermost places where two transcripts differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            yield from differing_places(left.get(key, MISSING), right.get(key, MISSING), f"{path}/{key}".lstrip("/"))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from differing_places(one, other, f"{path}/{index}".lstrip("/"))
    elif left != right or type(left) is not type(right):
        yield path, left, right


def unexplained(amqpd: Json, rabbitmq: Json, intended: list[Difference]) -> list[str]:
    """Describe every difference that is not an intended one; an empty list means the brokers agree."""
    allowed = {difference.path: difference.answers for difference in intended}
    return [
        f"{path}: amqpd {ours!r}, RabbitMQ {theirs!r}"
        for path, ours, theirs in differing_places(amqpd, rabbitmq)
        if theirs not in allowed.get(path, ())
    ]
