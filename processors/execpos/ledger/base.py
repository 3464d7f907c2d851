"""What a fold anew begins with when the beginning of the inputs is no longer kept: the checkpoint of an account.

A checkpoint holds the rows and which records are inside. Fills, orders and answers to corrections of before come from their own topics, by
the ledger's own restore; so what it cannot read there any more is settled, as after a restart.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from execpos.codecs.avro import Decoder, Encoder
from execpos.codecs.registry import Schemas
from execpos.domain import ids
from execpos.domain.events import CorrectionOutcome, FillEvent, OrderEvent, PositionSnapshot, PositionState
from execpos.domain.rules import Rules
from execpos.domain.snapshot import Parts
from execpos.errors import ContractError
from execpos.kafka.ports import Cluster, Message, Reader, Span, TopicPartition
from execpos.kafka.restore import METADATA_S
from execpos.ledger.outputs import Names, Writer
from execpos.ledger.restore import Decoders, Restorer
from execpos.ledger.state import PartitionState, Topic

# Longest wait for the next record of a topic.
_READ_S = 30.0

Ends = tuple[int, int, int]
"""Next offset of each input, in the order of `book.INPUTS`."""


class Base(msgspec.Struct, frozen=True):
    """The checkpoint of one account, and the next offset of each input."""

    snapshot: PositionSnapshot
    ends: Ends


class Bases:
    """Finds checkpoints of one partition, and restores from them. One thread; blocks.

    Args:
        cluster: where the topics are.
        names: topics.
        schemas: what the registry says of our records.
        partition: of the account-keyed topics.
        topics: the inputs as they are now.
    """

    def __init__(self, cluster: Cluster, names: Names, schemas: Schemas, partition: int, topics: tuple[Topic, ...]) -> None:
        self._cluster = cluster
        self._names = names
        self._schemas = schemas
        self._partition = partition
        self._topics = topics
        self._reader: Reader = cluster.reader()

    def close(self) -> None:
        """Let go. A second call does nothing."""
        self._reader.close()

    def accounts(self) -> list[str]:
        """Return the accounts that have positions on the partition."""
        keys = (message.key() or b"" for message in self.read(self._names.positions))
        return sorted({ids.join(*ids.split(key.decode())[:4]) for key in keys})

    def choose(self, accounts: Sequence[str], lows: Sequence[int], *, newest: bool) -> dict[str, Base]:
        """Return for each account its newest or its oldest checkpoint after which every record of the inputs is kept.

        Raises:
            ContractError: an account has none.
        """
        decode, parts = Decoder(PositionSnapshot, self._schemas.writers[PositionSnapshot]), Parts()
        found: dict[str, Base] = {}
        for message in self.read(self._names.checkpoints):
            whole = parts.take(decode(message.value() or b""))
            if whole is None or (not newest and whole.account in found) or not self._same_topics(whole):
                continue
            ends = (whole.inputs[0].offset + 1, whole.inputs[1].offset + 1, whole.inputs[2].offset + 1)
            if all(end >= low for end, low in zip(ends, lows, strict=True)):
                found[whole.account] = Base(whole, ends)
        missing = [account for account in accounts if account not in found]
        if missing:
            kept = ", ".join(f"{topic.name} from {low}" for topic, low in zip(self._topics, lows, strict=True))
            raise ContractError(
                f"the beginning of partition {self._partition} is past its retention ({kept}); no checkpoint of {missing[0]} lies after it",
                hint="a rebuild needs every record since the beginning or a checkpoint; reconcile the account with the broker instead",
            )
        return {account: found[account] for account in accounts}

    def _same_topics(self, whole: PositionSnapshot) -> bool:
        known = zip(whole.inputs, self._topics, strict=False)
        return len(whole.inputs) == len(self._topics) and all(item.offset < 0 or item.topic_id == topic.topic_id for item, topic in known)

    def read(self, topic: str) -> Iterator[Message]:
        """Yield what a topic keeps of the partition."""
        place = TopicPartition(topic, self._partition)
        low, high = self._cluster.watermarks([place], METADATA_S)[place]
        return self._reader.read([Span(place, low, high)], _READ_S) if low < high else iter(())

    def restored(self, bases: Mapping[str, Base], rules: Rules, writer: Writer) -> PartitionState:
        """Return the state of the partition with these accounts, each as of its checkpoint."""
        decoders = Decoders.of(self._schemas)
        encode = Encoder(PositionState, self._schemas.ids[PositionState])
        context = _Context(self, bases, self._names, decoders, self._topics, encode)
        state = Restorer(rules, self._names, decoders, writer).build([self._partition], context)[self._partition]
        for account, base in bases.items():
            state.pipeline.account(account).closed = ids.session_ordinal(base.snapshot.session_id)
        state.pipeline.commit()
        return state


class _Row:
    """A row of a checkpoint as the restore reads it from exec.positions."""

    def __init__(self, key: str, value: bytes, partition: int) -> None:
        self._key = key.encode()
        self._value = value
        self._partition = partition

    def topic(self) -> str:
        return ""

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return 0

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return (0, 0)


class _Context:
    """The topics as they were when the checkpoints were written; see `ports.RestoreContext`."""

    def __init__(
        self,
        source: Bases,
        bases: Mapping[str, Base],
        names: Names,
        decoders: Decoders,
        topics: tuple[Topic, ...],
        encode: Encoder[PositionState],
    ) -> None:
        self._encode = encode
        self._source = source
        self._bases = bases
        self._names = names
        self._decoders = decoders
        self._topics = {topic.name: topic for topic in topics}
        self._places = {topic.name: which for which, topic in enumerate(topics)}

    def committed(self, topic: str, partition: int) -> int:
        del partition
        which = self._places[topic]
        # A close changes rows for the record that follows it, which is not inside.
        rows = (row.inputs[which].offset + 1 for base in self._bases.values() for row in base.snapshot.positions if which < len(row.inputs))
        return max((*(base.ends[which] for base in self._bases.values()), *rows), default=0)

    def topic_id(self, topic: str) -> str:
        return self._topics[topic].topic_id

    def progress(self, what: str, done: int, total: int) -> None:
        """Tell nobody."""

    def read_all(self, topic: str, partitions: Sequence[int]) -> Iterator[Message]:
        if topic == self._names.positions:
            rows = (row for base in self._bases.values() for row in base.snapshot.positions)
            return (_Row(row.position_key, self._encode(row), partitions[0]) for row in rows)
        if topic == self._names.orders:
            return self._inside(topic, self._decoders.orders)
        if topic == self._names.correction_outcomes:
            return self._inside(topic, self._decoders.outcomes)
        return self._fills() if topic == self._names.fills else iter(())

    def read_all_below(self, topic: str, end_offsets: Mapping[int, int]) -> Iterator[Message]:
        del end_offsets
        which = self._places[topic]
        for message in self._source.read(topic):
            base = self._bases.get((message.key() or b"").decode(errors="replace"))
            if base is not None and message.offset() < base.ends[which]:
                yield message

    def _inside(self, topic: str, decode: Decoder[OrderEvent] | Decoder[CorrectionOutcome]) -> Iterator[Message]:
        for message in self._source.read(topic):
            event = decode(message.value() or b"")
            base = self._bases.get(event.account)
            if base is not None and event.source_offset < base.ends[self._places[event.source_topic]]:
                yield message

    def _fills(self) -> Iterator[Message]:
        """Yield the revisions inside: also those that the close itself made, whose source is the first record that is not inside."""
        over: set[str] = set()
        for message in self._source.read(self._names.fills):
            fill: FillEvent = self._decoders.fills(message.value() or b"")
            base = self._bases.get(fill.account)
            if base is None:
                continue
            if fill.source_offset < base.ends[self._places[fill.source_topic]]:
                yield message
            elif fill.account not in over:
                closing = (fill.source_topic, fill.source_offset) == (base.snapshot.source_topic, base.snapshot.source_offset)
                if closing and fill.cause == "FEES":
                    yield message
                else:
                    # From here on it is the record itself.
                    over.add(fill.account)
