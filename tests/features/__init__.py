"""Tests of amqpd.features."""
