"""Conformance tests: what a broker answers on the wire, asked with raw frames."""
