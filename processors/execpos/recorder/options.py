"""Where the warehouse is, what it reads, and the names that follow from it."""

import re

import msgspec

from execpos.errors import ConfigError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What Kafka takes in the name of a topic or group; it also keeps quotes out of SQL.
_KAFKA_NAME = re.compile(r"[A-Za-z0-9._-]*")


class Options(msgspec.Struct, frozen=True):
    """Settings of the recorder.

    Args:
        clickhouse_url: HTTP interface, as `http://127.0.0.1:8123`; may carry user and password.
        bootstrap_servers: Kafka as this process sees it.
        registry_url: schema registry (its Confluent API) as this process sees it.
        prefix: of topics and groups.
        env: production, simulation or replay; part of the group's name.
        database: of the rows; `<database>_ingest` holds what reads Kafka.
        clickhouse_bootstrap_servers: Kafka as ClickHouse sees it; empty when it is the same.
        clickhouse_registry_url: registry as ClickHouse sees it; empty when it is the same.

    Raises:
        ConfigError: from `check`, when a name is none that Kafka or ClickHouse takes unquoted.
    """

    clickhouse_url: str
    bootstrap_servers: str
    registry_url: str
    prefix: str = ""
    env: str = "production"
    database: str = "execpos"
    clickhouse_bootstrap_servers: str = ""
    clickhouse_registry_url: str = ""

    @property
    def ingest(self) -> str:
        """The database of Kafka tables and their views; ENGINE = Memory, so that it never stands in the way of a start."""
        return f"{self.database}_ingest"

    def topic(self, name: str) -> str:
        """Return the topic of that name, as `exec.fills.v1` with the prefix; `name` is the part in the middle."""
        return f"{self.prefix}exec.{name}.v1"

    def group(self, table: str) -> str:
        """Return the consumer group of one table: the warehouse's own place in the topic."""
        return f"{self.prefix}{self.env}.clickhouse.{self.database}.{table}"

    def check(self) -> None:
        """Raise ConfigError when a name cannot be used."""
        if not _NAME.fullmatch(self.database):
            raise ConfigError(f"{self.database!r} is no name of a database", hint="use letters, digits and underscores", field="database")
        for field in ("prefix", "env"):
            value = getattr(self, field)
            if not _KAFKA_NAME.fullmatch(value):
                raise ConfigError(
                    f"{field} {value!r} cannot be in the name of a topic", hint="use letters, digits, '.', '_', '-'", field=field
                )
