"""The recorder as a service: it makes the warehouse, and makes its readers again after ClickHouse lost them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import prometheus_client
import pytest

from execpos.errors import DependencyError
from execpos.local.stack import Stack
from execpos.recorder import client as recorder_client
from execpos.recorder.apply import missing
from execpos.recorder.options import Options
from execpos.recorder.service import Recorder
from execpos.recorder.tables import Table
from recorder_feed import Feed, record, until

pytestmark = pytest.mark.stack


@contextmanager
def running(options: Options) -> Iterator[None]:
    stop = threading.Event()
    failed: list[BaseException] = []

    def body() -> None:
        try:
            Recorder(options).run(stop)
        except BaseException as error:  # noqa: BLE001 (told by the test's own thread)
            failed.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    yield
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert failed == []


def test_readers_come_back_by_themselves_after_clickhouse_was_killed(options: Options, stack: Stack, few: tuple[Table, ...]) -> None:
    def rows() -> list[int]:
        client = recorder_client.connect(stack.clickhouse.url)
        found = [int(client.query(f"SELECT count() FROM {options.database}.{each.name} FINAL").result_rows[0][0]) for each in few]
        client.close()
        return found

    with running(options):
        assert until(lambda: missing(recorder_client.connect(stack.clickhouse.url), options) == [])
        feed = Feed(options)
        for each in few:
            feed.send(each, [record(each.record, i) for i in range(4)])
        assert until(lambda: rows() == [4] * len(few))
        assert until(lambda: prometheus_client.REGISTRY.get_sample_value("execpos_recorder_rows", {"table": "fills"}) == 4)

        stack.clickhouse.kill()
        for each in few:
            feed.send(each, [record(each.record, i) for i in range(4, 6)])
        stack.clickhouse.start()

        assert until(lambda: rows() == [6] * len(few))
        assert until(lambda: prometheus_client.REGISTRY.get_sample_value("execpos_recorder_up") == 1)
    assert (prometheus_client.REGISTRY.get_sample_value("execpos_recorder_reapplied_total") or 0) >= 1


def test_a_start_without_clickhouse_ends_with_the_error_that_names_it(options: Options) -> None:
    away = msgspec.structs.replace(options, clickhouse_url="http://127.0.0.1:9")

    with pytest.raises(DependencyError) as raised:
        Recorder(away, start_deadline_s=0).run(threading.Event())

    assert "--clickhouse-url" in raised.value.hint
