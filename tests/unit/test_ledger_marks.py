"""Last prices beside the book: what they are, and that nothing waits for them."""

import pytest

from execpos.codecs.avro import Decoder, Encoder
from execpos.domain.events import Mark
from execpos.errors import DependencyError
from execpos.kafka.follow import Follower
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.ports import TopicPartition
from execpos.ledger.marks import Marks
from ledger_world import IDS, NAMES, SCHEMAS
from snapshot_world import World

encode = Encoder(Mark, IDS[Mark])


def put(world: World, symbol: str, price: int, ts: int = 1) -> None:
    record = Mark("simulation", "S", symbol, price, ts, ts, "bridge-0")
    world.put(NAMES.marks, f"simulation|S|{symbol}".encode(), encode(record), 0)


def marks_of(world: World) -> Marks:
    cluster = MemoryCluster(world.broker)
    return Marks(lambda: Follower(cluster, [NAMES.marks]), Decoder(Mark, SCHEMAS.writers[Mark]))


def test_the_last_mark_of_a_symbol_holds() -> None:
    world = World()
    marks = marks_of(world)
    put(world, "2330", 600)
    put(world, "2330", 601, 2)
    put(world, "a|b", 5)
    world.put(NAMES.marks, b"simulation|S|a%7Cb", encode(Mark("simulation", "S", "a|b", 7, 3, 3, "")), 0)
    marks.refresh()
    assert marks.of("simulation", "S", "2330") == (601, 2)
    assert marks.of("simulation", "S", "a|b") == (7, 3)
    assert marks.of("simulation", "F", "2330") is None
    assert marks.of("production", "S", "2330") is None
    put(world, "2330", 602, 9)
    marks.refresh()
    assert marks.of("simulation", "S", "2330") == (602, 9)
    marks.close()


def test_a_mark_that_is_deleted_or_cannot_be_read_is_none() -> None:
    world = World()
    marks = marks_of(world)
    put(world, "2330", 600)
    world.put(NAMES.marks, b"simulation|S|2317", b"junk", 0)
    marks.refresh()
    assert marks.of("simulation", "S", "2317") is None
    world.broker.append(TopicPartition(NAMES.marks, 0), b"simulation|S|2330", None)
    marks.refresh()
    assert marks.of("simulation", "S", "2330") is None
    marks.close()


def test_what_was_known_stays_while_the_topic_cannot_be_read_and_it_is_read_again_from_the_beginning() -> None:
    world = World()
    cluster = MemoryCluster(world.broker)
    away = [False]

    def follow() -> Follower:
        if away[0]:
            raise DependencyError("Kafka is away")
        return Follower(cluster, [NAMES.marks])

    marks = Marks(follow, Decoder(Mark, SCHEMAS.writers[Mark]))
    put(world, "2330", 600)
    marks.refresh()
    away[0] = True
    marks._let_go()
    with pytest.raises(DependencyError):
        marks.refresh()
    assert marks.of("simulation", "S", "2330") == (600, 1)
    away[0] = False
    put(world, "2317", 5)
    marks.refresh()
    assert marks.of("simulation", "S", "2330") == (600, 1)
    assert marks.of("simulation", "S", "2317") == (5, 1)
    marks.close()
    marks.close()


def test_the_thread_survives_a_topic_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execpos.ledger.marks._INTERVAL_S", 0.001)
    world = World()
    tries = []
    cluster = MemoryCluster(world.broker)

    def follow() -> Follower:
        tries.append(1)
        if len(tries) < 3:
            return Follower(cluster, ["no.such.topic"])
        marks._stop.set()
        return Follower(cluster, [NAMES.marks])

    marks = Marks(follow, Decoder(Mark, SCHEMAS.writers[Mark]))
    put(world, "2330", 600)
    marks.start()
    marks._thread.join(30)
    marks.close()

    assert len(tries) == 3
    assert marks.of("simulation", "S", "2330") == (600, 1)
