"""Tests of amqpd.server.definitions."""
