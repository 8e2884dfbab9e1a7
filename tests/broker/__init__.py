"""Tests of amqpd.broker."""
