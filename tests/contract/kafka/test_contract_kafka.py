"""What the rest of execpos relies on from Kafka: the same suite on the twin and on a real broker."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from contract.kafka.conftest import LIVENESS_S, Harness
from execpos.errors import AbortTransaction, ContractError, DependencyError
from execpos.kafka.errors import Action, classify
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import Message, Span, TopicPartition, TransactionalProducer


def ready(kafka: Harness, name: str = "tx") -> TransactionalProducer:
    producer = kafka.cluster.transactional_producer(kafka.name(name))
    producer.init(LIVENESS_S)
    return producer


def write(kafka: Harness, producer: TransactionalProducer, topic: str, *values: bytes) -> None:
    """Write records of an open transaction and wait until the broker has them."""
    before = kafka.high(topic)
    for value in values:
        producer.produce(topic, 0, b"key", value)
    kafka.until(lambda: kafka.high(topic) >= before + len(values), "the records on the broker")


def commit(kafka: Harness, producer: TransactionalProducer, topic: str, *values: bytes) -> None:
    """Write and commit a transaction and wait for its marker, which comes behind the answer."""
    before = kafka.high(topic)
    producer.begin()
    write(kafka, producer, topic, *values)
    producer.commit(LIVENESS_S)
    kafka.until(lambda: kafka.high(topic) > before + len(values), "the marker")


def test_committed_records_are_visible_in_order(kafka: Harness) -> None:
    topic = kafka.topic("out")
    producer = ready(kafka)
    commit(kafka, producer, topic, b"1", b"2")
    commit(kafka, producer, topic, b"3")

    assert kafka.visible(topic) == [b"1", b"2", b"3"]
    producer.close()


def test_aborted_records_are_never_visible(kafka: Harness) -> None:
    topic = kafka.topic("out")
    producer = ready(kafka)
    producer.begin()
    write(kafka, producer, topic, b"dropped")
    producer.abort(LIVENESS_S)
    commit(kafka, producer, topic, b"kept")

    assert kafka.visible(topic) == [b"kept"]
    producer.close()


def test_control_records_occupy_offsets_and_a_read_still_ends(kafka: Harness) -> None:
    topic = kafka.topic("out")
    producer = ready(kafka)
    commit(kafka, producer, topic, b"1")
    producer.begin()
    write(kafka, producer, topic, b"dropped")
    producer.abort(LIVENESS_S)
    kafka.until(lambda: kafka.high(topic) == 4, "the marker")

    assert kafka.visible(topic) == [b"1"]
    producer.close()


def test_an_open_transaction_hides_later_commits_but_not_the_high_watermark(kafka: Harness) -> None:
    topic, inputs = kafka.topic("out"), kafka.topic("in")
    slow, quick = ready(kafka, "slow"), ready(kafka, "quick")
    commit(kafka, quick, topic, b"before")
    slow.begin()
    write(kafka, slow, topic, b"open")
    commit(kafka, quick, topic, b"after")
    commit(kafka, quick, inputs, b"x")
    assert kafka.high(topic) >= 4

    consumer = kafka.join("group", "one", topic)
    kafka.start(consumer)
    assert kafka.take(consumer, 1) == [b"before"]
    assert consumer.poll(0.5) is None

    # The reader waits for the decision instead of ending at the last stable offset.
    with pytest.raises(DependencyError):
        list(kafka.cluster.read(TopicPartition(topic, 0), 0, kafka.high(topic), 0.5))

    if kafka.real:
        slow.commit(LIVENESS_S)
        assert kafka.take(consumer, 2) == [b"open", b"after"]
        assert kafka.visible(topic) == [b"before", b"open", b"after"]
    else:
        # There the wait for the reader was the end of the transaction: its time is part of the model.
        slow.close()
        assert kafka.visible(topic)[0] == b"before"
    for one in (slow, quick, consumer):
        one.close()


def test_a_reader_waits_for_an_abandoned_transaction_and_leaves_it_out(kafka: Harness) -> None:
    topic = kafka.topic("out")
    dead, live = ready(kafka, "dead"), ready(kafka, "live")
    dead.begin()
    write(kafka, dead, topic, b"abandoned")
    commit(kafka, live, topic, b"kept")
    end = kafka.high(topic)
    idle: list[int] = []
    reader = kafka.cluster.reader()
    found = [m.value() for m in reader.read([Span(TopicPartition(topic, 0), 0, end)], LIVENESS_S, lambda: idle.append(1))]

    assert found == [b"kept"]
    assert idle
    reader.close()
    dead.close()
    live.close()


def test_a_new_producer_of_the_same_id_ends_and_fences_the_old_one(kafka: Harness) -> None:
    topic = kafka.topic("out")
    old = ready(kafka, "same")
    old.begin()
    write(kafka, old, topic, b"dropped")
    new = ready(kafka, "same")
    commit(kafka, new, topic, b"kept")

    with pytest.raises(KafkaException) as caught:
        old.commit(LIVENESS_S)
    assert classify(caught.value, "commit") is Action.FENCED
    with pytest.raises(KafkaException) as again:
        old.begin()
    assert classify(again.value, "begin") is Action.FENCED
    # The trap: after a fatal error an abort says that it may be tried again.
    with pytest.raises(KafkaException):
        old.abort(5.0)
    assert kafka.visible(topic) == [b"kept"]
    old.close()
    new.close()


def test_a_fenced_producer_says_so_when_it_goes_on_writing(kafka: Harness) -> None:
    topic = kafka.topic("out")
    old = ready(kafka, "same")
    old.begin()
    write(kafka, old, topic, b"dropped")
    ready(kafka, "same").close()

    def fenced() -> bool:
        try:
            old.produce(topic, 0, b"key", b"more")
        except KafkaException as error:
            return classify(error, "produce") is Action.FENCED
        return False

    kafka.until(fenced, "the fence")
    old.close()


def test_offsets_become_committed_with_the_transaction_and_only_then(kafka: Harness) -> None:
    inputs = kafka.topic("in")
    tp = TopicPartition(inputs, 0)
    consumer = kafka.join("group", "one", inputs)
    producer = ready(kafka)
    assert consumer.committed([tp], LIVENESS_S) == {tp: -1}

    producer.begin()
    producer.send_offsets({tp: 7}, consumer.group_metadata(), LIVENESS_S)
    producer.abort(LIVENESS_S)
    assert consumer.committed([tp], LIVENESS_S) == {tp: -1}

    producer.begin()
    producer.send_offsets({tp: 7}, consumer.group_metadata(), LIVENESS_S)
    producer.commit(LIVENESS_S)
    assert consumer.committed([tp], LIVENESS_S) == {tp: 7}
    producer.close()
    consumer.close()


def test_committed_offsets_are_not_told_while_a_transaction_may_change_them(kafka: Harness) -> None:
    inputs = kafka.topic("in")
    tp = TopicPartition(inputs, 0)
    consumer = kafka.join("group", "one", inputs)
    producer = ready(kafka)
    producer.begin()
    producer.send_offsets({tp: 7}, consumer.group_metadata(), LIVENESS_S)
    with pytest.raises(KafkaException) as caught:
        consumer.committed([tp], 0.5)
    assert classify(caught.value, "committed") is Action.RETRY

    # Nobody ends it: its time-out does, and the offsets never were.
    found: dict[TopicPartition, int] = {}

    def stable() -> bool:
        try:
            found.update(consumer.committed([tp], 0.5))
        except KafkaException as error:
            return classify(error, "committed") is not Action.RETRY
        return True

    kafka.until(stable, "stable offsets")
    assert found == {tp: -1}
    producer.close()
    consumer.close()


def test_offsets_of_an_older_generation_are_refused(kafka: Harness) -> None:
    inputs = kafka.topic("in", 2)
    zombie = kafka.join("group", "one", inputs)
    metadata = zombie.group_metadata()
    other = kafka.cluster.consumer(kafka.name("group"), "two")
    other.subscribe([inputs], lambda _: None, lambda _: None, lambda _: None)

    def shared() -> bool:
        zombie.poll(0.05)
        other.poll(0.05)
        return len(zombie.assignment()) == len(other.assignment()) == 1

    kafka.until(shared, "a rebalance")
    assert sorted(kafka.revoked) == [TopicPartition(inputs, 0), TopicPartition(inputs, 1)]
    producer = ready(kafka)
    producer.begin()
    with pytest.raises(KafkaException) as caught:
        producer.send_offsets({TopicPartition(inputs, 0): 5}, metadata, LIVENESS_S)
    assert classify(caught.value, "send_offsets") is Action.ABORT
    producer.abort(LIVENESS_S)

    # The same member of today is welcome.
    producer.begin()
    producer.send_offsets({TopicPartition(inputs, 0): 5}, zombie.group_metadata(), LIVENESS_S)
    producer.commit(LIVENESS_S)
    for one in (producer, zombie, other):
        one.close()


def test_a_consumer_in_no_generation_gives_no_metadata(kafka: Harness) -> None:
    consumer = kafka.cluster.consumer(kafka.name("group"), "one")
    with pytest.raises(AbortTransaction):
        consumer.group_metadata()
    consumer.close()


def test_a_second_process_of_one_instance_fences_the_first(kafka: Harness) -> None:
    inputs = kafka.topic("in")
    first = kafka.join("group", "one", inputs)
    metadata = first.group_metadata()
    second = kafka.join("group", "one", inputs)
    producer = ready(kafka)
    producer.begin()
    with pytest.raises(KafkaException) as caught:
        producer.send_offsets({TopicPartition(inputs, 0): 5}, metadata, LIVENESS_S)
    assert classify(caught.value, "send_offsets") is Action.FENCED

    def thrown_out() -> bool:
        try:
            first.poll(0.05)
        except KafkaException as error:
            return classify(error, "consume") is Action.FENCED
        return False

    kafka.until(thrown_out, "the fence")
    for one in (producer, first, second):
        one.close()


def test_a_static_member_that_restarts_keeps_its_partitions(kafka: Harness) -> None:
    inputs = kafka.topic("in", 2)
    one = kafka.join("group", "one", inputs)
    before = one.assignment()
    one.close()
    again = kafka.join("group", "one", inputs)

    assert again.assignment() == before
    again.close()


def test_a_member_that_leaves_gives_its_partitions_to_the_others_in_the_next_generation(kafka: Harness) -> None:
    inputs = kafka.topic("in", 2)
    one = kafka.join("group", "one", inputs)
    two = kafka.cluster.consumer(kafka.name("group"), "two")
    assert two.generation() == -1
    given: list[list[TopicPartition]] = []
    two.subscribe([inputs], given.append, lambda _: None, lambda _: None)

    def shared() -> bool:
        one.poll(0.05)
        two.poll(0.05)
        return len(one.assignment()) == len(two.assignment()) == 1

    kafka.until(shared, "a rebalance")
    generation = one.generation()
    assert two.generation() == generation >= 1
    kafka.revoked.clear()
    one.leave(LIVENESS_S)
    one.close()
    assert len(kafka.revoked) == 1
    assert one.assignment() == set()

    def has_all() -> bool:
        two.poll(0.05)
        return len(two.assignment()) == 2

    kafka.until(has_all, "the hand-over")
    assert two.generation() == generation + 1
    # It is a stranger now: when it comes again, partitions move once more.
    again = kafka.cluster.consumer(kafka.name("group"), "one")
    again.subscribe([inputs], lambda _: None, lambda _: None, lambda _: None)

    def shared_again() -> bool:
        again.poll(0.05)
        two.poll(0.05)
        return len(again.assignment()) == len(two.assignment()) == 1

    kafka.until(shared_again, "another rebalance")
    assert two.generation() == again.generation() == generation + 2
    again.close()
    two.close()


def test_range_gives_each_instance_the_same_partitions_of_all_topics(kafka: Harness) -> None:
    topics = [kafka.topic(name, 5) for name in ("a", "b", "c")]
    members = [kafka.cluster.consumer(kafka.name("group"), f"m{number}") for number in range(3)]
    for member in members:
        member.subscribe(topics, lambda _: None, lambda _: None, lambda _: None)

    def spread() -> bool:
        for member in members:
            member.poll(0.05)
        held = [member.assignment() for member in members]
        return all(held) and sum(map(len, held)) == 15

    kafka.until(spread, "an assignment of all")
    numbers = []
    for member in members:
        by_topic = [sorted(tp.partition for tp in member.assignment() if tp.topic == topic) for topic in topics]
        assert by_topic[0] == by_topic[1] == by_topic[2]
        numbers += by_topic[0]
        member.close()
    assert sorted(numbers) == [0, 1, 2, 3, 4]


def test_what_is_assigned_stands_still_until_it_is_sought_and_resumed(kafka: Harness) -> None:
    inputs = kafka.topic("in")
    producer = ready(kafka)
    commit(kafka, producer, inputs, b"0", b"1", b"2")
    consumer = kafka.join("group", "one", inputs)
    for _ in range(10):
        assert consumer.poll(0.05) is None
    kafka.start(consumer, 1)

    assert kafka.take(consumer, 2) == [b"1", b"2"]
    producer.close()
    consumer.close()


def test_a_seek_back_gives_the_same_records_again_and_nothing_stale(kafka: Harness) -> None:
    inputs = kafka.topic("in")
    producer = ready(kafka)
    values = [b"%d" % number for number in range(200)]
    commit(kafka, producer, inputs, *values)
    consumer = kafka.join("group", "one", inputs)
    kafka.start(consumer)
    tp = TopicPartition(inputs, 0)
    for _ in range(5):
        first = None
        while first is None:
            first = consumer.poll(0.05)
        assert [first.value(), *[one.value() for one in consumer.consume(3)]] == values[: 1 + 3][: len(values)]
        consumer.seek(tp, 0)
    assert kafka.take(consumer, 200) == values
    producer.close()
    consumer.close()


def test_a_paused_partition_gives_nothing(kafka: Harness) -> None:
    inputs = kafka.topic("in", 2)
    producer = ready(kafka)
    producer.begin()
    producer.produce(inputs, 0, b"k", b"left")
    producer.produce(inputs, 1, b"k", b"right")
    producer.commit(LIVENESS_S)
    consumer = kafka.join("group", "one", inputs)
    for tp in consumer.assignment():
        consumer.seek(tp, 0)
    consumer.resume(sorted(consumer.assignment()))
    consumer.pause([TopicPartition(inputs, 0)])
    consumer.seek(TopicPartition(inputs, 0), 0)
    assert kafka.take(consumer, 1)[-1] == b"right"
    consumer.resume([TopicPartition(inputs, 0)])
    assert b"left" in kafka.take(consumer, 1)
    producer.close()
    consumer.close()


def test_a_reader_reads_several_spans_at_once_and_again(kafka: Harness) -> None:
    topic = kafka.topic("out", 3)
    producer = ready(kafka)
    producer.begin()
    for number in range(30):
        producer.produce(topic, number % 3, b"k", b"%d" % number)
    producer.commit(LIVENESS_S)
    tps = [TopicPartition(topic, partition) for partition in range(3)]
    kafka.until(lambda: list(kafka.cluster.high_watermarks(tps, LIVENESS_S).values()) == [11] * 3, "the markers")
    reader = kafka.cluster.reader()
    for start, count in ((0, 10), (4, 6)):
        spans = [Span(tp, start, 11) for tp in tps]
        found: dict[int, list[int]] = {0: [], 1: [], 2: []}
        for message in reader.read(spans, LIVENESS_S):
            found[message.partition()].append(message.offset())
        assert found == {partition: list(range(start, start + count)) for partition in range(3)}
    below = [message.offset() for message in reader.read([Span(tps[1], 0, 5)], LIVENESS_S)]
    assert below == [0, 1, 2, 3, 4]
    assert list(reader.read([Span(tps[1], 3, 3)], LIVENESS_S)) == []
    reader.close()
    producer.close()


def test_a_reading_that_is_left_early_can_be_followed_by_another(kafka: Harness) -> None:
    topic = kafka.topic("out")
    producer = ready(kafka)
    commit(kafka, producer, topic, *[b"%d" % number for number in range(50)])
    reader = kafka.cluster.reader()
    span = Span(TopicPartition(topic, 0), 0, 50)
    for _ in range(2):
        first = next(iter(reader.read([span], LIVENESS_S)))
        assert first.offset() == 0
    assert len(list(reader.read([span], LIVENESS_S))) == 50
    reader.close()
    producer.close()


def test_what_the_reader_calls_may_end_the_reading(kafka: Harness) -> None:
    topic = kafka.topic("out")
    producer = ready(kafka)
    producer.begin()
    write(kafka, producer, topic, b"open")

    def stop() -> None:
        raise ContractError("enough")

    reader = kafka.cluster.reader()
    with pytest.raises(ContractError, match="enough"):
        list(reader.read([Span(TopicPartition(topic, 0), 0, 1)], LIVENESS_S, stop))
    reader.close()
    producer.close()


def test_a_key_is_placed_as_java_places_it(kafka: Harness) -> None:
    topic = kafka.topic("raw", 12)
    producer = kafka.cluster.idempotent_producer(kafka.name("bridge"))
    keys = [f"production|S|9A95|{number}".encode() for number in range(40)] + ["模擬|F|a%7Cb|1".encode()]
    found: dict[bytes, int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None
        found[message.key() or b""] = message.partition()

    for key in keys:
        producer.produce(topic, -1, key, b"x", delivered)
    kafka.until(lambda: producer.flush(1.0) == 0 and len(found) == len(keys), "delivery")

    assert found == {key: partition_for(key, 12) for key in keys}
    producer.close()


@pytest.mark.parametrize("connect_s", [0.0, LIVENESS_S])
def test_an_idempotent_producer_keeps_the_order_and_tells_each_delivery_once(kafka: Harness, connect_s: float) -> None:
    topic = kafka.topic("raw")
    producer = kafka.cluster.idempotent_producer(kafka.name("bridge"), connect_s)
    offsets: list[int] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None
        offsets.append(message.offset())

    for number in range(500):
        producer.produce(topic, 0, b"k", b"%d" % number, delivered)
    kafka.until(lambda: producer.flush(1.0) == 0, "delivery")

    assert offsets == list(range(500))
    assert kafka.visible(topic) == [b"%d" % number for number in range(500)]
    producer.close()


def test_topics_are_described_with_id_shape_and_their_own_settings(kafka: Harness) -> None:
    topic = kafka.topic("out", 4, cleanup_policy="compact")
    found = kafka.cluster.describe([topic, kafka.name("nowhere")], LIVENESS_S)

    assert list(found) == [topic]
    assert found[topic][2:] == (4, 1, {"cleanup.policy": "compact"})
    assert found[topic].topic_id
    assert kafka.cluster.topic_ids([topic], LIVENESS_S) == {topic: found[topic].topic_id}
    assert kafka.cluster.partition_count(topic, LIVENESS_S) == 4
    with pytest.raises(ContractError, match="does not exist"):
        kafka.cluster.partition_count(kafka.name("nowhere"), LIVENESS_S)
    assert kafka.cluster.broker_count(LIVENESS_S) == 1

    kafka.cluster.alter_configs(topic, {"retention.ms": "86400000"}, LIVENESS_S)
    both = {"cleanup.policy": "compact", "retention.ms": "86400000"}
    kafka.until(lambda: kafka.cluster.describe([topic], LIVENESS_S)[topic].configs == both, "the new setting")


def test_a_record_above_the_topics_limit_is_refused_and_the_transaction_can_be_aborted(kafka: Harness) -> None:
    topic = kafka.topic("out", 1, max_message_bytes="1000")
    producer = ready(kafka)
    producer.begin()
    producer.produce(topic, 0, b"k", b"x" * 5000)
    with pytest.raises(KafkaException) as caught:
        producer.commit(LIVENESS_S)
    assert classify(caught.value, "commit") is Action.ABORT
    producer.abort(LIVENESS_S)
    producer.close()

    # Its sequence has a hole now; the next one begins anew.
    successor = ready(kafka)
    commit(kafka, successor, topic, b"small")
    assert kafka.visible(topic) == [b"small"]
    successor.close()
