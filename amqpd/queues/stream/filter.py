"""Which messages of a stream a consumer wants: x-stream-filter (RabbitMQ 3.13).

A publisher says in the header x-stream-filter-value what a message is, a consumer names one value or several. RabbitMQ
leaves out whole chunks by a Bloom filter and expects its clients to look again; here it is exact. A message without a
value is for consumers without a filter, and for those that ask for it (x-stream-match-unfiltered).
"""

from __future__ import annotations

from typing import Final, final

from amqpd.wire.content import ContentHeader
from amqpd.wire.table import Table

FILTER: Final = "x-stream-filter"
MATCH_UNFILTERED: Final = "x-stream-match-unfiltered"
VALUE: Final = "x-stream-filter-value"
_VALUE_OCTETS: Final = VALUE.encode()


@final
class Filter:
    def __init__(self, values: frozenset[bytes], unfiltered: bool) -> None:
        self.values: frozenset[bytes] = values
        self.unfiltered: bool = unfiltered

    def wants(self, header: ContentHeader) -> bool:
        headers = header.headers
        if headers is None or _VALUE_OCTETS not in headers:
            return self.unfiltered
        field = header.table().get(VALUE)
        if field is None or not isinstance(field.value, bytes):
            return self.unfiltered
        return field.value in self.values


def filter_of(arguments: Table) -> Filter | None:
    """None for a consumer that wants everything. Raises ValueError (argument, fault) on what will not do."""
    unfiltered = arguments.get(MATCH_UNFILTERED)
    if unfiltered is not None and unfiltered.kind != "t":
        raise ValueError(MATCH_UNFILTERED, "expected a boolean")
    field = arguments.get(FILTER)
    if field is None:
        return None
    values = field.value if isinstance(field.value, list) else [field]
    wanted = [one.value for one in values if one.kind == "S" and isinstance(one.value, bytes)]
    if len(wanted) < len(values):
        raise ValueError(FILTER, "expected a string or strings")
    return Filter(frozenset(wanted), unfiltered is not None and unfiltered.value is True)
