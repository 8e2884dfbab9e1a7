"""Connections and channels as synchronous machines: bytes in, bytes out, no IO."""
