"""Kafka as an in-process model: the twin behind `ports` for tests, simulations and dry runs."""
