"""Exactly-once execution events and position state for Shioaji on Kafka."""

__version__ = "0.1.0.dev0"
