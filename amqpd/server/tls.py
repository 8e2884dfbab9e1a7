"""TLS contexts of the listeners, made anew on reload: open connections keep what they have."""

from __future__ import annotations

import ssl

from amqpd.server.settings import Tls


class TlsError(Exception):
    """The certificates cannot be used; one line for the operator."""


def make_context(settings: Tls) -> ssl.SSLContext:
    """Raises TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Renegotiation lets a client make the broker work, and a write wait for a read.
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # An encrypted key must be an error, not a question on the terminal.
        context.load_cert_chain(settings.certificate, settings.key or None, password=lambda: "")
        if settings.ca:
            context.load_verify_locations(settings.ca)
    except (OSError, ValueError) as error:
        raise TlsError(f"tls.certificate, tls.key or tls.ca cannot be read: {error}") from None
    if settings.verify == "peer":
        context.verify_mode = ssl.CERT_REQUIRED if settings.fail_if_no_peer_cert else ssl.CERT_OPTIONAL
    return context
