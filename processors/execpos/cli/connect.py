"""What commands that reach Kafka and the registry have in common."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from execpos.bridge.tail import Connect
    from execpos.codecs.registry import Schemas
    from execpos.kafka.client.cluster import KafkaCluster
    from execpos.recorder.options import Options
    from execpos.settings import Settings
    from execpos.settings.model import Ledger, Reconciler


def cluster(settings: "Settings", client_id: str, times: "Ledger | Reconciler | None" = None) -> "KafkaCluster":
    """Return the cluster that the settings name, with the time-outs of one loop, by default the ledger's; nothing is connected yet."""
    from execpos.kafka.client.cluster import KafkaCluster  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.kafka.client.config import KafkaSettings  # noqa: PLC0415 (as above)

    times = times or settings.ledger
    return KafkaCluster(
        KafkaSettings(
            bootstrap_servers=settings.kafka.bootstrap_servers,
            session_timeout_s=times.session_timeout_ms / 1000,
            transaction_timeout_s=times.transaction_timeout_ms / 1000,
            extra={name: str(value) for name, value in settings.kafka.client.items()},
        ),
        client_id,
    )


def schemas(settings: "Settings") -> "Schemas":
    """Return our schemas' ids and all their versions from the registry. Blocks.

    Raises:
        DependencyError: no registry there.
        ContractError: it does not hold our schemas.
    """
    from execpos.codecs.registry import Registry  # noqa: PLC0415 (`--help` must not pay for it)

    registry = Registry(settings.registry.url, settings.registry.timeout_s)
    try:
        return registry.schemas(settings.kafka.prefix)
    finally:
        registry.close()


def wire(settings: "Settings", client_id: str) -> "Connect":
    """Return what reaches Kafka and the registry; the answer of the registry is kept once it came. Any thread may call what is returned.

    That raises DependencyError while the registry is away, and ContractError when it does not hold our schemas; Kafka itself is not asked.
    """
    from execpos.bridge.tail import Wire  # noqa: PLC0415 (`--help` must not pay for it)

    made = cluster(settings, client_id)
    known: list[Schemas] = []

    def reach() -> Wire:
        if not known:
            known.append(schemas(settings))
        return Wire(made, known[0].ids, known[0].writers)

    return reach


def recorder_options(settings: "Settings") -> "Options":
    """Return what the recorder needs to know, from the settings; the same for the service and the commands, so that both are one group."""
    from execpos.recorder.options import Options  # noqa: PLC0415 (`--help` must not pay for it)

    return Options(
        clickhouse_url=settings.clickhouse.url,
        bootstrap_servers=settings.kafka.bootstrap_servers,
        registry_url=settings.registry.url,
        prefix=settings.kafka.prefix,
        env=settings.env,
        database=settings.clickhouse.database,
    )


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and an interrupt set: the normal end of a component. Main thread only."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
