"""Records made as large and as wrong as a topic lets in: what the ledger makes of them fits its topics, and the rest goes on."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml

from execpos import resources
from execpos.codecs.avro import Encoder
from execpos.domain import ids, limits
from execpos.domain.events import DeadLetter, FillEvent, Intent, OrderEvent, PositionDelta, PositionState, RawExecEvent
from execpos.domain.limits import RECORD_BYTES_MAX
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import TopicPartition
from ledger_world import DEAL, IDS, NAMES, PARTITIONS, World, drain, run, states

TOPICS: dict[str, Any] = yaml.safe_load(resources.text("contracts", "topics.yaml"))["topics"]
DEAD_LETTER_BYTES_MAX = TOPICS["exec.dead-letters.v1"]["configs"]["max.message.bytes"]

# What a dead letter says beside the record, and every other record: small, whatever came in.
ORDINARY_BYTES_MAX = 64 * 1024

TS_US = 1_779_331_288_000_000
ORDER: dict[str, Any] = {
    "event_id": "",
    "operation": {"op_type": "New", "op_code": "00", "op_msg": ""},
    "order": {
        "id": "7be1d20c", "seqno": "351530", "ordno": "Y1S6A", "account": {"broker_id": "9A95", "account_id": "1234567"}, "action": "Buy",
        "price": 27.0, "quantity": 1, "order_type": "ROD", "price_type": "LMT", "order_cond": "Cash", "order_lot": "Common",
        "custom_field": "",
    },
    "status": {"id": "7be1d20c", "exchange_ts": 1779331288.0, "modified_price": 0, "cancel_quantity": 0, "order_quantity": 1},
    "contract": {"code": "2890", "security_type": "STK"},
}  # fmt: skip
FUTURE: dict[str, Any] = DEAL | {"full_code": "TMFF6", "code": "TMF"}
# Four bytes a character in UTF-8, ten in what repr() makes of the second.
LONG = ("x" * 250_000, "\U0010ffff" * 62_000, "%|" * 125_000, "'\\\n" * 40_000)


def world() -> World:
    """Return topics with the limits that the contract gives them."""
    made = World()
    for topic, name in zip(NAMES.__struct_fields__, msgspec.structs.astuple(NAMES), strict=True):
        contract = TOPICS[f"exec.{topic.replace('_', '-')}.v1"]
        made.broker.delete(name)
        made.broker.create(name, PARTITIONS, configs={key: str(value) for key, value in contract["configs"].items()})
    return made


def paths(payload: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in payload.items():
        if isinstance(value, dict):
            yield from paths(value, (*above, name))
        else:
            yield (*above, name)


def changed(payload: dict[str, Any], path: tuple[str, ...], value: Any) -> bytes:
    made = msgspec.json.decode(msgspec.json.encode(payload))
    holder = made
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = value
    return msgspec.json.encode(made)


class Sender:
    """Puts raw records into a world, of one account if nothing else is said."""

    def __init__(self, to: World) -> None:
        self.world = to
        self.good = to.convert((TS_US * 1000, 0, "SDEAL", DEAL))
        self._encode = Encoder(RawExecEvent, IDS[RawExecEvent])
        self.sent = 0

    def send(self, **changes: Any) -> None:
        event = msgspec.structs.replace(self.good, **changes)
        value = self._encode(event)
        key = event.account.encode()
        # The bridge's cap is on the payload alone, which a record may fill up to the last byte of the topic's limit.
        if len(key) + len(value) <= RECORD_BYTES_MAX:
            self.world.put(NAMES.raw, key, value)
            self.sent += 1


def sizes(world: World, topic: str) -> list[int]:
    found = []
    for partition in range(PARTITIONS):
        log = world.broker.log(TopicPartition(topic, partition))
        found += [len(message.key() or b"") + len(message.value() or b"") for message in log.committed(0, log.high)]
    return found


def check_sizes(world: World) -> None:
    for topic in (NAMES.orders, NAMES.fills, NAMES.deltas, NAMES.positions, NAMES.progress):
        assert max(sizes(world, topic), default=0) <= ORDINARY_BYTES_MAX, topic
    assert max(sizes(world, NAMES.dead_letters), default=0) <= RECORD_BYTES_MAX + ORDINARY_BYTES_MAX <= DEAD_LETTER_BYTES_MAX


def check_goes_on(world: World) -> None:
    """The ledger takes a fill of another account after all that, and a restored one knows what the live one does."""
    loop, task = world.ledger()
    run(loop)
    world.raw("SDEAL", {**DEAL, "code": "2330", "account_id": "7777777"}, TS_US)
    drain(loop)
    live = states(task)
    loop.close()
    check_sizes(world)
    account = ids.account_key("simulation", "S", "9A95", "7777777")
    assert world.positions()[ids.position_key(account, "2330", "cash", "UNASSIGNED")].quantity == 1000
    world.clock.sleep(120)
    witness, restored = world.ledger()
    run(witness)
    assert states(restored) == live
    witness.close()


@pytest.mark.parametrize("long", LONG, ids=["ascii", "four bytes", "escaped in keys", "escaped in quotes"])
def test_a_text_of_any_length_in_any_field_of_a_payload_is_cut_or_parked(long: str) -> None:
    sender = Sender(world())
    for kind, payload in (("SDEAL", DEAL), ("SORDER", ORDER), ("FDEAL", FUTURE), ("FORDER", ORDER)):
        account = sender.good.account.replace("|S|", f"|{kind[0]}|")
        for path in paths(payload):
            sender.send(kind=kind, account=account, payload=changed(payload, path, long))
            sender.send(kind=kind, account=account, payload=changed(payload, path, [long]))

    check_goes_on(sender.world)

    assert sender.sent > 100
    orders, fills = sender.world.read(OrderEvent, NAMES.orders), sender.world.read(FillEvent, NAMES.fills)
    letters = sender.world.read(DeadLetter, NAMES.dead_letters)
    assert len(letters) > 40
    # Words are cut, and what they stand beside still counts.
    assert any(event.op_msg == limits.cut(long, limits.MESSAGE_CHARS_MAX) for event in orders)
    assert any(f.ordno == limits.cut(long, limits.WORD_CHARS_MAX) for f in fills) or any("receipt" in letter.reason for letter in letters)
    assert all(len(letter.detail) <= limits.DETAIL_CHARS_MAX for letter in letters)


def test_what_is_long_beside_the_payload_is_cut_or_a_dead_letter() -> None:
    made = world()
    sender = Sender(made)
    for long in LONG:
        sender.send(kind=long)
        sender.send(bridge_id=long, payload=changed(DEAL, ("exchange_seq",), str(len(long))))
        sender.send(env=long[:50_000])
        sender.send(sdk_version=long, marker_id="", kind="BEAT", bridge_id="b" * 200)
        # A key that is its account's, also within the payload.
        name = long[:20_000]
        key = ids.account_key("simulation", "S", "9A95", name)
        sender.send(account=key, payload=changed(DEAL, ("account_id",), name))
    for junk in (b"\xff" * (RECORD_BYTES_MAX - 100), b"\0\0\0\0\1" + b"\x7f" * 200_000):
        for key_bytes in (sender.good.account.encode(), junk[:60_000]):
            made.put(NAMES.raw, key_bytes, junk[: RECORD_BYTES_MAX - len(key_bytes)])

    check_goes_on(made)

    fills = made.read(FillEvent, NAMES.fills)
    assert limits.cut(LONG[0], limits.WORD_CHARS_MAX) in {fill.bridge_id for fill in fills}
    reasons = {letter.reason for letter in made.read(DeadLetter, NAMES.dead_letters)}
    assert reasons == {"unknown_kind", "wrong_account", "bad_framing", "bad_avro"}


def test_an_intent_of_any_length_is_a_dead_letter_that_holds_what_fits_and_names_the_rest() -> None:
    made = world()
    account = ids.account_key("simulation", "S", "9A95", "1234567")
    encode = Encoder(Intent, IDS[Intent])
    good = Intent("i", account, "alpha", "2026-05-21D", "7be1d20c", "", {}, 0)
    for name in ("intent_id", "strategy_id", "order_id", "seqno", "session_id"):
        for long in LONG:
            made.put(NAMES.intents, account.encode(), encode(msgspec.structs.replace(good, **{name: long})))
    huge = b"\1" * 1_000_000
    made.put(NAMES.intents, account.encode(), huge)
    made.put(NAMES.intents, account.encode(), encode(msgspec.structs.replace(good, tags={"note": LONG[0]})))
    made.raw("SDEAL", DEAL, TS_US)

    check_goes_on(made)

    letters = made.read(DeadLetter, NAMES.dead_letters)
    assert [letter.reason for letter in letters] == ["bad_intent"] * 20 + ["bad_framing"]
    kept = letters[-1]
    assert huge.startswith(kept.record_value)
    assert len(kept.record_key) + len(kept.record_value) == RECORD_BYTES_MAX
    assert "value of 1000000 bytes cut" in kept.detail
    fills = {(fill.account, fill.revision): fill.strategy_id for fill in made.read(FillEvent, NAMES.fills)}
    assert fills[account, max(revision for name, revision in fills if name == account)] == "alpha"


NUMBERS = (10**18, 10**17 - 1, 2 * 10**9, -(10**18), 10**30, 9e17, 1e300, 0.1)


def test_numbers_of_any_size_overflow_nothing() -> None:
    sender = Sender(world())
    for number in NUMBERS:
        for name in ("price", "quantity", "ts"):
            free = {**DEAL, "price": 0, "exchange_seq": str(sender.sent)}
            sender.send(payload=changed(free, (name,), number))
        for path in paths({key: value for key, value in ORDER.items() if key in {"order", "status"}}):
            if path[-1] in {"price", "quantity", "exchange_ts", "modified_price", "cancel_quantity", "order_quantity"}:
                operation = {"op_type": "UpdatePrice", "op_code": "00"}
                sender.send(kind="SORDER", payload=changed({**ORDER, "operation": operation}, path, number))
    for ts in (-1, 2**62, -(2**63), limits.TS_US_MAX + 1):
        sender.send(ingest_ts=ts)
    for name in ("bridge_epoch", "bridge_seq", "ingest_monotonic_ns"):
        for extreme in (2**63 - 1, -(2**63)):
            sender.send(**{name: extreme})

    check_goes_on(sender.world)

    letters = sender.world.read(DeadLetter, NAMES.dead_letters)
    assert {letter.reason for letter in letters} == {"bad_number", "from_future"}
    assert len(sender.world.read(OrderEvent, NAMES.orders)) > 1


def test_a_row_of_as_many_lots_with_as_long_names_as_there_can_be_fits_its_topic() -> None:
    sender = Sender(world())
    name = "\U0010ffff" * limits.NAME_CHARS_MAX
    account = ids.account_key("simulation", "F", name, name)
    for number in range(600):
        day = number // 300
        deal = {
            **DEAL, "broker_id": name, "account_id": name, "code": "TMF", "full_code": "TMFF6", "trade_id": f"{number:04}{name}"[:32],
            "exchange_seq": name, "ts": TS_US / 1_000_000 + day * 7 * 86_400, "order_cond": "", "order_lot": "",
        }  # fmt: skip
        sender.send(kind="FDEAL", account=account, payload=msgspec.json.encode(deal), ingest_ts=TS_US + day * 7 * 86_400_000_000)
    assert partition_for(account.encode(), PARTITIONS) in range(PARTITIONS)

    loop, _ = sender.world.ledger()
    run(loop)
    loop.close()

    row = sender.world.positions()[ids.position_key(account, "TMFF6", "derivative", "UNASSIGNED")]
    assert (len(row.lots), len(row.base[0].lots), row.lots_merged) == (256, 256, True)
    largest = max(sizes(sender.world, NAMES.positions))
    # The client library takes 1,000,000 bytes, and a broker as much if nothing else is set.
    assert 200_000 < largest < 320_000
    assert max(len(repr(delta)) for delta in sender.world.read(PositionDelta, NAMES.deltas)) < ORDINARY_BYTES_MAX
    assert row in sender.world.read(PositionState, NAMES.positions)
