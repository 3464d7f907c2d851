"""Records of the topics for commands that look, ask and halt: read whole or followed, and written, with the registry or without."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from execpos.cli import connect
from execpos.codecs import framing
from execpos.codecs.avro import Decoder, Encoder, schema_text
from execpos.errors import Park
from execpos.kafka.follow import Follower
from execpos.kafka.writing import write_all

if TYPE_CHECKING:
    from execpos.codecs.registry import Schemas
    from execpos.kafka.ports import Cluster, Message
    from execpos.settings import Settings

T = TypeVar("T", bound=msgspec.Struct)


class Records:
    """Topics of one installation as records. One thread; every call blocks on Kafka, and raises DependencyError without it.

    Args:
        cluster: where the topics are.
        settings: of the installation.
        timeout_s: longest wait for one answer, and for an open transaction to end.

    Without `learn`, or while the registry is away, values are read by our own schemas, whatever id they carry.
    """

    def __init__(self, cluster: "Cluster", settings: "Settings", timeout_s: float = 15.0) -> None:
        self.cluster = cluster
        self._settings = settings
        self._timeout_s = timeout_s
        self._schemas: Schemas | None = None
        self._decoders: dict[tuple[type[msgspec.Struct], int], Decoder[Any]] = {}
        self._written_as: dict[str, int] = {}

    @classmethod
    def open(cls, settings: "Settings", client_id: str, timeout_s: float = 15.0) -> "Records":
        """Return the records of these settings; nothing is reached yet."""
        return cls(connect.cluster(settings, client_id), settings, timeout_s)

    def learn(self) -> "Records":
        """Ask the registry for all versions of the schemas; returns itself.

        Raises:
            DependencyError: no registry there.
            ContractError: it does not hold our schemas.
        """
        self._schemas = connect.schemas(self._settings)
        return self

    def topic(self, name: str) -> str:
        """Return the full name of `exec.<name>.v1`."""
        return f"{self._settings.kafka.prefix}exec.{name}.v1"

    def all(self, name: str, record: type[T], since_ms: int | None = None) -> Iterator[tuple[str, T | None]]:
        """Yield key and record (None: a tombstone) of what is committed now, in order within a partition; what cannot be read is left out.

        Raises:
            ContractError: there is no such topic.
        """
        with closing(Follower(self.cluster, [self.topic(name)], self._timeout_s, since_ms)) as follower:
            yield from self._decoded(name, record, follower.poll())

    def newest(self, name: str, record: type[T], since_ms: int | None = None) -> dict[str, T]:
        """Return the newest record of each key that has one; raises as `all`."""
        found: dict[str, T] = {}
        for key, one in self.all(name, record, since_ms):
            if one is None:
                found.pop(key, None)
            else:
                found[key] = one
        return found

    def follow(self, name: str, record: type[T]) -> "Followed[T]":
        """Return what is committed to a topic from now on; raises as `all`."""
        follower = Follower(self.cluster, [self.topic(name)], self._timeout_s)
        return Followed(follower, partial(self._decoded, name, record))

    def _decoded(self, name: str, record: type[T], messages: "Iterator[Message]") -> Iterator[tuple[str, T | None]]:
        for message in messages:
            key, value = (message.key() or b"").decode(errors="replace"), message.value()
            if value is None:
                yield key, None
                continue
            try:
                schema_id = framing.schema_id(value)
                one: T = self._decoder(record, schema_id)(value)
                # An id that stands in the topic serves to write, where what it carries is exactly what our schema makes of it.
                if self._schemas is None and Encoder(record, schema_id)(one) == value:
                    self._written_as[name] = schema_id
            except Park:
                continue
            yield key, one

    def _decoder(self, record: type[T], schema_id: int) -> Decoder[T]:
        known = self._schemas
        made = self._decoders.get((record, schema_id))
        if made is None:
            made = self._decoders[record, schema_id] = Decoder(
                record, {schema_id: schema_text(record)} if known is None else known.writers[record]
            )
        return made

    def write(self, name: str, key: str, record: msgspec.Struct) -> None:
        """Write one record as `write_all` does."""
        self.write_all(name, [(key, record)])

    def write_all(self, name: str, records: Sequence[tuple[str, msgspec.Struct]]) -> None:
        """Write records of one type by their keys, in order, and wait until Kafka has them all.

        The id of their schema comes from the topic if it was read, else from the registry.

        Raises:
            DependencyError: Kafka does not say in time that it has them (it may have some), or nobody knows the id.
        """
        if self._schemas is None and name not in self._written_as:
            self.learn()
        known = self._schemas

        def encoded(record: msgspec.Struct) -> bytes:
            return Encoder(type(record), self._written_as[name] if known is None else known.ids[type(record)])(record)

        topic = self.topic(name)
        write_all(self.cluster, "command", topic, [(key.encode(), encoded(record)) for key, record in records], f"records for {topic}")


class Followed(Generic[T]):
    """What is committed to one topic after this was made; close it."""

    def __init__(self, follower: Follower, decoded: "Callable[[Iterator[Message]], Iterator[tuple[str, T | None]]]") -> None:
        self._follower = follower
        self._decoded = decoded
        follower.skip()

    def poll(self) -> list[T]:
        """Return what was committed since the last call; what cannot be read is left out."""
        return [one for _, one in self._decoded(self._follower.poll()) if one is not None]

    def close(self) -> None:
        """Let go. A second call does nothing."""
        self._follower.close()
