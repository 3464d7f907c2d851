"""Folds the inputs of one partition anew, beside the live book and without a trace in any topic.

What folds is the ledger's own task, so that a shadow judges as a ledger does; only its outputs go nowhere. It takes the three inputs in the
order in which the live ledger took them (`domain/shadow.py`), and trusts the outcomes in one thing: a correction that was rejected then is
rejected now, because at which of the records between two changes it came is written nowhere else.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from execpos.codecs.avro import Decoder
from execpos.codecs.registry import Schemas
from execpos.domain import ids
from execpos.domain.account import Account
from execpos.domain.book import state_of
from execpos.domain.events import DeadLetter, PositionDelta
from execpos.domain.rules import Rules
from execpos.domain.shadow import INTENTS, RAW, Chain, Comparison, Merge, Place, Whole, compare
from execpos.domain.snapshot import open_orders
from execpos.kafka.ports import Cluster, Message, Reader, Span, TopicPartition
from execpos.kafka.restore import METADATA_S
from execpos.ledger.base import Bases, Ends
from execpos.ledger.outputs import RECORDS, Names
from execpos.ledger.reread import Reread
from execpos.ledger.restore import Decoders
from execpos.ledger.shadow_task import ShadowTask
from execpos.ledger.snapshots import DEFAULTS, SnapshotOptions
from execpos.ledger.state import PartitionState, Topic

# Longest wait for the next record of a topic.
_READ_S = 30.0

# Reasons that block a key until a table names what is traded; with today's tables it may count.
_UNKNOWN = frozenset({"unknown_instrument", "unknown_order_lot", "unknown_order_cond"})

# Records of one turn: some milliseconds of work, so that whoever shares the processor gets it in between.
_BATCH = 500

Progress = Callable[[int, int], None]
"""Told after each turn: records folded of this call, and how many there are. Must not block for long; what it raises ends the fold."""


def unheard(done: int, total: int) -> None:
    """Take no notice."""
    del done, total


class Shadow:
    """The book of one partition, or of some of its accounts, folded anew. One thread; every call blocks for what it reads.

    Args:
        prefix: of the topics.
        cluster: where the topics are.
        rules: as they are now; what they judge otherwise than then shows as a difference.
        schemas: what the registry says of our records.
        partition: of the account-keyed topics.
        accounts: their keys; empty for all of the partition.
        snapshots: when sessions are closed.
        since_checkpoint: begin at the newest checkpoint of each account instead of at the beginning.

    Raises:
        ContractError: the beginning of an input is past its retention and an account has no checkpoint after that.
        DependencyError: Kafka is not reachable.
    """

    def __init__(
        self,
        prefix: str,
        cluster: Cluster,
        rules: Rules,
        schemas: Schemas,
        partition: int,
        accounts: Sequence[str] = (),
        *,
        snapshots: SnapshotOptions = DEFAULTS,
        since_checkpoint: bool = False,
    ) -> None:
        self.partition = partition
        self.since: dict[str, str] = {}
        """Account → session whose checkpoint it began with; empty from the beginning."""
        self.records = 0
        self.seconds = 0.0
        self._cluster = cluster
        self._keys = frozenset(account.encode() for account in accounts)
        self._decoders = readers = Decoders.of(schemas)
        self._delta = Decoder(PositionDelta, schemas.writers[PositionDelta])
        self._letter = Decoder(DeadLetter, schemas.writers[DeadLetter])
        self._names = names = Names.of(prefix)
        self._inputs = (names.raw, names.intents, names.corrections)
        self._readers: dict[str, Reader] = {}
        self._reread = Reread(cluster, names.raw, readers.raw)
        self._task = ShadowTask(
            rules=rules,
            names=names,
            decoders=readers,
            schema_ids={record: schemas.ids[record] for record in RECORDS},
            partitions=cluster.partition_count(names.raw, METADATA_S),
            snapshots=snapshots,
            reread=self._reread,
        )
        self._read_to = dict.fromkeys((names.deltas, names.fills, names.correction_outcomes, names.dead_letters), 0)
        self._chains = {names.deltas: Chain(), names.fills: Chain()}
        # Keys that were blocked because no table named them; and (when, offset) of intents that came too late for a settled fill.
        self._unknown: set[str] = set()
        self._late: list[tuple[int, int]] = []
        # What comes where the chains have it and not where its topic does: those intents, and REBUILDs, which are answered later.
        self._soon: dict[Place, Message | None] = {}
        self._rebuilt: dict[Place, list[PositionDelta]] = {}
        self._next: Ends = (0, 0, 0)
        topic_ids = cluster.topic_ids(self._inputs, METADATA_S)
        topics = tuple(Topic(name, topic_ids[name]) for name in self._inputs)
        places = [TopicPartition(name, partition) for name in self._inputs]
        marks = cluster.watermarks(places, METADATA_S)
        lows = [marks[place].low for place in places]
        if since_checkpoint or any(lows):
            self._begin(Bases(cluster, names, schemas, partition, topics), rules, accounts, lows, newest=since_checkpoint)
        else:
            self._task.states[partition] = PartitionState(partition, rules, self._task.writer, topics, 1)

    def _begin(self, bases: Bases, rules: Rules, accounts: Sequence[str], lows: Sequence[int], *, newest: bool) -> None:
        """Begin at checkpoints."""
        try:
            chosen = bases.choose(accounts or bases.accounts(), lows, newest=newest)
            self._task.states[self.partition] = bases.restored(chosen, rules, self._task.writer)
        finally:
            bases.close()
        self._keys = frozenset(account.encode() for account in chosen)
        self._task.starts = {account: base.ends for account, base in chosen.items()}
        self.since = {account: base.snapshot.session_id for account, base in chosen.items()}
        raw, intents, corrections = (min((base.ends[which] for base in chosen.values()), default=lows[which]) for which in range(3))
        self._next = (raw, intents, corrections)

    def close(self) -> None:
        """Let go. A second call does nothing."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
        self._reread.close()

    # --- what it holds ---------------------------------------------------------------------------------------------------------------

    def account(self, key: str) -> Account:
        """Return an account as it is folded so far; an empty one if nothing is known of it."""
        return self._task.states[self.partition].pipeline.account(key)

    def whole(self, key: str) -> Whole:
        """Return the rows and the open orders of an account."""
        state = self._task.states[self.partition]
        account = self.account(key)
        topics = [(topic.name, topic.topic_id) for topic in state.topics]
        return Whole([state_of(row, topics, state.epoch) for row in account.book if row.version], open_orders(account))

    def compared(self, key: str, live: Whole) -> Comparison:
        """Compare an account with a live one at the same offsets."""
        return compare(key, live, self.whole(key))

    def left(self, ends: Ends) -> int:
        """Return how many offsets lie between what is folded and `ends`."""
        return sum(max(0, end - start) for start, end in zip(self._next, ends, strict=True))

    # --- the fold --------------------------------------------------------------------------------------------------------------------

    def fold(self, ends: Ends, progress: Progress = unheard) -> None:
        """Fold on up to `ends`, a moment between two records of the live ledger, all of whose outputs are committed.

        Raises:
            ContractError: an output is older than a record that it names, or the fold meets what a ledger does not go on from.
            DependencyError: Kafka is not reachable, or stopped answering.
        """
        began_s = time.monotonic()
        self._read_outputs()
        total, done = self.left(ends), 0
        merge = Merge(tuple(self._chains.values()))
        batch: list[Message] = []
        streams = [self._stream(which, ends[which]) for which in range(3)]
        for _, record in merge.merged(streams, self._soon, self._rebuilt):
            if isinstance(record, list):
                self._apply(batch)
                self._rebase(record)
            else:
                batch.append(record)
                if len(batch) >= _BATCH:
                    self._apply(batch)
                    done += _BATCH
                    progress(min(done, total), total)
        self._apply(batch)
        progress(total, total)
        self._next = ends
        self.seconds += time.monotonic() - began_s

    def _apply(self, batch: list[Message]) -> None:
        if batch:
            self._task.process(batch, _nowhere)
            self._task.committed()
            self.records += len(batch)
            batch.clear()

    def _rebase(self, deltas: Sequence[PositionDelta]) -> None:
        """Do what a REBUILD did to rows: they became their own bases. What it put right is right here from the start."""
        pipeline = self._task.states[self.partition].pipeline
        account = pipeline.account(deltas[0].account)
        seq = account.take_seqs(1)[0]
        for delta in deltas:
            for strategy_id, version in ((delta.strategy_id, delta.version_after), (ids.NET, delta.net_version_after)):
                position = account.book.position(delta.symbol, delta.book, strategy_id)
                position.last_seq, position.version = seq, version
                account.book.settle(position)
        pipeline.commit()

    def _stream(self, which: int, end: int) -> Iterator[Message]:
        """Yield the records of an input that concern us; a REBUILD comes by its deltas."""
        topic, start = self._inputs[which], self._next[which]
        if start >= end:
            return
        reader = self._reader(topic)
        for message in reader.read([Span(TopicPartition(topic, self.partition), start, end)], _READ_S):
            if self._keys and message.key() not in self._keys:
                continue
            place = Place(which, message.offset())
            if place in self._soon:
                self._soon[place] = message
            elif place not in self._rebuilt:
                yield message

    # --- what the ledger wrote -------------------------------------------------------------------------------------------------------

    def _read_outputs(self) -> None:
        """Read on in the outputs: chains, answers to corrections, and what was parked."""
        names = self._names
        for message in self._outputs(names.correction_outcomes):
            outcome = self._decoders.outcomes(message.value() or b"")
            if outcome.outcome == "REJECTED":
                self._task.rejected[outcome.source_offset] = outcome.reason
        for message in self._outputs(names.dead_letters):
            self._dead(self._letter(message.value() or b""))
        self._read_deltas()
        self._read_fills()

    def _read_deltas(self) -> None:
        """Add to the chain of deltas; note what a REBUILD did."""
        chain = self._chains[self._names.deltas]
        for message in self._outputs(self._names.deltas):
            delta = self._delta(message.value() or b"")
            place = self._place(delta.source_topic, delta.source_offset, delta.account)
            if place is None:
                continue
            if place.input == RAW:
                # One that marked a key has its place in the chain.
                self._task.parked.discard(place.offset)
            chain.add(place)
            if delta.cause == "REBUILD":
                self._rebuilt.setdefault(place, []).append(delta)

    def _read_fills(self) -> None:
        """Add to the chain of fills; an intent that changed none has its place there by the time at which it was handled."""
        chain, late = self._chains[self._names.fills], self._late
        for message in self._outputs(self._names.fills):
            fill = self._decoders.fills(message.value() or b"")
            while late and late[0][0] < fill.normalized_ts:
                self._put_late(chain, late.pop(0)[1])
            place = self._place(fill.source_topic, fill.source_offset, fill.account)
            if place is not None:
                chain.add(place)
        while late:
            self._put_late(chain, late.pop(0)[1])

    def _put_late(self, chain: Chain, offset: int) -> None:
        place = Place(INTENTS, offset)
        if chain.add(place):
            # One that moved fills of another order stands in the chain already.
            self._soon[place] = None

    def _dead(self, letter: DeadLetter) -> None:
        key = ids.join(*ids.split(letter.position_key)[:6])
        if letter.reason in _UNKNOWN:
            self._unknown.add(key)
        if letter.reason not in {"key_blocked", "settled"}:
            return
        if (self._keys and letter.account.encode() not in self._keys) or letter.source_topic not in self._inputs:
            return
        place = self._place(letter.source_topic, letter.source_offset, letter.account)
        if place is not None and letter.reason == "key_blocked" and key not in self._unknown:
            # An operator blocked the key, and which side of that the report came on stands in no chain.
            self._task.parked.add(letter.source_offset)
        elif place is not None and place.input == INTENTS:
            self._late.append((letter.ts, letter.source_offset))

    def _outputs(self, topic: str) -> Iterator[Message]:
        place = TopicPartition(topic, self.partition)
        low, high = self._cluster.watermarks([place], METADATA_S)[place]
        start = max(low, self._read_to[topic])
        self._read_to[topic] = high
        if start >= high:
            return
        # No topic is read twice at one time, so one reader each is enough.
        for message in self._reader(topic).read([Span(place, start, high)], _READ_S):
            # Dead letters have their source for a key.
            if not self._keys or message.key() in self._keys or topic == self._names.dead_letters:
                yield message

    def _place(self, topic: str, offset: int, account: str) -> Place | None:
        """Return the place of a record that an output names; None when it is inside the base."""
        which = self._inputs.index(topic)
        start = self._task.starts.get(account)
        return Place(which, offset) if start is None or offset >= start[which] else None

    def _reader(self, topic: str) -> Reader:
        found = self._readers.get(topic)
        if found is None:
            found = self._readers[topic] = self._cluster.reader()
        return found


def _nowhere(topic: str, partition: int, key: bytes, value: bytes) -> None:
    del topic, partition, key, value
