"""Tests of amqpd; helpers are imported as tests.support."""
