"""The recorder as a service: makes the warehouse, keeps its readers there, and says how it does."""

import threading
import time

from clickhouse_connect.driver.client import Client

from execpos.errors import ContractError, DependencyError
from execpos.recorder.apply import apply, missing
from execpos.recorder.client import connect
from execpos.recorder.options import Options
from execpos.recorder.status import TableStatus, status
from execpos.telemetry import metrics
from execpos.telemetry.log import Logger

# An embedded ClickHouse forgets its readers when it restarts; two seconds without them are not noticed, and the look costs a millisecond.
_WATCH_S = 2.0
# Lag and rows cost Kafka a dozen requests; Prometheus asks every fifteen seconds.
_STATUS_S = 10.0
# The parts of a stack start together, and the slowest of them may need minutes on a loaded machine.
START_DEADLINE_S = 180.0


class Recorder:
    """Applies `schemas/` at the start and whenever the readers have vanished, and exports metrics. Not thread-safe.

    Args:
        options: where everything is.
        start_deadline_s: how long ClickHouse, Kafka, the registry and the topics may take to be there.
    """

    def __init__(self, options: Options, *, start_deadline_s: float = START_DEADLINE_S) -> None:
        self._options = options
        self._start_deadline_s = start_deadline_s
        self._log = Logger("recorder")
        self._client: Client | None = None

    def run(self, stop: threading.Event) -> None:
        """Block until `stop` is set; ClickHouse goes on reading afterwards, because it reads by itself.

        After the start it rides out a ClickHouse, Kafka or registry that is away or refuses, and says so in log and metrics.

        Raises:
            DependencyError: something was not there within the start's deadline.
            ConfigError, ContractError: as `apply`.
        """
        self._start(stop)
        self._log.info("component_started", clickhouse=self._options.database, topics_prefix=self._options.prefix)
        next_status = 0.0
        while not stop.is_set():
            try:
                self._look()
                if time.monotonic() >= next_status:
                    self._export()
                    next_status = time.monotonic() + _STATUS_S
                metrics.gauge("execpos_recorder_up").set(1)
            except (ContractError, DependencyError) as error:
                metrics.gauge("execpos_recorder_up").set(0)
                self._client = None
                self._log.warning("warehouse_unreachable", reason=error.what)
            stop.wait(_WATCH_S)
        self._log.info("component_stopped")

    def _start(self, stop: threading.Event) -> None:
        end = time.monotonic() + self._start_deadline_s
        while not stop.is_set():
            try:
                self._apply()
            except DependencyError as error:
                if time.monotonic() >= end:
                    raise
                self._log.info("warehouse_awaited", reason=error.what)
                stop.wait(_WATCH_S)
            else:
                return

    def _look(self) -> None:
        absent = missing(self._connected(), self._options)
        if absent:
            self._log.warning("warehouse_readers_vanished", tables=absent)
            metrics.counter("execpos_recorder_reapplied_total").inc()
            self._apply()

    def _apply(self) -> None:
        for each in apply(self._connected(), self._options):
            self._log.info(
                "warehouse_applied",
                table=each.table,
                action=each.action,
                columns_added=list(each.columns_added),
                read_again=each.read_again,
            )

    def _connected(self) -> Client:
        if self._client is None:
            self._client = connect(self._options.clickhouse_url)
        return self._client

    def _export(self) -> None:
        for each in status(self._connected(), self._options):
            _export_table(each)
            if each.open_errors:
                self._log.warning("warehouse_errors_open", table=each.table, count=each.open_errors)


def _export_table(each: TableStatus) -> None:
    metrics.gauge("execpos_recorder_rows").labels(table=each.table).set(each.rows)
    metrics.gauge("execpos_recorder_open_errors").labels(table=each.table).set(each.open_errors)
    metrics.gauge("execpos_recorder_lag_records").labels(table=each.table).set(each.lag)
    metrics.gauge("execpos_recorder_consumers").labels(table=each.table).set(each.consumers)
