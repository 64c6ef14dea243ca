"""Which partition a key belongs to: the hash of Kafka's Java client, so that other programs agree with us."""

import random
import struct

SHARDS = 8
"""Lanes of the relay; a key is always in the same one."""

_M, _SEED, _MASK = 0x5BD1E995, 0x9747B28C, 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Kafka's `Utils.murmur2`, as an unsigned 32-bit number."""
    length = len(data)
    h = (_SEED ^ length) & _MASK
    whole = length & ~3
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        k = (word * _M) & _MASK
        k = ((k ^ (k >> 24)) * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    rest = data[whole:]
    if rest:
        h = ((h ^ int.from_bytes(rest, "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


def hash_of(key: bytes | None) -> int:
    """Kafka's positive hash of a key; any number without one, for such an event has no order."""
    return random.getrandbits(31) if key is None else murmur2(key) & 0x7FFFFFFF


def shard_of(topic: str, hash_: int) -> int:
    """The lane of the relay for this key of this topic."""
    return (murmur2(topic.encode()) ^ hash_) % SHARDS
