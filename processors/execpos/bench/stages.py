"""Where the ledger's processor time goes: the standard workload through its task, and through each of its stages alone, without Kafka."""

import gc
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Message as LibraryMessage

from execpos import settings
from execpos.bench.stack import conditions
from execpos.bench.throughput import WORKLOAD, records
from execpos.codecs import compiled
from execpos.codecs.avro import RECORDS, Encoder, schema_text
from execpos.codecs.registry import Schemas
from execpos.domain import normalize, payloads
from execpos.domain.book import Source
from execpos.domain.events import Intent, RawExecEvent
from execpos.domain.pipeline import Pipeline
from execpos.domain.rules import Rules
from execpos.domain.vocabulary import CALLBACK_KINDS, DEAL_KINDS
from execpos.kafka.partitions import partition_for
from execpos.ledger import service
from execpos.ledger.outputs import RECORDS as WRITTEN
from execpos.ledger.outputs import Names
from execpos.ledger.state import PartitionState, Topic
from execpos.ledger.task import LedgerTask

# As `ledger_child` and the contract's topics have it.
_BATCH, _PARTITIONS = 5_000, 12


class _Input(NamedTuple):
    message: Any
    record: RawExecEvent | Intent


class _Kept:
    """A sink that keeps what it takes."""

    def __init__(self) -> None:
        self.made: list[msgspec.Struct] = []
        self.order = self.fill = self.delta = self.outcome = self.made.append


def run(events: int, seed: int) -> dict[str, Any]:
    """Return `{records, outputs, task_us, decode_us, payload_us, normalize_us, fold_us, encode_us, rest_us, ...}`. Blocks.

    All times are processor time in µs an input record. `task_us` is the whole task. The stages are measured alone, one after the other:
    `payload_us` reads the JSON, `normalize_us` makes reports of it, `fold_us` is the rest of the domain, `encode_us` writes orders, fills
    and deltas. `rest_us` is what remains: places, offsets, publishing of rows.
    """
    schemas = _schemas()
    rules = settings.load(None).rules()
    inputs = list(_inputs(events, seed, schemas))
    service.freeze()
    outputs, task_s = _task(inputs, rules, schemas)
    decoders = service.decoders(schemas)
    values = [(decoders.raw if type(item.record) is RawExecEvent else decoders.intents, item.message.value()) for item in inputs]
    raws = [item.record for item in inputs if isinstance(item.record, RawExecEvent)]
    decode_s = _spent(lambda: [decode(value) for decode, value in values])
    payload_s = _spent(lambda: [_payload(raw) for raw in raws])
    report_s = _spent(lambda: [_report(raw, rules) for raw in raws])
    kept = _Kept()
    domain_s = _domain([item.record for item in inputs], rules, kept)
    encoders = {record: Encoder(record, schemas.ids[record]).encode for record in WRITTEN}
    encode_s = _spent(lambda: [encoders[type(record)](record) for record in kept.made])
    report = {
        "task": task_s,
        "decode": decode_s,
        "payload": payload_s,
        "normalize": report_s - payload_s,
        "fold": domain_s - report_s,
        "encode": encode_s,
        "rest": task_s - decode_s - domain_s - encode_s,
    }
    return {
        "records": len(inputs),
        "outputs": outputs,
        **{f"{name}_us": round(seconds / len(inputs) * 1e6, 2) for name, seconds in report.items()},
        "conditions": conditions(WORKLOAD, seed=seed, clock="processor time, no Kafka", native_codec=compiled.NATIVE),
    }


def _schemas() -> Schemas:
    ids: dict[type[msgspec.Struct], int] = {record: number for number, record in enumerate(RECORDS, 1)}
    return Schemas(ids, {record: {number: schema_text(record)} for record, number in ids.items()})


def _inputs(events: int, seed: int, schemas: Schemas) -> Iterable[_Input]:
    """Yield the workload as a consumer gives it."""
    encoders = {record: Encoder(record, schemas.ids[record]) for record in (RawExecEvent, Intent)}
    offsets: dict[tuple[str, int], int] = {}
    for topic, record in records(events, seed):
        key, value = record.account.encode(), encoders[type(record)](record)
        partition = partition_for(key, _PARTITIONS)
        offset = offsets[topic, partition] = offsets.get((topic, partition), -1) + 1
        yield _Input(LibraryMessage(topic=topic, partition=partition, offset=offset, key=key, value=value, timestamp=(1, 0)), record)


def _task(inputs: Sequence[_Input], rules: Rules, schemas: Schemas) -> tuple[int, float]:
    """Return how many records the task wrote, and the seconds that it took."""
    task = LedgerTask(
        rules=rules,
        names=Names.of(""),
        decoders=service.decoders(schemas),
        schema_ids=schemas.ids,
        partitions=_PARTITIONS,
        instance="bench",
    )
    topics = tuple(Topic(name, "") for name in task.input_topics)
    task.states.update({partition: PartitionState(partition, rules, task.writer, topics, 1) for partition in range(_PARTITIONS)})
    written = 0

    def out(topic: str, partition: int, key: bytes, value: bytes) -> None:
        del topic, partition, key, value
        nonlocal written
        written += 1

    def work() -> None:
        for start in range(0, len(inputs), _BATCH):
            task.process([item.message for item in inputs[start : start + _BATCH]], out)
            task.committed()

    seconds = _spent(work)
    return written, seconds


def _domain(given: Sequence[RawExecEvent | Intent], rules: Rules, kept: _Kept) -> float:
    pipeline = Pipeline(rules, kept)

    def work() -> None:
        for number, record in enumerate(given):
            if isinstance(record, RawExecEvent):
                pipeline.apply_raw(record, Source("", 0, number, 0, record.ingest_ts, record.bridge_id, 1, record.bridge_seq, 1, 0))
            else:
                pipeline.apply_intent(record, Source("", 0, number, 1, 0, "", 0, 0, 1, 0))
            if number % _BATCH == 0:
                pipeline.commit()

    return _spent(work)


def _payload(raw: RawExecEvent) -> object:
    if raw.kind not in CALLBACK_KINDS:
        return None
    decoder: msgspec.json.Decoder[Any] = payloads.DEALS if raw.kind in DEAL_KINDS else payloads.ORDERS
    return payloads.read(decoder, raw.payload, raw.kind)


def _report(raw: RawExecEvent, rules: Rules) -> object:
    if raw.kind not in CALLBACK_KINDS:
        return None
    market = normalize.market_of(raw.kind)
    if raw.kind in DEAL_KINDS:
        return normalize.deal(market, raw.payload, raw.env, raw.account)
    return normalize.order_report(market, raw.payload, raw.env, raw.account, rules.instruments)


def _spent(work: Callable[[], object]) -> float:
    """Return the processor time of `work` in seconds."""
    gc.collect()
    began_s = time.process_time()
    work()
    return time.process_time() - began_s
