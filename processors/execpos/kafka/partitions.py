"""Where a key belongs: Java's murmur2, as every Kafka producer places keys by default (librdkafka's own default is another hash)."""

from functools import lru_cache

_MASK = 0xFFFFFFFF
# Constants of MurmurHash 2 and the seed that Kafka's Java client fixed.
_M = 0x5BD1E995
_SEED = 0x9747B28C


def murmur2(data: bytes) -> int:
    """Return Kafka's 32-bit murmur2 of `data`, unsigned."""
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ (k >> 24)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


# Accounts are few and come again and again; the bound only keeps a flood of wrong keys from filling memory.
@lru_cache(maxsize=65_536)
def partition_for(key: bytes, count: int) -> int:
    """Return the partition of `key` in a topic of `count` partitions. Cheap on repeated keys."""
    return (murmur2(key) & 0x7FFFFFFF) % count
