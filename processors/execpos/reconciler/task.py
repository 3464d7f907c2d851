"""The reconciler's task: what bridge, ledger and operators say of the accounts of a partition in, what follows from it out.

The rules are `domain.reconcile`; here are the records, and states that an abort takes back. What others say on exec.control is read beside
the loop (`controls.Watch`) and acted on at a tick, because that topic has one partition and is no input of the group.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from execpos.codecs.avro import Decoder
from execpos.domain import limits
from execpos.domain.events import BridgeHeartbeat, Command, Discrepancy, FillEvent, ReconciliationRound, TradingControl
from execpos.domain.reconciliation import reconcile
from execpos.domain.reconciliation.pace import Pace
from execpos.domain.reconciliation.reconcile import Record
from execpos.domain.reconciliation.state import Output as Decided
from execpos.domain.reconciliation.state import Rules, State
from execpos.errors import Park
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import Message, Output, RestoreContext
from execpos.reconciler import backlog, parts, tally
from execpos.reconciler.controls import Since
from execpos.reconciler.held import Decoders, Held
from execpos.reconciler.outputs import Names, Writer
from execpos.reconciler.restore import Memory, Restorer, account_of, of_use_us
from execpos.telemetry.log import Logger

# A time-out is noticed this late at most, and a beat of a second comes within 1.25 s; each costs a transaction of a few ms.
_TICK_S = 0.25

# Gauges are for a page that is read every few seconds.
_MEASURE_S = 1.0

# What an operator did without us, and wants written down only.
_NOT_OURS = frozenset({"HALT", "RESUME", "REBUILD"})

_log = Logger("reconciler")

T = TypeVar("T", bound=msgspec.Struct)


class Mind(Protocol):
    """Decides; `domain.reconcile` is one."""

    def begin(
        self,
        account: str,
        rules: Rules,
        now_us: int,
        discrepancies: Iterable[Discrepancy],
        controls: Iterable[TradingControl],
        fills: Iterable[FillEvent] = (),
    ) -> State: ...

    def step(self, state: State, record: Record | None, now_us: int, rules: Rules, pace: Pace = ...) -> Decided: ...

    def hear(self, state: State, beat: BridgeHeartbeat, now_us: int, rules: Rules) -> State: ...


def _clock_us() -> int:
    return time.time_ns() // 1000


class ReconcilerTask:
    """Implements `execpos.kafka.ports.Task` for the reconciler.

    Args:
        rules: the domain's rules.
        pace: of a bridge that nothing was asked of yet.
        names: topics.
        decoders: readers of the records that it consumes or restores from.
        writer: of what it makes.
        restorer: what it knows at a start.
        partitions: count of the account-keyed topics, to find records on a wrong partition.
        instance: name of this process, for rounds.
        since: what others say on exec.control.
        clock_us: UTC in µs.
        mind: what decides.
    """

    def __init__(
        self,
        *,
        rules: Rules,
        pace: Pace,
        names: Names,
        decoders: Decoders,
        writer: Writer,
        restorer: Restorer,
        partitions: int,
        instance: str,
        since: Since,
        clock_us: Callable[[], int] = _clock_us,
        mind: Mind = reconcile,
    ) -> None:
        self.accounts: dict[str, Held] = {}
        """What is committed of each account."""
        self.tally = tally.Tally()
        self._rules = rules
        self._pace = pace
        self._names = names
        self._decoders = decoders
        self._writer = writer
        self._restorer = restorer
        self._partitions = partitions
        self._instance = instance
        self._since = since
        self._clock_us = clock_us
        self._mind = mind
        # What the open transaction makes of the accounts and of the bridges' paces; it stands above what is committed.
        self._changed: dict[str, Held] = {}
        self._paces: dict[str, Pace] = {}
        self._asked: dict[str, Pace] = {}
        self._memory: dict[int, Memory] = {}
        # Offsets of the records in the batch that a newer one of the same kind and key follows, of topics that say how something is.
        self._overtaken: frozenset[tuple[str, int, int]] = frozenset()
        self._now = 0
        self._now_s = self._due_s = self._measured_s = 0.0
        # Topic -> what takes its records.
        self._inputs: dict[str, Callable[[Message, Output], None]] = {
            names.commands: self._command,
            names.broker_snapshots: self._answer,
            names.snapshots: self._book,
            names.correction_outcomes: self._plain(decoders.outcomes),
            names.heartbeats: self._heartbeat,
            names.fills: self._fill,
            names.progress: self._progress,
            names.dead_letters: self._dead_letter,
        }

    @property
    def input_topics(self) -> tuple[str, ...]:
        return tuple(self._inputs)

    def restore(self, partitions: Sequence[int], context: RestoreContext) -> None:
        self._tell_time()
        for partition, memory in self._restorer.restore(partitions, context).items():
            self._memory[partition] = memory
            for account in memory.accounts:
                self.accounts[account] = self._begun(account, partition)
        self._due_s = 0.0

    def revoke(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self._memory.pop(partition, None)
        self.accounts = {account: held for account, held in self.accounts.items() if held.partition in self._memory}

    def due(self, now_monotonic_s: float) -> bool:
        self._now_s = now_monotonic_s
        return bool(self.accounts) and now_monotonic_s >= self._due_s

    def process(self, batch: Sequence[Message], out: Output) -> None:
        self._tell_time()
        self._overtaken = backlog.overtaken(batch, (self._names.heartbeats, self._names.progress))
        for message in batch:
            if message.value() is None:
                continue  # compaction's way to say that a key is gone
            try:
                self._inputs[message.topic()](message, out)
            except Park as park:
                self._pass_over(message, park)

    def tick(self, out: Output) -> None:
        self._tell_time()
        for account in self._known():
            held = self._held(account)
            for heard in self._since(account, held.heard):
                self._step(account, heard.said, out)
                self._keep(account, heard=heard.offset + 1)
            self._step(account, None, out)
        self._due_s = self._now_s + _TICK_S

    def committed(self) -> None:
        words = [
            (account, before.word, held.word)
            for account, held in self._changed.items()
            if (before := self.accounts.get(account)) is not None and before.word != held.word and before.word
        ]
        self.accounts.update(self._changed)
        self._paces.update(self._asked)
        self._changed.clear()
        self._asked.clear()
        self.tally.committed(words)
        if self._now_s - self._measured_s >= _MEASURE_S:
            self._measured_s = self._now_s
            tally.measure(self.accounts.values(), self._now)

    def rolled_back(self) -> None:
        self._changed.clear()
        self._asked.clear()
        self.tally.drop()
        self._due_s = 0.0

    # --- one record --------------------------------------------------------------------------------------------------------------------

    def _plain(self, decode: Decoder[Any]) -> Callable[[Message, Output], None]:
        def take(message: Message, out: Output) -> None:
            record = self._read(decode, message)
            self._begin(record.account, message.partition())
            self._step(record.account, record, out)

        return take

    def _command(self, message: Message, out: Output) -> None:
        command = self._decoders.commands(message.value() or b"")
        if command.kind in _NOT_OURS:
            return
        self._check(command.account, message)
        if command.account in self._changed or command.account in self.accounts:
            self._step(command.account, command, out)
        else:
            self._refuse(command, message.partition(), out)

    def _answer(self, message: Message, out: Output) -> None:
        part = self._read(self._decoders.broker_snapshots, message)
        held = self._begin(part.account, message.partition())
        answers, whole = parts.answer(held.answers, part)
        self._keep(part.account, answers=answers)
        if whole is not None:
            self._step(part.account, whole, out)

    def _book(self, message: Message, out: Output) -> None:
        part = self._read(self._decoders.snapshots, message)
        held = self._begin(part.account, message.partition())
        books, whole = parts.book(held.books, part)
        self._keep(part.account, books=books)
        if whole is not None:
            self._step(part.account, whole, out)

    def _heartbeat(self, message: Message, out: Output) -> None:
        heartbeat: BridgeHeartbeat = self._read(self._decoders.heartbeats, message)
        account, bridge_id = heartbeat.account, heartbeat.bridge_id
        self._begin(account, message.partition())
        self._keep(account, bridge_id=bridge_id)
        if self._is_overtaken(message):
            # An hour of beats after a restart: each may tell of a gap, and only the last of them how things are.
            self._keep(account, state=self._mind.hear(self._held(account).state, heartbeat, self._now, self._rules))
            return
        self._asked[bridge_id] = self._pace_of(bridge_id).heard(heartbeat, self._now)
        self._step(account, heartbeat, out)

    def _fill(self, message: Message, out: Output) -> None:
        # A first start finds weeks of them.
        if message.timestamp()[1] * 1000 < of_use_us(self._now, self._rules.lag_us):
            return
        fill: FillEvent = self._read(self._decoders.fills, message)
        self._begin(fill.account, message.partition())
        self._step(fill.account, fill, out)

    def _progress(self, message: Message, out: Output) -> None:
        if self._is_overtaken(message):
            return  # the next one says all that this one does
        progress = self._decoders.progress(message.value() or b"")
        for account in self._known():
            if self._held(account).partition == message.partition():
                self._step(account, progress, out)

    def _dead_letter(self, message: Message, out: Output) -> None:
        letter = self._decoders.dead_letters(message.value() or b"")
        for account in self._known():
            # One that names no account may concern any of its partition.
            if account == letter.account or (not letter.account and self._held(account).partition == message.partition()):
                self._step(account, letter, out)

    def _is_overtaken(self, message: Message) -> bool:
        return (message.topic(), message.partition(), message.offset()) in self._overtaken

    def _read(self, decode: Decoder[T], message: Message) -> T:
        """Return the record of one account.

        Raises:
            Park: it cannot be read, or does not belong where it stands.
        """
        record: Any = decode(message.value() or b"")
        self._check(record.account, message)
        return record  # type: ignore[no-any-return]  # what the decoder gave, read for its account in between

    def _check(self, account: str, message: Message) -> None:
        key = message.key() or b""
        if key != account.encode() or len(key) > limits.ACCOUNT_BYTES_MAX or account_of(account) != account:
            raise Park("wrong_account", f"the record's key is {key[:80]!r}, its account {account[:80]!r}")
        if partition_for(key, self._partitions) != message.partition():
            raise Park("wrong_partition", f"key {key!r} does not belong on partition {message.partition()}")

    def _pass_over(self, message: Message, park: Park) -> None:
        name = message.topic().removeprefix(self._names.commands.removesuffix("exec.commands.v1"))
        self.tally.unreadable(name)
        _log.warning(
            "record_unreadable",
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
            reason=park.reason,
            detail=park.what,
        )

    def _refuse(self, command: Command, partition: int, out: Output) -> None:
        """Answer a command for an account of which neither bridge nor ledger has ever spoken."""
        now = self._now
        ended = ReconciliationRound(
            round_id=reconcile.round_id(now, command.account),
            account=command.account,
            triggers=("COMMAND",),
            verdict="REFUSED",
            began_ts=now,
            ended_ts=now,
            reads=0,
            keys_compared=0,
            equal=0,
            moved=0,
            discrepancies=(),
            corrections=(),
            broker_calls=0,
            command_ids=(command.command_id,),
            state="HALTED",
            detail="no bridge and no ledger has spoken of this account",
            instance=self._instance,
            ts=now,
        )
        self._writer.round(out, partition, ended)

    # --- accounts ----------------------------------------------------------------------------------------------------------------------

    def _known(self) -> Iterator[str]:
        """Yield every account, those that this transaction has begun too; it may change meanwhile."""
        yield from list(self.accounts)
        yield from [account for account in self._changed if account not in self.accounts]

    def _held(self, account: str) -> Held:
        held = self._changed.get(account)
        return self.accounts[account] if held is None else held

    def _keep(self, account: str, **changes: Any) -> None:
        self._changed[account] = msgspec.structs.replace(self._held(account), **changes)

    def _begin(self, account: str, partition: int) -> Held:
        """Return what is kept of an account, beginning with it when it is new."""
        held = self._changed.get(account) or self.accounts.get(account)
        if held is None:
            held = self._changed[account] = self._begun(account, partition)
        return held

    def _begun(self, account: str, partition: int) -> Held:
        memory = self._memory[partition]
        state = self._mind.begin(
            account,
            self._rules,
            self._now,
            memory.discrepancies.get(account, ()),
            memory.controls.get(account, ()),
            memory.fills.get(account, ()),
        )
        _log.info("account_begun", account=account, partition=partition)
        return Held(
            partition, state, memory.heard, equal_us=self._now, differences=tally.differences(memory.discrepancies.get(account, ()))
        )

    def _step(self, account: str, record: Record | None, out: Output) -> None:
        held = self._held(account)
        pace = self._pace_of(held.bridge_id)
        decided = self._mind.step(held.state, record, self._now, self._rules, pace)
        self._changed[account] = tally.noted(held, account, decided, self._now)
        if decided.requests:
            self._asked[held.bridge_id] = pace.after(decided.requests, self._now)
        self._writer.write(out, held.partition, decided)
        self.tally.add(decided)

    def _pace_of(self, bridge_id: str) -> Pace:
        return self._asked.get(bridge_id) or self._paces.get(bridge_id) or self._pace

    def _tell_time(self) -> None:
        # A clock that is set back must not make time run backwards for what was decided already.
        self._now = max(self._now, self._clock_us())
