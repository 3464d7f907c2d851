"""Kafka through the client library: what stands behind `ports` in production."""
