"""The commented sample configuration, made from the settings: the manual of the keys."""

from __future__ import annotations

import textwrap
from dataclasses import fields

from amqpd.server.settings import SETTINGS, Setting, Settings

HEAD = """\
Configuration of amqpd. Every key is listed with its default and what is allowed; a file needs only the keys \
that differ. Keys marked "Live" change in a running broker on SIGHUP, the others wait for a restart.

Later ones win: this file, conf.d/*.toml beside it in the order of their names, environment variables \
(AMQPD_CONNECTIONS__HEARTBEAT=30, lists with commas), options of the command line. amqpd reads \
/etc/amqpd/amqpd.toml if it is there, unless -c or AMQPD_CONFIG_FILE names another file. `amqpd check-config \
FILE` checks one.

Times are seconds when they have no unit. Sizes are bytes when they have no unit; 1KiB is 1024 bytes, 1kB \
is 1000."""


def sample() -> str:
    """The text of ``etc/amqpd.toml``."""
    lines = _comment(HEAD)
    for section in fields(Settings):
        lines += ["", f"[{section.name}]", *_comment(type(section.default).__doc__ or "")]
        for one in SETTINGS.values():
            if one.section == section.name:
                lines += ["", *_comment(one.doc), *_comment(_allowed(one))]
                lines.append(f"{one.key} = {one.kind.write(one.default)}")
    return "\n".join(lines) + "\n"


def _allowed(one: Setting) -> str:
    allowed = one.kind.allowed
    return f"{allowed[0].upper()}{allowed[1:]}.{' Live.' if one.live else ''}"


def _comment(text: str) -> list[str]:
    paragraphs = [textwrap.wrap(paragraph, 106, break_on_hyphens=False) or [""] for paragraph in text.splitlines()]
    return [f"# {line}".rstrip() for paragraph in paragraphs for line in paragraph]
