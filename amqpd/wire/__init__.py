"""Bytes to frames and back: framing, content, field tables, methods, the outbox."""
