"""What a restore says of itself while it reads."""

import orjson
import pytest

from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.clock import VirtualClock
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.ports import TopicPartition
from execpos.kafka.restore import Restore
from execpos.telemetry import log, metrics

TOPIC = "t.exec.fills.v1"


def test_progress_names_topic_rate_and_what_remains_at_most_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    clock = VirtualClock()
    broker = MemoryBroker(clock, clock.sleep)
    broker.create(TOPIC, 2)
    for number in range(5_000):
        broker.append(TopicPartition(TOPIC, number % 2), b"key", b"%d" % number)
    polled: list[float] = []
    restore = Restore(MemoryCluster(broker), {}, lambda: polled.append(clock()), clock)
    remaining = metrics.gauge("execpos_restore_remaining_records").labels(topic=TOPIC)
    seen = []
    for count, _ in enumerate(restore.read_all(TOPIC, [0, 1]), 1):
        if count % 1_000 == 0:
            clock.sleep(0.6)
            seen.append(remaining._value.get())
    restore.close()
    lines = [orjson.loads(line) for line in capsys.readouterr().err.splitlines() if "restore_progressed" in line]

    assert count == 5_000
    assert remaining._value.get() == 0
    assert seen == [5_000, 4_000, 3_000, 2_000, 1_000]
    assert [(line["what"], line["done"], line["total"]) for line in lines] == [(TOPIC, 2_000, 5_000), (TOPIC, 4_000, 5_000)]
    assert (lines[0]["per_s"], lines[0]["remaining_s"]) == (1_667, 1.8)
    assert polled, "the consumer is kept in its group meanwhile"
