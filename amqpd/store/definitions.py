"""Definitions as rows: one table for each kind, named and shaped as ``KINDS`` says."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter

from amqpd.broker.batch import KINDS, Definition, Scalar
from amqpd.store.tables import pieces, repeated

_kind_and_drop = itemgetter(0, 1)


def write_definitions(connection: sqlite3.Connection, definitions: Sequence[Definition]) -> None:
    """Put and drop in the given order. Neighbours of one kind share a statement."""
    for (kind, drop), group in groupby(definitions, _kind_and_drop):
        columns = _keys(kind) if drop else _columns(kind)
        rows = [_row(definition, columns) for definition in group]
        if drop:
            connection.executemany(_drop_statement(kind), rows)
            continue
        for count, values in pieces(rows):
            connection.execute(repeated(*_put_statement(kind), count), values)


def read_definitions(connection: sqlite3.Connection) -> list[Definition]:
    """All definitions, each after those it depends on (the order of ``KINDS``)."""
    definitions: list[Definition] = []
    for kind in KINDS:
        columns = _columns(kind)
        rows = connection.execute(f"SELECT {_names(columns)} FROM {_quoted(kind)} ORDER BY rowid")
        definitions.extend(Definition(kind, False, dict(zip(columns, row, strict=True))) for row in rows)
    return definitions


def _row(definition: Definition, columns: tuple[str, ...]) -> tuple[Scalar, ...]:
    values = definition.values
    return tuple(values[column] for column in columns)


@cache
def _keys(kind: str) -> tuple[str, ...]:
    return tuple(KINDS[kind].key)


@cache
def _columns(kind: str) -> tuple[str, ...]:
    return (*KINDS[kind].key, *KINDS[kind].columns)


@cache
def _put_statement(kind: str) -> tuple[str, str]:
    columns = _columns(kind)
    row = "(" + ",".join("?" * len(columns)) + ")"
    return f"INSERT OR REPLACE INTO {_quoted(kind)} ({_names(columns)}) VALUES ", row


@cache
def _drop_statement(kind: str) -> str:
    where = " AND ".join(f"{_quoted(column)} = ?" for column in _keys(kind))
    return f"DELETE FROM {_quoted(kind)} WHERE {where}"


def _names(columns: Sequence[str]) -> str:
    return ", ".join(map(_quoted, columns))


def _quoted(name: str) -> str:
    return f'"{name}"'
