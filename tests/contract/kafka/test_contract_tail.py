"""What stays at the end of partitions: the same suite on the twin and on a real broker."""

from contract.kafka.conftest import LIVENESS_S, Harness
from contract.kafka.test_contract_kafka import commit, ready, write
from execpos.kafka.ports import Tail, TopicPartition


def take(kafka: Harness, tail: Tail, count: int) -> list[bytes]:
    """Return the values of the next `count` records."""
    found: list[bytes] = []

    def enough() -> bool:
        found.extend(message.value() or b"" for message in tail.poll(0.05))
        return len(found) >= count

    kafka.until(enough, f"{count} records")
    return found


def test_a_tail_gives_what_is_there_and_then_what_is_committed_later(kafka: Harness) -> None:
    topic = kafka.topic("out")
    producer = ready(kafka)
    commit(kafka, producer, topic, b"1", b"2")
    tail = kafka.cluster.tail({TopicPartition(topic, 0): 0}, LIVENESS_S)
    assert take(kafka, tail, 2) == [b"1", b"2"]
    commit(kafka, producer, topic, b"3")
    assert take(kafka, tail, 1) == [b"3"]
    tail.close()
    producer.close()


def test_a_tail_shows_nothing_of_an_open_or_aborted_transaction(kafka: Harness) -> None:
    topic = kafka.topic("out")
    producer = ready(kafka)
    tail = kafka.cluster.tail({TopicPartition(topic, 0): 0}, LIVENESS_S)
    producer.begin()
    write(kafka, producer, topic, b"dropped")
    assert tail.poll(0.3) == []
    producer.abort(LIVENESS_S)
    commit(kafka, producer, topic, b"kept")
    assert take(kafka, tail, 1) == [b"kept"]
    tail.close()
    producer.close()


def test_the_position_of_a_tail_passes_over_control_records(kafka: Harness) -> None:
    topic = kafka.topic("out")
    tp = TopicPartition(topic, 0)
    producer = ready(kafka)
    commit(kafka, producer, topic, b"1")
    tail = kafka.cluster.tail({tp: 0}, LIVENESS_S)

    def at_the_end() -> bool:
        tail.poll(0.05)
        return tail.position(tp) >= kafka.high(topic)

    kafka.until(at_the_end, "the end")
    assert tail.position(tp) == 2
    tail.close()
    producer.close()


def test_a_tail_says_since_when_it_was_complete_and_never_too_late(kafka: Harness) -> None:
    topic = kafka.topic("out")
    tp = TopicPartition(topic, 0)
    producer = ready(kafka)
    commit(kafka, producer, topic, b"old")
    tail = kafka.cluster.tail({tp: 0}, LIVENESS_S)
    assert tail.complete_s(tp) is None
    assert take(kafka, tail, 1) == [b"old"]

    def complete() -> bool:
        tail.poll(0.05)
        return tail.complete_s(tp) is not None

    kafka.until(complete, "the end")
    before_s = kafka.clock()
    commit(kafka, producer, topic, b"new")
    # Nobody polls meanwhile: what is read later is known to be no older than the last look, and not to be younger than it is.
    kafka.sleep(0.5)
    assert take(kafka, tail, 1) == [b"new"]
    since_s = tail.complete_s(tp)
    assert since_s is not None
    assert since_s <= before_s + 0.001
    tail.close()
    producer.close()


def test_a_tail_goes_on_from_the_offset_that_it_is_given(kafka: Harness) -> None:
    topic = kafka.topic("out", partitions=2)
    producer = ready(kafka)
    commit(kafka, producer, topic, b"1", b"2", b"3")
    tail = kafka.cluster.tail({TopicPartition(topic, 0): 2, TopicPartition(topic, 1): 0}, LIVENESS_S)
    assert take(kafka, tail, 1) == [b"3"]
    tail.close()
    tail.close()
    producer.close()


def test_offsets_are_found_by_time_and_the_end_stands_for_what_never_came(kafka: Harness) -> None:
    topic = kafka.topic("out", partitions=2)
    tps = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    producer = ready(kafka)
    commit(kafka, producer, topic, b"1")
    first = next(iter(kafka.cluster.read(tps[0], 0, kafka.high(topic), LIVENESS_S)))
    kafka.sleep(0.2)
    commit(kafka, producer, topic, b"2")
    stamp_ms = first.timestamp()[1]

    assert kafka.cluster.offsets_at(tps, stamp_ms, LIVENESS_S) == {tps[0]: 0, tps[1]: 0}
    assert kafka.cluster.offsets_at(tps, stamp_ms + 100, LIVENESS_S) == {tps[0]: 2, tps[1]: 0}
    assert kafka.cluster.offsets_at(tps, stamp_ms + 3_600_000, LIVENESS_S) == {tps[0]: 4, tps[1]: 0}
    producer.close()
