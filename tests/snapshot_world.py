"""What tests of snapshots share: records that ask for them, and the snapshots that came, put together."""

from collections.abc import Iterable
from typing import Any

from execpos.bridge.capture import OwnRecord
from execpos.codecs.avro import Encoder
from execpos.domain import ids
from execpos.domain.events import Correction, PositionSnapshot, RawExecEvent
from execpos.domain.snapshot import Parts
from execpos.kafka.loop import Loop, LoopLimits
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.ports import no_fault
from execpos.ledger import service
from execpos.ledger.cut import MarkOf, no_mark
from execpos.ledger.snapshots import SnapshotOptions
from execpos.ledger.task import LedgerTask
from ledger_world import DEAL, IDS, NAMES, RULES, SCHEMAS
from ledger_world import World as AnyWorld

ACCOUNT = ids.account_key("simulation", "S", "9A95", "1234567")

# Thursday 2026-05-21, 10:41:28 in Taipei.
MORNING_US = 1_779_331_288_000_000
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
# 14:30 of that day, when the stock session ends.
CLOSE_US = 1_779_345_000_000_000


class World(AnyWorld):
    """A world whose clock, and so the time of every record, begins that morning."""

    def __init__(self) -> None:
        super().__init__()
        self.clock.sleep(MORNING_US / 1e6 - self.clock())


def deal(world: World, number: int, at_us: int = MORNING_US, **changes: Any) -> RawExecEvent:
    """Put a fill of 1 000 shares, or with `changes`, into the stream."""
    payload = {**DEAL, "code": "2330", "exchange_seq": str(number), "ts": at_us / 1e6, **changes}
    return world.raw("SDEAL", payload, at_us)


def order(world: World, number: int, at_us: int = MORNING_US, **changes: Any) -> RawExecEvent:
    """Put the acceptance of an order of 2 000 shares into the stream; `number` makes its ids."""
    payload = {
        "operation": {"op_type": "New", "op_code": "00", "op_msg": ""},
        "order": {
            "id": f"order{number}", "seqno": str(number), "ordno": f"X{number}", "action": "Buy", "price": 27.0, "quantity": 2,
            "order_cond": "Cash", "order_lot": "Common", "order_type": "ROD", "price_type": "LMT", "custom_field": "",
            "account": {"account_type": "S", "broker_id": "9A95", "account_id": "1234567"},
        },
        "status": {"id": f"order{number}", "exchange_ts": at_us / 1e6, "modified_price": 0, "cancel_quantity": 0, "order_quantity": 2},
        "contract": {"security_type": "STK", "exchange": "TSE", "code": "2330"},
        **changes,
    }  # fmt: skip
    return world.raw("SORDER", payload, at_us)


def marker(world: World, marker_id: str, at_us: int = MORNING_US, account: str = ACCOUNT) -> RawExecEvent:
    """Put a MARKER into the stream."""
    return world.raw("MARKER", OwnRecord(account, b"{}", marker_id), at_us)


def beat(world: World, at_us: int, account: str = ACCOUNT) -> RawExecEvent:
    """Put a BEAT into the stream."""
    return world.raw("BEAT", OwnRecord(account, b"{}"), at_us)


def again(world: World, event: RawExecEvent) -> None:
    """Put a record into the stream once more, as a bridge that publishes again does."""
    world.put(NAMES.raw, event.account.encode(), Encoder(RawExecEvent, IDS[RawExecEvent])(event))


def request(world: World, correction_id: str, account: str = ACCOUNT, ts: int = MORNING_US) -> None:
    """Ask for a snapshot."""
    blank: dict[Any, Any] = {str: "", int: 0}
    fields = {name: blank.get(kind, {}) for name, kind in Correction.__annotations__.items()}
    record = Correction(**{**fields, "correction_id": correction_id, "account": account, "kind": "SNAPSHOT", "ts": ts})
    world.put(NAMES.corrections, account.encode(), Encoder(Correction, IDS[Correction])(record))


def wholes(parts: Iterable[PositionSnapshot]) -> list[PositionSnapshot]:
    """Return the snapshots that these parts make."""
    put = Parts()
    return [whole for part in parts if (whole := put.take(part)) is not None]


def snapshots(world: World, *reasons: str, topic: str = NAMES.snapshots) -> list[PositionSnapshot]:
    """Return the snapshots written, of these reasons or of all."""
    return [found for found in wholes(world.read(PositionSnapshot, topic)) if not reasons or found.reason in reasons]


def ledger(
    world: World, snapshots: SnapshotOptions | None = None, mark_of: MarkOf = no_mark, *, fault: Any = no_fault, batch: int = 40
) -> tuple[Loop, LedgerTask]:
    """Return a ledger of `world` with these options."""
    cluster = MemoryCluster(world.broker)
    options = service.LedgerOptions(
        env="simulation", prefix="t.", instance="one", limits=LoopLimits(batch=batch), snapshots=snapshots or SnapshotOptions()
    )
    task = service.ledger_task(options, cluster, RULES, SCHEMAS, mark_of=mark_of)
    loop = Loop(
        cluster,
        task,
        group_id=options.group_id,
        instance_id="one",
        transactional_id_prefix="t.one.",
        limits=options.limits,
        clock=world.clock,
        sleep=world.clock.sleep,
        fault=fault,
    )
    return loop, task
