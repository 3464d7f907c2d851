"""Topics on the in-memory twin as a reconciler sees them, records to put there, and a mind that only writes down what it was told."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import msgspec
import pytest

from client_world import IDS, WRITERS, blank
from execpos import settings
from execpos.codecs.avro import Decoder, Encoder
from execpos.codecs.registry import Schemas
from execpos.domain import control
from execpos.domain.events import (
    BridgeHeartbeat,
    BrokerRequest,
    BrokerSnapshot,
    Command,
    Correction,
    CorrectionOutcome,
    DeadLetter,
    Discrepancy,
    FillEvent,
    PositionSnapshot,
    Progress,
    ReconciliationRound,
    TradingControl,
)
from execpos.domain.reconciliation.pace import UNPACED, Pace
from execpos.domain.reconciliation.state import Output, Rules, State
from execpos.kafka.loop import Loop, LoopLimits
from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.clock import VirtualClock
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import TopicPartition, no_fault
from execpos.reconciler import service
from execpos.reconciler.controls import Watch
from execpos.reconciler.held import Decoders
from execpos.reconciler.outputs import Names
from execpos.reconciler.rules import rules as rules_of
from execpos.reconciler.task import Mind, ReconcilerTask

T = TypeVar("T", bound=msgspec.Struct)

PREFIX = "t."
PARTITIONS = 3
NAMES = Names.of(PREFIX)
SCHEMAS = Schemas(ids=IDS, writers=WRITERS)
# Thursday 2026-05-21, 10:41:28 in Taipei.
MORNING_S = 1_779_331_288
ACCOUNTS = tuple(f"simulation|S|9A95|{number}" for number in range(1, 5))
BRIDGE = "bridge-0"
# Those of the configuration as it is shipped.
RULES = rules_of(settings.load(None), "one")

_TOPICS: dict[type[msgspec.Struct], str] = {
    Command: NAMES.commands,
    BrokerSnapshot: NAMES.broker_snapshots,
    PositionSnapshot: NAMES.snapshots,
    CorrectionOutcome: NAMES.correction_outcomes,
    BridgeHeartbeat: NAMES.heartbeats,
    FillEvent: NAMES.fills,
    Discrepancy: NAMES.discrepancies,
}
_COUNTS = {NAMES.control: 1, NAMES.discrepancies: 2}


class Seen(msgspec.Struct, frozen=True):
    """What the scribe knows of an account: what it began with, all it was told since, and what was overtaken before it was told."""

    account: str
    known: tuple[str, ...]
    told: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    beat_us: int = 0


class Scribe:
    """A mind that answers each record with a round named after it, and some with more; so that each shows once, or twice."""

    def begin(
        self,
        account: str,
        rules: Rules,
        now_us: int,
        discrepancies: Iterable[Discrepancy],
        controls: Iterable[TradingControl],
        fills: Iterable[FillEvent] = (),
    ) -> State:
        known = [*(one.discrepancy_id for one in discrepancies), *(said.control_id for said in controls), *(one.fill_id for one in fills)]
        return cast("State", Seen(account, tuple(known)))

    def step(self, state: State, record: Any, now_us: int, rules: Rules, pace: Pace = UNPACED) -> Output:
        seen = cast("Seen", state)
        account = seen.account
        if record is None:
            if now_us - seen.beat_us < 1_000_000:
                return Output(state)
            said = blank(TradingControl, scope=account, source="reconciler", state="ACTIVE", control_id=f"c-{now_us}", ts=now_us)
            return Output(cast("State", msgspec.structs.replace(seen, beat_us=now_us)), controls=(said,))
        name = label(record)
        after = cast("State", msgspec.structs.replace(seen, told=(*seen.told, name)))
        made = blank(ReconciliationRound, account=account, round_id=name, verdict="EQUAL", broker_calls=1)
        requests: tuple[BrokerRequest, ...] = ()
        if isinstance(record, BridgeHeartbeat) and pace.free(now_us) >= 2:
            requests = (blank(BrokerRequest, request_id=name, account=account, what=("POSITIONS",), reads=2),)
        corrections = (blank(Correction, correction_id=name, account=account),) if isinstance(record, BrokerSnapshot) else ()
        opened = (
            (blank(Discrepancy, discrepancy_id=name, account=account, status="OPEN", kind="QUANTITY", updated_ts=now_us),)
            if isinstance(record, CorrectionOutcome)
            else ()
        )
        return Output(after, requests=requests, corrections=corrections, discrepancies=opened, rounds=(made,))

    def hear(self, state: State, beat: BridgeHeartbeat, now_us: int, rules: Rules) -> State:
        seen = cast("Seen", state)
        return cast("State", msgspec.structs.replace(seen, heard=(*seen.heard, label(beat))))


def label(record: msgspec.Struct) -> str:
    """Return the name under which a record is written down."""
    names = ("command_id", "request_id", "correction_id", "snapshot_id", "fill_id", "control_id", "claim_id", "instance", "detail")
    name = next(str(value) for field in names if (value := getattr(record, field, "")))
    size = len(getattr(record, "positions", ()))
    return f"{name}({size})" if size else name


class World:
    """Topics, and what bridges, ledger and operators write."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.clock.sleep(MORNING_S - self.clock())
        self.broker = MemoryBroker(self.clock, self.clock.sleep)
        self.cluster = MemoryCluster(self.broker)
        for topic in msgspec.structs.astuple(NAMES):
            self.broker.create(topic, _COUNTS.get(topic, PARTITIONS))
        self._count = 0

    def now_us(self) -> int:
        return int(self.clock() * 1e6)

    def put(self, record: msgspec.Struct, partition: int | None = None, key: bytes | None = None) -> None:
        """Write a record where it belongs, or where it does not."""
        if isinstance(record, TradingControl):
            topic, of = NAMES.control, control.key(record.scope, record.source)
            partition = 0
        elif isinstance(record, Progress):
            topic, of, partition = NAMES.progress, str(record.partition), record.partition
        elif isinstance(record, DeadLetter):
            topic, of, partition = NAMES.dead_letters, "t.exec.raw.v1-0", record.source_partition
        else:
            topic = _TOPICS[type(record)]
            of = record.discrepancy_id if isinstance(record, Discrepancy) else cast("Any", record).account
        place = key if key is not None else of.encode()
        count = _COUNTS.get(topic, PARTITIONS)
        value = Encoder(type(record), IDS[type(record)])(record)
        self.broker.append(TopicPartition(topic, partition_for(place, count) if partition is None else partition), place, value)

    def partition(self, account: str) -> int:
        return partition_for(account.encode(), PARTITIONS)

    def heartbeat(self, account: str, **fields: Any) -> str:
        plain = {"kind": "BEAT", "session": "up", "bridge_id": BRIDGE, "remaining_accounting": 20, "ts": self.now_us()}
        return self._named(BridgeHeartbeat, "claim_id", account, **plain | fields)

    def command(self, account: str, kind: str = "RECONCILE") -> str:
        return self._named(Command, "command_id", account, kind=kind)

    def outcome(self, account: str) -> str:
        return self._named(CorrectionOutcome, "correction_id", account)

    def fill(self, account: str) -> str:
        return self._named(FillEvent, "fill_id", account, digest=b"12345678", side="BUY", market="S")

    def _named(self, record: type[T], field: str, account: str, **fields: Any) -> str:
        self._count += 1
        name = f"{record.__name__}-{self._count}"
        self.put(blank(cast("Any", record), **{field: name, "account": account, **fields}))
        return name

    def watch(self) -> Watch:
        watch = Watch(self.cluster, NAMES.control, Decoders.of(SCHEMAS).controls)
        watch.begin()
        return watch

    def reconciler(
        self,
        fault: Callable[[str], None] = no_fault,
        *,
        rules: Rules = RULES,
        mind: Mind | None = None,
        instance: str = "one",
        watch: Watch | None = None,
        pace: Pace = UNPACED,
        batch: int = 5,
    ) -> tuple[Loop, ReconcilerTask]:
        """Return a reconciler whose mind is a scribe's, or the real one."""
        options = service.ReconcilerOptions(env="simulation", prefix=PREFIX, instance=instance, limits=LoopLimits(batch=batch))
        since = (watch or self.watch()).since
        task = service.reconciler_task(options, self.cluster, rules, pace, SCHEMAS, since, self.now_us, mind or Scribe())
        loop = Loop(
            self.cluster,
            task,
            group_id=options.group_id,
            instance_id=options.member,
            transactional_id_prefix=f"{options.member}.",
            limits=options.limits,
            clock=self.clock,
            sleep=self.clock.sleep,
            fault=fault,
        )
        return loop, task

    def read(self, record: type[T], topic: str) -> list[T]:
        """Return what is committed."""
        decode = Decoder(record, WRITERS[record])
        found = []
        for partition in range(_COUNTS.get(topic, PARTITIONS)):
            log = self.broker.log(TopicPartition(topic, partition))
            assert log.last_stable == log.high, "a transaction is still open"
            found += [decode(value) for message in log.committed(0, log.high) if (value := message.value()) is not None]
        return found

    def rounds(self) -> list[str]:
        """Return the names of all rounds."""
        return [made.round_id for made in self.read(ReconciliationRound, NAMES.rounds)]


def drain(*loops: Loop) -> None:
    """Step until nothing is left to read."""
    idle = 0
    for _ in range(4000):
        idle = 0 if sum(loop.step() for loop in loops) else idle + 1
        if idle > 6 and all(loop.partitions for loop in loops):
            return
    pytest.fail("the reconcilers do not come to rest")


def run(loop: Loop) -> None:
    loop.start()
    drain(loop)
