"""A view and a runner whose broker goes away and comes back."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from client_world import ACCOUNT, IDS, WRITERS, fill, position
from execpos.client.cursor import FileStore
from execpos.client.link import Ages, Link
from execpos.client.runner import StrategyRunner
from execpos.client.strategy import Delivery, Strategy
from execpos.client.view import PositionView
from execpos.codecs.avro import Encoder
from execpos.domain.events import FillEvent, PositionState
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import IdempotentProducer, Message
from execpos.kafka.topics import apply, plan
from execpos.local.kafka import Kafka

pytestmark = pytest.mark.stack

LIVENESS_S = 120.0


class Taking(Strategy):
    def __init__(self) -> None:
        super().__init__("alpha")
        self.numbers: list[str] = []

    def on_fill(self, fill: FillEvent, delivery: Delivery) -> None:
        self.numbers.append(fill.fill_id.rsplit("|", 1)[-1])


def until(holds: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + LIVENESS_S
    while not holds():
        assert time.monotonic() < end_s, f"waited in vain for {what}"
        time.sleep(0.05)


def write(producer: IdempotentProducer, link: Link, number: int) -> None:
    """Write a position and a fill as the ledger would."""
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    state, made = position(number * 100, number), fill(number, "a", cum=number)
    place = partition_for(ACCOUNT.encode(), 12)
    encoded = Encoder(PositionState, IDS[PositionState])(state)
    producer.produce(link.topic("positions"), place, state.position_key.encode(), encoded, delivered)
    producer.produce(link.topic("fills"), place, ACCOUNT.encode(), Encoder(FillEvent, IDS[FillEvent])(made), delivered)
    assert producer.flush(LIVENESS_S) == 0
    assert failed == []


def test_a_view_and_a_runner_go_on_after_the_broker_was_restarted(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    stop, alpha = threading.Event(), Taking()
    with Kafka(tmp_path / "kafka") as kafka:
        address = kafka.bootstrap_servers
        cluster = KafkaCluster(KafkaSettings(address), "restart")
        apply(cluster, plan(cluster, "r."))
        link = Link(cluster, WRITERS, IDS, "r.", "simulation", Ages())
        view = PositionView(link)
        view.start()
        view.wait_ready(LIVENESS_S)
        runner = StrategyRunner(link, [alpha], FileStore(tmp_path / "cursor"), first="begin")
        ended: list[BaseException] = []

        def run() -> None:
            try:
                runner.run(stop)
            except BaseException as error:  # noqa: BLE001 (asserted below)
                ended.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        producer = cluster.idempotent_producer("restart")
        write(producer, link, 1)
        until(lambda: [one.quantity for one in view.positions()] == [100] and alpha.numbers == ["1"], "the first state and fill")
    try:
        assert [one.quantity for one in view.positions()] == [100]
        with Kafka(tmp_path / "kafka", port=int(address.rsplit(":", 1)[1])):
            write(producer, link, 2)
            until(lambda: [one.quantity for one in view.positions()] == [200], "the second state")
            until(lambda: alpha.numbers == ["1", "2"] or bool(ended), "the second fill")
            assert ended == []
            stop.set()
            thread.join(LIVENESS_S)
            view.stop()
            producer.close()
    finally:
        stop.set()
    assert not thread.is_alive()
