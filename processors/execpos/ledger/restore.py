"""Rebuilds the ledger's state of some partitions from what it wrote before, as of the committed offsets.

Positions give the rows, their bases and how far each input was applied; fills give dedupe and the entries that a refold needs; order
events give the orders; intents below the committed offset give the claims. Each row is then checked: base and entries must fold to it.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Protocol

import msgspec

from execpos.codecs.avro import Decoder
from execpos.codecs.registry import Schemas
from execpos.domain import ids
from execpos.domain.account import Account
from execpos.domain.book import entry_of
from execpos.domain.events import Correction, CorrectionOutcome, FillEvent, Intent, OrderEvent, PositionState, Progress, RawExecEvent
from execpos.domain.pipeline import check_intent
from execpos.domain.rules import Rules
from execpos.errors import ContractError, Park
from execpos.kafka.ports import Message, RestoreContext
from execpos.ledger import restore_corrections
from execpos.ledger.outputs import Names, Writer
from execpos.ledger.state import PartitionState, Topic
from execpos.telemetry.log import Logger

_log = Logger("ledger")

_REBUILD = "the state of this partition cannot be trusted; rebuild it from exec.raw as the manual says"


class Decoders(msgspec.Struct, frozen=True):
    """Readers of every record that the ledger consumes or restores from."""

    raw: Decoder[RawExecEvent]
    intents: Decoder[Intent]
    corrections: Decoder[Correction]
    outcomes: Decoder[CorrectionOutcome]
    orders: Decoder[OrderEvent]
    fills: Decoder[FillEvent]
    positions: Decoder[PositionState]
    progress: Decoder[Progress]

    @classmethod
    def of(cls, schemas: Schemas) -> "Decoders":
        """Return readers of what was written with any of our schemas."""
        return cls(
            raw=Decoder(RawExecEvent, schemas.writers[RawExecEvent]),
            intents=Decoder(Intent, schemas.writers[Intent]),
            corrections=Decoder(Correction, schemas.writers[Correction]),
            outcomes=Decoder(CorrectionOutcome, schemas.writers[CorrectionOutcome]),
            orders=Decoder(OrderEvent, schemas.writers[OrderEvent]),
            fills=Decoder(FillEvent, schemas.writers[FillEvent]),
            positions=Decoder(PositionState, schemas.writers[PositionState]),
            progress=Decoder(Progress, schemas.writers[Progress]),
        )


class Topics(Protocol):
    """The part of `ports.RestoreContext` that a restore reads from."""

    def committed(self, topic: str, partition: int) -> int: ...

    def read_all(self, topic: str, partitions: Sequence[int]) -> Iterator[Message]: ...

    def read_all_below(self, topic: str, end_offsets: Mapping[int, int]) -> Iterator[Message]: ...

    def topic_id(self, topic: str) -> str: ...

    def progress(self, what: str, done: int, total: int) -> None: ...


class Restorer:
    """Restores partitions; holds no state of its own between calls."""

    def __init__(self, rules: Rules, names: Names, decoders: Decoders, writer: Writer) -> None:
        self._rules = rules
        self._names = names
        self._decoders = decoders
        self._writer = writer
        self._inputs = (names.raw, names.intents, names.corrections)

    def restore(self, partitions: Sequence[int], context: RestoreContext) -> dict[int, PartitionState]:
        """Return the state of each partition. May block for long; writes nothing.

        Raises:
            ContractError: a topic was recreated, the state is ahead of the committed offsets, or a row is not what its fills make of it.
        """
        # A restore makes millions of objects and no rubbish: the collector would walk them again and again, a fifth of the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            states = self.build(partitions, context)
        finally:
            if collecting:
                gc.enable()
        # What stands now stays for days; a walk over it would hold up the reports that come meanwhile for most of a second.
        gc.freeze()
        return states

    def build(self, partitions: Sequence[int], context: Topics) -> dict[int, PartitionState]:
        """Do what `restore` does, and leave the collector alone."""
        topics = tuple(Topic(name, context.topic_id(name)) for name in self._inputs)
        states = {partition: PartitionState(partition, self._rules, self._writer, topics, 1) for partition in partitions}
        for state in states.values():
            for which, name in enumerate(self._inputs):
                state.offsets[which] = context.committed(name, state.partition) - 1
        self._progress(states, context)
        self._positions(states, context)
        self._orders(states, context)
        restore_corrections.restore(states, context, self._names.correction_outcomes, self._decoders.outcomes)
        self._fills(states, context)
        self._claims(states, context)
        for state in states.values():
            for account in state.pipeline.accounts.values():
                account.trim()
            state.pipeline.commit()
        return states

    def _progress(self, states: dict[int, PartitionState], context: Topics) -> None:
        for value in _latest(context.read_all(self._names.progress, list(states))).values():
            progress = self._decoders.progress(value)
            state = states[progress.partition]
            state.epoch = progress.ledger_epoch + 1
            state.bridges = {(bridge.account, bridge.bridge_id): bridge for bridge in progress.bridges}
            state.restore_accounts(progress.accounts)
            for which, item in enumerate(progress.inputs):
                _check_input(state, which, item.topic_id, item.offset, f"progress of partition {state.partition}")

    def _positions(self, states: dict[int, PartitionState], context: Topics) -> None:
        # Key only: all but the newest of each are never decoded. A tombstone has no value.
        latest = {message.key(): message for message in context.read_all(self._names.positions, list(states))}
        for message in latest.values():
            value = message.value()
            if value is None:
                continue
            position = self._decoders.positions(value)
            state = states[message.partition()]
            for which, item in enumerate(position.inputs):
                _check_input(state, which, item.topic_id, item.offset, f"position {position.position_key}")
            account = state.pipeline.account(position.account)
            account.book.restore(position)
            if position.last_session_id:
                account.newest = max(account.newest, ids.session_ordinal(position.last_session_id))
            account.next_seq = max(account.next_seq, position.last_fill_seq + 1)

    def _orders(self, states: dict[int, PartitionState], context: Topics) -> None:
        decode = self._decoders.orders
        for message in context.read_all(self._names.orders, list(states)):
            event = decode(message.value() or b"")
            account = states[message.partition()].pipeline.account(event.account)
            if ids.session_ordinal(event.session_id) >= account.oldest_session():
                account.restore_order(event)

    def _fills(self, states: dict[int, PartitionState], context: Topics) -> None:
        """Read the fills that the window holds: the log from the first one in a session of the window on, newest revision of each."""
        decode = self._decoders.fills
        latest: dict[str, dict[str, FillEvent]] = {}
        for message in context.read_all(self._names.fills, list(states)):
            fill = decode(message.value() or b"")
            found = latest.get(fill.account)
            if found is None:
                states[message.partition()].pipeline.account(fill.account)  # one that has nothing but a void that waits for its fill
                found = latest[fill.account] = {}
            found[fill.fill_id] = fill
        for state in states.values():
            for account in state.pipeline.accounts.values():
                fills = sorted(latest.pop(account.key, {}).values(), key=attrgetter("fill_seq"))
                self._replay(account, fills)
                account.restore_fills(_within_window(account, fills))
                # All revisions of a fill have one place in the log.
                self._prove(account, fills[0].fill_seq if fills else account.next_seq)

    def _replay(self, account: Account, fills: list[FillEvent]) -> None:
        rows, replay = account.book.rows, account.book.replay
        for fill in fills:
            if fill.voided:
                continue
            entry = entry_of(fill)
            for strategy_id in (fill.strategy_id, ids.NET):
                position = rows.get((fill.symbol, fill.book, strategy_id))
                if position is None:
                    raise ContractError(f"fill {fill.fill_id} has no row for {strategy_id} on its partition", hint=_REBUILD)
                replay(position, entry)

    def _prove(self, account: Account, first_seq: int) -> None:
        for position in account.book:
            if account.book.proven(position):
                continue
            if first_seq <= max(position.base_seq, 0) + 1:
                raise ContractError(f"position {position.key} is not what its base and fills make of it", hint=_REBUILD)
            # Fills of its window are past the retention of their topic: the row stands, but they can no longer be moved or voided.
            account.book.settle(position)
            account.close_window()
            _log.warning("row_rebased", position=position.key, first_fill_seq=first_seq, base_seq=position.base_seq)

    def _claims(self, states: dict[int, PartitionState], context: Topics) -> None:
        ends = {partition: context.committed(self._names.intents, partition) for partition in states}
        decode = self._decoders.intents
        for message in context.read_all_below(self._names.intents, ends):
            try:
                intent = decode(message.value() or b"")
                ordinal = check_intent(intent)
            except Park:
                continue  # it went to the dead letters when it was processed
            account = states[message.partition()].pipeline.account(intent.account)
            if ordinal >= account.oldest_session():
                account.claim(intent, message.offset())


def _within_window(account: Account, fills: list[FillEvent]) -> list[FillEvent]:
    """Return what the window holds: everything from the first fill on whose session lies in it."""
    oldest = account.oldest_session()
    for index, fill in enumerate(fills):
        if ids.session_ordinal(fill.session_id) >= oldest:
            return fills[index:]
    return []


def _latest(messages: Iterator[Message]) -> dict[bytes, bytes]:
    latest: dict[bytes, bytes] = {}
    for message in messages:
        value = message.value()
        if value is None:
            latest.pop(message.key() or b"", None)
        else:
            latest[message.key() or b""] = value
    return latest


def _check_input(state: PartitionState, which: int, topic_id: str, offset: int, what: str) -> None:
    topic = state.topics[which]
    if offset >= 0 and topic_id != topic.topic_id:
        raise ContractError(
            f"{what} was made from topic {topic.name} with id {topic_id}, which was deleted; the one of that name now is {topic.topic_id}",
            hint=_REBUILD,
        )
    if offset > state.offsets[which]:
        raise ContractError(
            f"{what} has applied {topic.name} up to offset {offset}, but the group committed only up to {state.offsets[which]}",
            hint="the group's offsets were reset or lost; " + _REBUILD,
        )
