"""What a client needs to reach an installation: cluster, schemas, prefix, env, and the limits of its configuration."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from execpos.domain.calendar import Calendar
from execpos.domain.events import Market
from execpos.domain.instruments import Instruments
from execpos.kafka.ports import Cluster

if TYPE_CHECKING:
    from execpos.settings import Settings


class Ages(msgspec.Struct, frozen=True):
    """From which age on something counts as old, seconds; which sources of exec.control have to speak; how far back a start looks.

    Closes are looked for over 14 days: the longest closure of the market is about twelve, and a close is never older than that.
    """

    heartbeat_gap_s: float = 10.0
    progress_age_s: float = 5.0
    control_age_s: float = 5.0
    required_sources: tuple[str, ...] = ("reconciler",)
    orders_within_s: float = 345_600.0
    closes_within_s: float = 1_209_600.0


class Day(NamedTuple):
    """The current trading date of a market and the one before it, days since the epoch; `previous` is 0 where no calendar tells it."""

    today: int
    previous: int = 0


class Link(msgspec.Struct, frozen=True, eq=False):
    """One installation, as a client sees it. May be shared by everything in a process.

    Attributes:
        cluster: Kafka.
        writers: record class -> schema id -> schema text, of every version registered.
        ids: record class -> id of our schema.
        prefix: stands before the topics.
        env: production, simulation or replay; records of others are left out.
        ages: see there.
        instruments: which book an order condition means; one a view, because it fills a memo.
        calendar: trading dates; without it a day ends when the next one's first fill comes.
    """

    cluster: Cluster
    writers: Mapping[type[msgspec.Struct], Mapping[int, str]]
    ids: Mapping[type[msgspec.Struct], int]
    prefix: str = ""
    env: str = "simulation"
    ages: Ages = Ages()
    instruments: Instruments | None = None
    calendar: Calendar | None = None

    def topic(self, name: str) -> str:
        """Return the full name of `exec.<name>.v1`."""
        return f"{self.prefix}exec.{name}.v1"

    @classmethod
    def open(cls, config_dir: Path | None = None, client_id: str = "client") -> "Link":
        """Return the installation that the configuration names. Blocks on the registry, not on Kafka.

        Args:
            config_dir: as for `settings.load`.
            client_id: names the connections in the broker's log.

        Raises:
            ConfigError: the configuration is wrong.
            DependencyError: the registry does not answer.
            ContractError: the registry does not hold our schemas.
        """
        from execpos.settings import load  # noqa: PLC0415 (pydantic is slow to import, and a link may be made by hand)

        return cls.of(load(config_dir), client_id)

    @classmethod
    def of(cls, settings: "Settings", client_id: str = "client") -> "Link":
        """Return the installation that these settings name; as `open`."""
        from execpos.codecs.registry import Registry  # noqa: PLC0415 (as in `open`)
        from execpos.kafka.client.cluster import KafkaCluster  # noqa: PLC0415 (as in `open`)
        from execpos.kafka.client.config import KafkaSettings  # noqa: PLC0415 (as in `open`)

        registry = Registry(settings.registry.url, settings.registry.timeout_s)
        try:
            schemas = registry.schemas(settings.kafka.prefix)
        finally:
            registry.close()
        extra = {name: str(value) for name, value in settings.kafka.client.items()}
        rules = settings.rules()
        return cls(
            KafkaCluster(KafkaSettings(settings.kafka.bootstrap_servers, extra=extra), client_id),
            schemas.writers,
            schemas.ids,
            settings.kafka.prefix,
            settings.env,
            Ages(
                heartbeat_gap_s=settings.halt.heartbeat_gap_s,
                progress_age_s=settings.halt.progress_age_s,
                control_age_s=settings.client.control_age_s,
                required_sources=tuple(settings.client.required_sources),
                orders_within_s=settings.client.orders_within_s,
            ),
            rules.instruments,
            rules.calendar,
        )


def current_day(calendar: Calendar, market: Market, wall_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> Day:
    """Return the trading date of this moment and the one before it."""
    today = calendar.trading_date(wall_us(), market)
    return Day(today, calendar.previous_trading_day(today, market))
