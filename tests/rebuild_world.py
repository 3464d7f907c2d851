"""An hour of simulated faults and corrections on the in-memory twin, and in which order the ledger took its records.

Two stock accounts and a futures account get what the oracle follows; on a third stock account anything goes.
"""

import random
import time
from collections.abc import Sequence
from typing import Any

import msgspec

import oracle_corrections
from execpos.brokers.sim.config import Attribution, Faults, SimConfig, SimEvent, market_open_us
from execpos.brokers.sim.day import Simulator
from execpos.codecs.avro import Decoder, Encoder
from execpos.domain import ids
from execpos.domain.account import Account
from execpos.domain.book import Position, state_of
from execpos.domain.events import Correction, CorrectionOutcome, Intent, RawExecEvent
from execpos.domain.rules import Rules
from execpos.domain.shadow import Comparison, Whole
from execpos.domain.snapshot import open_orders
from execpos.kafka.loop import Loop, LoopLimits
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.ports import Message, Output
from execpos.ledger import service
from execpos.ledger.base import Ends
from execpos.ledger.shadow import Shadow
from execpos.ledger.task import LedgerTask
from ledger_world import IDS, NAMES, PARTITIONS, RULES, SCHEMAS, drain
from snapshot_world import CLOSE_US, HOUR_US, World, beat
from state import correction_of

MICROS = 1_000_000

# Looks at what was answered, and the time between two.
_TURNS_MAX = 3_000
_LOOK_S = 0.01

START_US = market_open_us(2026, 5, 21)

# All that the delivery can do wrong, and owners that are told in every way.
FAULTS = Faults(duplicate=0.05, new_receipt=0.03, deal_before_order=0.1, late=0.03, reorder=0.1, conflict=0.004, drop=0.01)
OWNERS = Attribution(intent_before=0.25, intent_late=0.4, custom_field=0.2, manual=0.15, misleading=0.1)

_FOLLOWED = ("ADJUST", "ADJUST", "OPENING", "TRANSFER", "TRANSFER", "VOID", "VOID", "COST_BASIS", "FEES", "SETTLEMENT")
_WILD = (*_FOLLOWED, "CORPORATE_ACTION", "QUALITY", "QUALITY", "SNAPSHOT")


class Recording(LedgerTask):
    """Remembers the records of committed transactions, in the order in which they were applied."""

    taken: list[Message]
    _open: list[Message]

    def process(self, batch: Sequence[Message], out: Output) -> None:
        super().process(batch, out)
        self._open = list(batch)

    def committed(self) -> None:
        super().committed()
        self.taken += self._open
        self._open = []

    def rolled_back(self) -> None:
        super().rolled_back()
        self._open = []


class Hour:
    """The world of one run. `play` puts everything into the topics while ledgers come and go."""

    def __init__(self, seed: int, events: int = 2_500, rules: Rules = RULES) -> None:
        self.world = World()
        self.rules = rules
        self.dice = random.Random(seed)
        self.simulator = Simulator(
            SimConfig(
                seed=seed,
                start_us=START_US,
                step_us=round(3_600 * MICROS / events),
                events=events,
                stock_accounts=3,
                futures_accounts=1,
                stock_symbols=5,
                margin_share=0.2,
                bust_share=0.01,
                strategies=3,
                faults=FAULTS,
                attribution=OWNERS,
            )
        )
        self.taken: list[Message] = []
        self.made = 0
        self.loop, self.task = self.ledger()
        self.loop.start()

    def ledger(self) -> tuple[Loop, Recording]:
        """Return a ledger that writes down what it takes."""
        cluster = MemoryCluster(self.world.broker)
        options = service.LedgerOptions(env="simulation", prefix="t.", instance="one", limits=LoopLimits(batch=40))
        task = service.ledger_task(options, cluster, self.rules, SCHEMAS, Recording)
        assert isinstance(task, Recording)
        task.taken, task._open = self.taken, []
        clock = self.world.clock
        loop = Loop(
            cluster,
            task,
            group_id=options.group_id,
            instance_id="one",
            transactional_id_prefix="t.one.",
            limits=options.limits,
            clock=clock,
            sleep=clock.sleep,
        )
        return loop, task

    def restart(self) -> None:
        """End the ledger between two transactions and start another one."""
        self.loop.close()
        self.loop, self.task = self.ledger()
        self.loop.start()
        drain(self.loop)

    @property
    def accounts(self) -> list[Account]:
        return [account for state in self.task.states.values() for account in state.pipeline.accounts.values()]

    def wild(self, account: str) -> bool:
        return account == f"simulation|{self.simulator.accounts[2].key}"

    # --- playing ---------------------------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Play the hour and the close of the day, with corrections among the reports and a restart now and then."""
        for number, event in enumerate(self.simulator.events(), 1):
            self.send(event)
            if number % 12 == 0:
                self.correct(event.at_us)
            if self.dice.random() < 0.2:
                for _ in range(self.dice.randint(1, 8)):
                    self.loop.step()
            if number % 900 == 0:
                self.restart()
        drain(self.loop)
        for account in self.accounts:
            beat(self.world, CLOSE_US + HOUR_US, account.key)
        drain(self.loop)
        for _ in range(12):
            self.correct(CLOSE_US + HOUR_US)
        drain(self.loop)

    def send(self, event: SimEvent) -> None:
        self.world.clock.sleep(max(0.0, event.at_us / MICROS - self.world.clock()))
        self.world.send(event)

    def correct(self, at_us: int) -> None:
        """Put a correction of something that the ledger holds into the stream; many of them are stale or cannot be."""
        rows = [row for account in self.accounts for row in account.book if row.strategy_id != ids.NET and row.version]
        if not rows:
            return
        row = self.dice.choice(rows)
        kind = self.dice.choice(_WILD if self.wild(row.account) else _FOLLOWED)
        net = self.task_account(row.account).book.rows[row.symbol, row.book, ids.NET]
        self.put(
            kind,
            row.account,
            at_us,
            symbol=row.symbol,
            book=row.book,
            expected_net_version=self.dice.choice((-1, -1, net.version, net.version, net.version + 1)),
            **self._fields(kind, row),
        )

    def _fields(self, kind: str, row: Position) -> dict[str, Any]:
        dice, held = self.dice, row.row.quantity
        price = dice.randint(10, 900) * MICROS
        fields: dict[str, dict[str, Any]] = {
            "ADJUST": {"quantity": dice.choice((-1, 1, 2)) * 1000, "price": dice.choice((0, price))},
            "OPENING": {"quantity": dice.choice((-1, 1, 3)) * 1000, "price": price},
            "TRANSFER": {"strategy_id": row.strategy_id, "to_strategy_id": dice.choice(("gamma", "UNASSIGNED")), "quantity": held // 2},
            "COST_BASIS": {"strategy_id": dice.choice((row.strategy_id, ids.NET)), "amount": dice.choice((-1, 1)) * price},
            "FEES": {"strategy_id": row.strategy_id, "fees": dice.randint(1, 99) * MICROS},
            "SETTLEMENT": {"price": price},
            "CORPORATE_ACTION": {"numerator": dice.randint(1, 3), "denominator": dice.randint(1, 3)},
            "QUALITY": {"strategy_id": dice.choice((row.strategy_id, ids.NET)), "quality": dice.choice(("CONFIRMED", "BLOCKED"))},
        }
        if kind == "VOID":
            fills = list(self.task_account(row.account).fills)
            return {"fill_id": dice.choice(fills) if fills else "none"}
        return fields.get(kind, {})

    def task_account(self, key: str) -> Account:
        return next(account for account in self.accounts if account.key == key)

    def put(self, kind: str, account: str, at_us: int, **fields: Any) -> Correction:
        """Put a correction into the stream."""
        self.made += 1
        named = {"correction_id": f"c{self.made}", "account": account, "kind": kind, "ts": at_us}
        record = correction_of(named | fields)
        self.world.put(NAMES.corrections, account.encode(), Encoder(Correction, IDS[Correction])(record))
        return record

    # --- the three books -------------------------------------------------------------------------------------------------------------

    def live(self, account: Account) -> Whole:
        """Return the live book of an account."""
        return Whole([state_of(row, [("", "")] * 3, 1) for row in account.book if row.version], open_orders(account))

    def ends(self, partition: int) -> Ends:
        offsets = self.task.states[partition].offsets
        return (offsets[0] + 1, offsets[1] + 1, offsets[2] + 1)

    def shadow(self, partition: int, accounts: Sequence[str] = (), *, since_checkpoint: bool = False) -> Shadow:
        """Return a partition folded anew, up to where the live ledger is."""
        cluster = MemoryCluster(self.world.broker)
        shadow = Shadow("t.", cluster, RULES, SCHEMAS, partition, accounts, since_checkpoint=since_checkpoint)
        shadow.fold(self.ends(partition))
        return shadow

    def compared(self, *, since_checkpoint: bool = False) -> list[Comparison]:
        """Compare every account with its shadow."""
        found = []
        for partition in range(PARTITIONS):
            accounts = list(self.task.states[partition].pipeline.accounts.values())
            if accounts:
                shadow = self.shadow(partition, since_checkpoint=since_checkpoint)
                found += [shadow.compared(account.key, self.live(account)) for account in accounts]
                shadow.close()
        return found

    def told(self, account: str) -> list[tuple[Any, ...]]:
        """Return what the oracle reads: the records of an account in the order in which they were applied, with what was applied."""
        outcomes = self.world.read(CorrectionOutcome, NAMES.correction_outcomes)
        applied = {(outcome.account, outcome.source_offset) for outcome in outcomes if outcome.outcome == "APPLIED"}
        raw, intent = Decoder(RawExecEvent, SCHEMAS.writers[RawExecEvent]), Decoder(Intent, SCHEMAS.writers[Intent])
        correction = Decoder(Correction, SCHEMAS.writers[Correction])
        log: list[tuple[Any, ...]] = []
        for message in self.taken:
            if message.key() != account.encode():
                continue
            if message.topic() == NAMES.raw:
                event = raw(message.value() or b"")
                if event.kind == "BEAT":
                    log.append(("close", account, ids.session_id(START_US)))
                else:
                    log.append(("callback", event.kind, event.payload, event.ingest_ts))
            elif message.topic() == NAMES.intents:
                said = intent(message.value() or b"")
                names = ("account", "session_id", "strategy_id", "order_id", "seqno")
                log.append(("intent", {name: getattr(said, name) for name in names}))
            else:
                fields = msgspec.structs.asdict(correction(message.value() or b""))
                log.append(("correction", fields, (account, message.offset()) in applied))
        return log

    def of_the_oracle(self, account: str) -> dict[tuple[str, str, str, str], oracle_corrections.Row]:
        """Return the rows that the oracle makes of the same input."""
        return oracle_corrections.fold(self.told(account), RULES.cost_methods, env="simulation")

    def answered(self, *corrections: Correction) -> dict[str, CorrectionOutcome]:
        """Run the ledger until it has answered these; the fold of a REBUILD has its own thread, so there is some waiting."""
        ids_of = {correction.correction_id for correction in corrections}
        for _ in range(_TURNS_MAX):
            self.loop.step()
            outcomes = self.world.read(CorrectionOutcome, NAMES.correction_outcomes)
            found = {outcome.correction_id: outcome for outcome in outcomes if outcome.correction_id in ids_of}
            if found.keys() == ids_of:
                return found
            time.sleep(_LOOK_S)
        raise AssertionError(f"no answer to one of {ids_of}")
