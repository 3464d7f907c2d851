"""Keys go where Java's producers would put them."""

import confluent_kafka
import orjson
from hypothesis import given
from hypothesis import strategies as st

from execpos import resources
from execpos.kafka.partitions import murmur2, partition_for

GOLDEN = orjson.loads(resources.text("contracts", "partitions.golden.json"))["vectors"]


def test_the_golden_vectors_hold() -> None:
    assert len(GOLDEN) >= 20
    for vector in GOLDEN:
        key = vector["key"].encode()

        assert murmur2(key) == vector["murmur2"]
        assert {count: partition_for(key, int(count)) for count in vector["partitions"]} == vector["partitions"]


def test_the_golden_vectors_cover_every_partition_count_and_odd_text() -> None:
    assert {tuple(vector["partitions"]) for vector in GOLDEN} == {("1", "12", "50")}
    assert any("%7C" in vector["key"] for vector in GOLDEN)
    assert any(not vector["key"].isascii() for vector in GOLDEN)


@given(st.binary(min_size=1, max_size=64), st.integers(1, 200))
def test_any_key_goes_where_the_client_library_puts_it(key: bytes, count: int) -> None:
    assert partition_for(key, count) == confluent_kafka.murmur2(key, count)


@given(st.binary(max_size=64), st.integers(1, 200))
def test_a_partition_always_exists(key: bytes, count: int) -> None:
    assert 0 <= partition_for(key, count) < count
