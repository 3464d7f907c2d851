"""Topics on the in-memory twin, what a bridge puts into them, and ledgers that read it."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest

from execpos import settings
from execpos.bridge.convert import Converter
from execpos.bridge.intents import intent_record
from execpos.brokers.sim.config import SimEvent
from execpos.codecs.avro import RECORDS, Decoder, Encoder, schema_text
from execpos.codecs.registry import Schemas
from execpos.domain.events import Intent, PositionState, RawExecEvent
from execpos.kafka.loop import Loop, LoopLimits
from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.clock import VirtualClock
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import TopicPartition, no_fault
from execpos.ledger import service
from execpos.ledger.outputs import Names
from execpos.ledger.task import LedgerTask
from state import dump

PARTITIONS = 3
NAMES = Names.of("t.")
IDS = {record: number for number, record in enumerate(RECORDS, 1)}
SCHEMAS = Schemas(ids=IDS, writers={record: {IDS[record]: schema_text(record)} for record in RECORDS})
RULES = settings.load(None).rules()


T = TypeVar("T", bound=msgspec.Struct)


class World:
    """Topics on the twin, a day of the simulator, and ledgers."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.broker = MemoryBroker(self.clock, self.clock.sleep)
        for topic in msgspec.structs.astuple(NAMES):
            self.broker.create(topic, PARTITIONS)
        self.convert = Converter("simulation", "bridge-0", 1, "sim")
        self._raw, self._intent = Encoder(RawExecEvent, IDS[RawExecEvent]), Encoder(Intent, IDS[Intent])

    def put(self, topic: str, key: bytes, value: bytes, partition: int | None = None) -> None:
        place = partition_for(key, PARTITIONS) if partition is None else partition
        self.broker.append(TopicPartition(topic, place), key, value)

    def raw(self, kind: str, payload: Any, now_us: int) -> RawExecEvent:
        event = self.convert((now_us * 1000, 0, kind, payload))
        self.put(NAMES.raw, event.account.encode(), self._raw(event))
        return event

    def send(self, event: SimEvent) -> None:
        if event.intent is None:
            self.raw(event.state, event.payload, event.at_us)
            return
        record = intent_record("simulation", event.intent)
        self.put(NAMES.intents, record.account.encode(), self._intent(record))

    def ledger(self, fault: Callable[[str], None] = no_fault, instance: str = "one") -> tuple[Loop, LedgerTask]:
        cluster = MemoryCluster(self.broker)
        options = service.LedgerOptions(env="simulation", prefix="t.", instance=instance, limits=LoopLimits(batch=40))
        task = service.ledger_task(options, cluster, RULES, SCHEMAS)
        loop = Loop(
            cluster,
            task,
            group_id=options.group_id,
            instance_id=instance,
            transactional_id_prefix=f"t.{instance}.",
            limits=options.limits,
            clock=self.clock,
            sleep=self.clock.sleep,
            fault=fault,
        )
        return loop, task

    def read(self, record: type[T], topic: str) -> list[T]:
        decode = Decoder(record, SCHEMAS.writers[record])
        found = []
        for partition in range(PARTITIONS):
            log = self.broker.log(TopicPartition(topic, partition))
            assert log.last_stable == log.high, "a transaction is still open"
            found += [decode(message.value() or b"") for message in log.committed(0, log.high)]
        return found

    def positions(self) -> dict[str, PositionState]:
        return {state.position_key: state for state in self.read(PositionState, NAMES.positions)}


DEAL = {
    "event_id": "", "trade_id": "7be1d20c", "seqno": "351530", "ordno": "Y1S6A", "exchange_seq": "1", "broker_id": "9A95",
    "account_id": "1234567", "action": "Buy", "code": "2890", "order_cond": "Cash", "order_lot": "Common", "price": 27.0, "quantity": 1,
    "custom_field": "", "ts": 1779331288.0,
}  # fmt: skip


def drain(*loops: Loop) -> None:
    idle = 0
    for _ in range(4000):
        idle = 0 if sum(loop.step() for loop in loops) else idle + 1
        if idle > 6 and all(loop.partitions for loop in loops):
            return
    pytest.fail("the ledgers do not come to rest")


def run(loop: Loop) -> None:
    loop.start()
    drain(loop)


def states(*tasks: LedgerTask) -> dict[str, Any]:
    return {account: found for task in tasks for state in task.states.values() for account, found in dump(state.pipeline).items()}
