"""Fakes and helpers shared by tests: frame factory, linked client, faulty store."""
