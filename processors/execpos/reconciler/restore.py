"""What the reconciler knows at a start, from what stands on the topics; a round that was under way is not among it, and begins anew.

Differences come from exec.discrepancies, what it said of trading and what operators said from exec.control, the accounts themselves from
these and exec.heartbeats. Fills below the committed offset tell a broker's list that is late from a fill that is missing, so those of the
last minutes are read; of an account that was never compared those of the day, because its opening balance is what they leave over.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from execpos.codecs.avro import Decoder
from execpos.domain import control
from execpos.domain.events import Discrepancy, FillEvent, TradingControl
from execpos.domain.reconciliation.discrepancies import terminal
from execpos.errors import Park
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import Cluster, Message, RestoreContext, Span, TopicPartition
from execpos.kafka.restore import IDLE_S, METADATA_S
from execpos.reconciler.controls import is_own
from execpos.reconciler.held import Decoders
from execpos.reconciler.outputs import Names
from execpos.telemetry.log import Logger

# A difference that is settled stays of use for the budgets of its trading date, and a trading date lasts through the longest holidays.
_SETTLED_US = 21 * 86_400_000_000

# Taipei has kept UTC+8 since 1979, and a day's trading begins after midnight there.
_DAY_US = 86_400_000_000
_TAIPEI_US = 8 * 3_600_000_000

_log = Logger("reconciler")

T = TypeVar("T", bound=msgspec.Struct)


class Memory(msgspec.Struct, frozen=True):
    """What stands on the topics of the accounts of one partition.

    Attributes:
        accounts: those that have to be watched from the start on; others may come.
        discrepancies: account -> the newest record of each, those settled long ago left out.
        controls: the newest record of each key of exec.control, by account.
        heard: the end of exec.control up to which `controls` reaches.
        fills: account -> its latest fills, in the order of their log.
    """

    accounts: tuple[str, ...] = ()
    discrepancies: Mapping[str, tuple[Discrepancy, ...]] = {}
    controls: Mapping[str, tuple[TradingControl, ...]] = {}
    heard: int = 0
    fills: Mapping[str, tuple[FillEvent, ...]] = {}


class Restorer:
    """Reads what a start needs; holds no state of its own between calls.

    Args:
        cluster: where the topics are.
        names: topics.
        decoders: readers of their records.
        partitions: count of the account-keyed topics.
        discrepancy_partitions: count of exec.discrepancies.
        lag_us: how far back fills are of use.
        clock_us: UTC in µs.
    """

    def __init__(
        self,
        cluster: Cluster,
        names: Names,
        decoders: Decoders,
        *,
        partitions: int,
        discrepancy_partitions: int,
        lag_us: int,
        clock_us: Callable[[], int],
    ) -> None:
        self._cluster = cluster
        self._names = names
        self._decoders = decoders
        self._partitions = partitions
        self._discrepancy_partitions = discrepancy_partitions
        self._lag_us = lag_us
        self._clock_us = clock_us

    def restore(self, partitions: Sequence[int], context: RestoreContext) -> dict[int, Memory]:
        """Return what is known of each partition. May block for long; writes nothing."""
        mine = frozenset(partitions)
        discrepancies = self._discrepancies(mine, context)
        controls, own = self._controls(mine, context)
        accounts = self._beating(partitions, context)
        for account, known in discrepancies.items():
            if not all(map(terminal, known)):
                accounts[self._partition(account)].add(account)
        for account in own:
            accounts[self._partition(account)].add(account)
        compared = discrepancies.keys() | controls.keys()
        strangers = any(account not in compared for some in accounts.values() for account in some)
        now_us = self._clock_us()
        fills = self._fills(partitions, context, of_use_us(now_us, self._lag_us) if strangers else now_us - self._lag_us)
        heard = context.high_watermark(self._names.control, 0)

        def of(partition: int, known: Mapping[str, list[T]]) -> dict[str, tuple[T, ...]]:
            return {account: tuple(some) for account, some in known.items() if self._partition(account) == partition}

        return {
            partition: Memory(
                tuple(sorted(accounts[partition])),
                of(partition, discrepancies),
                of(partition, controls),
                heard,
                of(partition, fills),
            )
            for partition in partitions
        }

    def _partition(self, account: str) -> int:
        return partition_for(account.encode(), self._partitions)

    def _discrepancies(self, mine: frozenset[int], context: RestoreContext) -> dict[str, list[Discrepancy]]:
        found: dict[str, list[Discrepancy]] = defaultdict(list)
        since_us = self._clock_us() - _SETTLED_US
        topic = self._names.discrepancies
        for value in _newest(context.read_all(topic, range(self._discrepancy_partitions))).values():
            discrepancy = _read(self._decoders.discrepancies, value)
            if discrepancy is None or self._partition(discrepancy.account) not in mine:
                continue
            if not terminal(discrepancy) or discrepancy.updated_ts >= since_us:
                found[discrepancy.account].append(discrepancy)
        for some in found.values():
            some.sort(key=lambda one: (one.opened_ts, one.discrepancy_id))
        return found

    def _controls(self, mine: frozenset[int], context: RestoreContext) -> tuple[dict[str, list[TradingControl]], set[str]]:
        """Return what every source said last of each account and its symbols, and the accounts of which we have said something."""
        found: dict[str, list[TradingControl]] = defaultdict(list)
        own: set[str] = set()
        newest = _newest(context.read(self._names.control, 0))
        for key, value in newest.items():
            said = _read(self._decoders.controls, value)
            account = account_of(said.scope) if said is not None else ""
            if said is None or not account or self._partition(account) not in mine:
                continue
            if control.covers(said.scope, account):
                found[account].append(said)
                if is_own(key) and said.latched:
                    own.add(account)
        return found, own

    def _beating(self, partitions: Sequence[int], context: RestoreContext) -> dict[int, set[str]]:
        """Return the accounts of which a bridge has spoken lately. By their keys alone: what a bridge said before is old."""
        found: dict[int, set[str]] = {partition: set() for partition in partitions}
        topic = self._names.heartbeats
        for message in context.read_all_below(topic, {partition: context.committed(topic, partition) for partition in partitions}):
            account = account_of((message.key() or b"").decode(errors="replace"))
            if account and message.value() is not None and self._partition(account) == message.partition():
                found[message.partition()].add(account)
        return found

    def _fills(self, partitions: Sequence[int], context: RestoreContext, since_us: int) -> dict[str, list[FillEvent]]:
        """Return the fills since a moment that are processed already. The topic holds weeks, so it is read from there on."""
        topic = self._names.fills
        tps = [TopicPartition(topic, partition) for partition in partitions]
        starts = self._cluster.offsets_at(tps, since_us // 1000, METADATA_S)
        ends = {tp: context.committed(topic, tp.partition) for tp in tps}
        spans = [Span(tp, start, ends[tp]) for tp, start in starts.items() if start < ends[tp]]
        found: dict[str, list[FillEvent]] = defaultdict(list)
        reader = self._cluster.reader()
        try:
            for message in reader.read(spans, IDLE_S, lambda: context.progress(topic, 0, 0)) if spans else ():
                fill = _read(self._decoders.fills, message.value() or b"")
                if fill is not None:
                    found[fill.account].append(fill)
        finally:
            reader.close()
        return found


def of_use_us(now_us: int, lag_us: int) -> int:
    """Return the moment before which a fill says nothing to a reconciler any more: midnight in Taipei, or the last minutes."""
    midnight_us = (now_us + _TAIPEI_US) // _DAY_US * _DAY_US - _TAIPEI_US
    return min(midnight_us, now_us - lag_us)


def account_of(text: str) -> str:
    """Return the account key that a text is or begins with, as a scope does; empty when it is none."""
    parts = text.split("|")
    return "|".join(parts[:4]) if len(parts) in {4, 5} and all(parts[:4]) and parts[1] in {"S", "F"} else ""


def _newest(messages: Iterator[Message]) -> dict[bytes, bytes]:
    newest: dict[bytes, bytes] = {}
    for message in messages:
        value = message.value()
        if value is None:
            newest.pop(message.key() or b"", None)
        else:
            newest[message.key() or b""] = value
    return newest


def _read(decode: Decoder[T], value: bytes) -> T | None:
    try:
        return decode(value)
    except Park as park:
        # Nothing of ours is unreadable, so somebody else wrote it: it takes part in nothing.
        _log.warning("record_unreadable", reason=park.reason)
        return None
