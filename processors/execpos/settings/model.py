"""What stands in `config/execution.yaml`: each key with its unit, its limits and its default."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from execpos.domain.positions import CostMethod
from execpos.domain.rules import ComboRule, CustomFieldUse

Env = Literal["production", "simulation", "replay"]
SecurityType = Literal["STK", "ETF", "WRT", "FUT", "OPT"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+(/\S*)?$")]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
CountOrZero = Annotated[int, Field(ge=0, le=1_000_000_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]
# Ten trillion TWD are more than the market turns over in a week; a larger number is 10^-6 TWD by mistake.
Twd = Annotated[int, Field(ge=0, le=10_000_000_000_000)]


class Section(BaseModel):
    """Frozen, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Kafka(Section):
    """The Kafka cluster."""

    bootstrap_servers: Annotated[str, Field(pattern=r"^[^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*$")] = "127.0.0.1:9092"
    """host:port of one or more brokers, joined by commas."""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,60}$")] = ""
    """Stands before every topic, group and transactional id, so that installations share a cluster."""
    client: dict[str, str | int | float | bool] = {}
    """More settings of the client library, such as security.protocol; those that execpos sets itself are refused."""


class Registry(Section):
    """The schema registry (Confluent's interface)."""

    url: Url = "http://127.0.0.1:8081/apis/ccompat/v7"
    """Base address of the interface."""
    timeout_s: Seconds = 10
    """Longest wait for one answer."""


class ClickHouse(Section):
    """The warehouse."""

    url: Url = "http://127.0.0.1:8123"
    """Address of its HTTP interface; user and password as http://user:password@host:port."""
    database: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,60}$")] = "execpos"
    """Database of the tables."""


class Ledger(Section):
    """The ledger's loop."""

    instance: Name = "ledger-0"
    """Name of this process; the same after a restart, another one for each process."""
    batch_max: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Most records in one transaction."""
    poll_ms: Milliseconds = 50
    """Longest wait for the first record of a transaction."""
    progress_interval_ms: Annotated[int, Field(ge=10, le=1000)] = 1000
    """Longest time between two progress records of a partition."""
    transaction_timeout_ms: Annotated[int, Field(ge=1000, le=900_000)] = 10_000
    """After it the cluster aborts an open transaction of a dead process."""
    session_timeout_ms: Annotated[int, Field(ge=6000, le=1_800_000)] = 30_000
    """After it the group gives the partitions of a dead process to others; above transaction_timeout_ms."""
    leave_on_stop: bool = True
    """Whether a process that is told to stop hands its partitions over at once; false: it keeps them for a restart within the session."""


class Reconciler(Section):
    """The reconciler's loop."""

    instance: Name = "reconciler-0"
    """Name of this process; the same after a restart, another one for each process."""
    transaction_timeout_ms: Annotated[int, Field(ge=1000, le=900_000)] = 10_000
    """After it the cluster aborts an open transaction of a dead process; until then nobody reads what came after it on exec.control."""
    session_timeout_ms: Annotated[int, Field(ge=6000, le=1_800_000)] = 30_000
    """After it the group gives the accounts of a dead process to a spare one; above transaction_timeout_ms."""
    leave_on_stop: bool = True
    """Whether a process that is told to stop hands its accounts over at once; false: it keeps them for a restart within the session."""


class Journal(Section):
    """The bridge's memory on disk: every record before it is published, until Kafka has it."""

    folder: Annotated[str, Field(min_length=1)] = ".execpos/journal"
    """Folder of all journals, relative to where the bridge is started; each bridge and env has one of its own, as bridge-0/simulation."""
    fsync: Literal["always", "interval_ms", "never"] = "interval_ms"
    """always: on the disk before it is published; interval_ms: at most fsync_interval_ms later; never: when the system likes."""
    fsync_interval_ms: Annotated[int, Field(ge=1, le=60_000)] = 50
    """Time between two syncs, and between two notes of what Kafka has; what a machine without power may lose."""
    segment_bytes: Annotated[int, Field(ge=1_048_576, le=4_294_967_296)] = 67_108_864
    """A file that is larger is followed by a new one."""
    segment_age_s: Seconds = 3600
    """So is one that is older; only whole files are deleted."""
    retain_hours: Annotated[float, Field(ge=0, le=8760)] = 72
    """How long a file stays after Kafka has all of it."""
    retain_bytes: Annotated[int, Field(ge=0, le=1_099_511_627_776)] = 4_294_967_296
    """Such files together are not kept beyond this size. What Kafka does not have is never deleted."""


class Bridge(Section):
    """The bridge to the broker."""

    id: Name = "bridge-0"
    """Name of this bridge; one per broker login."""
    max_payload_bytes: Annotated[int, Field(ge=1024, le=900_000)] = 262_144
    """Largest report that travels whole; of a larger one, its hash and its place in the journal."""
    heartbeat_interval_s: Annotated[float, Field(ge=0.1, le=10)] = 1
    """Time between two beats, and two heartbeats, of an account."""
    drain_timeout_s: Seconds = 60
    """How long the end waits for Kafka; what it does not have by then stays in the journal."""
    captured_alarm: Count = 100_000
    """Reports in memory that are not in the journal yet, above which it is an alarm; nothing is ever dropped."""
    marks_interval_s: Annotated[float, Field(ge=0.05, le=3600)] = 1
    """Time between two marks of a symbol that is held."""
    max_part_bytes: Annotated[int, Field(ge=16_384, le=900_000)] = 262_144
    """Largest part of a broker's answer; a larger one travels in several."""
    request_poll_ms: Annotated[int, Field(ge=10, le=10_000)] = 250
    """How late a request, or another bridge of the same name, is noticed at most."""
    lease_s: Annotated[float, Field(ge=1, le=300)] = 5
    """Publishing pauses when the last look for another bridge of the same name is older."""
    answer_timeout_s: Annotated[float, Field(ge=1, le=120)] = 15
    """Longest wait for one answer of the broker."""
    budget_wait_s: Annotated[float, Field(ge=0, le=120)] = 10
    """Longest wait of a read for its turn in the broker's budget."""
    journal: Journal = Journal()


class Positions(Section):
    """How positions are kept."""

    cost_method: dict[str, CostMethod] = {
        "cash": "average",
        "margin": "fifo",
        "short": "fifo",
        "sbl": "fifo",
        "emerging": "average",
        "derivative": "fifo",
    }
    """Book -> average, fifo or day_pair_average; a security type, or one with its book (STK.cash), goes before the book."""
    max_lots: Annotated[int, Field(ge=2, le=10_000)] = 256
    """Open lots of a row; beyond it the oldest are merged, and the row says so."""
    forget_flat_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """Days after which a flat position leaves the compacted topic."""


class Snapshots(Section):
    """When the ledger writes the whole book of an account."""

    interval_s: Seconds = 60
    """Time between two periodic snapshots of an account whose book changed."""
    idle_interval_s: Seconds = 900
    """Time between two when it did not change."""
    session_close_delay_s: Seconds = 300
    """Time after the end of a session until the checkpoint of that session."""
    max_part_bytes: Annotated[int, Field(ge=16_384, le=900_000)] = 262_144
    """Largest part of a snapshot; a larger book travels in several."""


class AttributionSettings(Section):
    """How a fill finds its strategy when no intent names it."""

    custom_field: CustomFieldUse = "as_strategy"
    """as_strategy: the text is the strategy id; mapped: through custom_field_map; ignore."""
    custom_field_map: dict[str, Annotated[str, Field(min_length=1)]] = {}
    """Text -> strategy id, for `mapped`; other texts stay UNASSIGNED."""


class Window(Section):
    """How far back a fill can still be proven new."""

    sessions: Annotated[int, Field(ge=1, le=200)] = 10
    """Half-day sessions before the newest one, weekends and holidays included."""


class CorrectionLimit(Section):
    """What may be corrected without an operator."""

    quantity: CountOrZero
    """Shares or contracts."""
    notional_twd: Twd
    """TWD."""


class AutoCorrect(Section):
    """Corrections without an operator, only where a coverage gap explains the difference."""

    enabled: bool = True
    """false: every difference goes to the operator."""
    limits: dict[SecurityType, CorrectionLimit] = {
        "STK": CorrectionLimit(quantity=2000, notional_twd=500_000),
        "ETF": CorrectionLimit(quantity=5000, notional_twd=500_000),
        "WRT": CorrectionLimit(quantity=5000, notional_twd=100_000),
        "FUT": CorrectionLimit(quantity=1, notional_twd=5_000_000),
        "OPT": CorrectionLimit(quantity=2, notional_twd=100_000),
    }
    """Per security type, for one correction; a type that is missing is never corrected without an operator."""
    daily_count_per_key: CountOrZero = 3
    """Corrections of one position in one trading day."""
    daily_notional_twd_per_account: Twd = 5_000_000
    """TWD of all corrections of one account in one trading day."""


class Reconciliation(Section):
    """Comparing the book with the broker."""

    interval_s: Seconds = 300
    """Time between two scheduled rounds of an account."""
    settle_s: Seconds = 10
    """A difference counts only when a second round at least so much later shows the same."""
    rounds: Annotated[int, Field(ge=2, le=20)] = 3
    """Rounds in which a position that keeps moving is tried, before it becomes an open discrepancy."""
    witness_rounds: Annotated[int, Field(ge=1, le=20)] = 3
    """Rounds over which a missing row at the broker needs a second witness."""
    resolve_within_s: Seconds = 1800
    """A discrepancy that is open for longer halts its scope."""
    cost_tolerance_ticks: CountOrZero = 1
    """Difference of average cost that is not reported."""
    four_eyes: bool = False
    """true: an approval needs two operators."""
    auto_correct: AutoCorrect = AutoCorrect()


class Budget(Section):
    """Calls that the broker allows in a span of time."""

    calls: Annotated[int, Field(ge=1, le=10_000)]
    """Calls."""
    per_s: Seconds
    """Span."""


class Polling(Section):
    """How often the broker is asked, and how often it may be."""

    positions_interval_s: Seconds = 60
    """Time between two reads of an account's positions that nothing else asked for."""
    orders_interval_s: Seconds = 30
    """Time between two reads of an account's order and deal records."""
    profit_loss_interval_s: Seconds = 3600
    """Time between two reads of an account's realized profit after the close."""
    budget_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Part of each budget that execpos uses; the rest is for other programs of the same login."""
    accounting: Budget = Budget(calls=25, per_s=5)
    """Positions, profit and loss, balance, margin, settlements, together."""
    orders: Budget = Budget(calls=250, per_s=10)
    """update_status, together with every order call of the login."""
    data: Budget = Budget(calls=50, per_s=10)
    """Quotes on request."""
    suspension_s: Seconds = 60
    """Silence after the broker has suspended the login."""


class Halt(Section):
    """When trading stops by itself."""

    recovery_seconds: Seconds = 120
    """Longest recovery before it becomes a halt."""
    heartbeat_gap_s: Annotated[float, Field(ge=2, le=86_400)] = 10
    """Silence of a bridge; it beats once a second."""
    ledger_lag_s: Seconds = 5
    """Age of the oldest report that the ledger has not handled."""
    progress_age_s: Seconds = 5
    """Silence of the ledger."""
    unexplained_quantity: dict[SecurityType, CountOrZero] = {"STK": 10_000, "ETF": 20_000, "WRT": 20_000, "FUT": 5, "OPT": 10}
    """Shares or contracts of one position that differ from the broker without an explanation, per security type."""
    unexplained_notional_twd: dict[SecurityType, Twd] = {
        "STK": 2_000_000,
        "ETF": 2_000_000,
        "WRT": 500_000,
        "FUT": 25_000_000,
        "OPT": 500_000,
    }
    """The same in TWD."""
    daily_auto_correct_notional_twd_per_account: Twd = 10_000_000
    """TWD of automatic corrections of one account in one trading day."""
    failed_broker_reads: Count = 5
    """Reads of one account that failed one after the other."""
    estimated_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Part of an account's positions whose quality is ESTIMATED."""
    estimated_positions: Count = 5
    """So many ESTIMATED positions at least, before their part counts: a small account has it with its first correction."""
    dead_letters: Count = 10
    """Dead letters of one account that wait for an operator."""
    journal_backlog: Count = 10_000
    """Reports in a bridge's journal that Kafka does not have yet."""
    audit_breach: bool = True
    """A breach that the auditor finds halts its scope."""


class Client(Section):
    """What strategies and risk go by (`from execpos import PositionView, RiskGate`)."""

    required_sources: tuple[Literal["reconciler", "auditor", "operator"], ...] = ("reconciler",)
    """Sources of exec.control that have to have spoken lately, or no order passes the gate."""
    control_age_s: Annotated[float, Field(ge=3, le=86_400)] = 5
    """Silence of such a source."""
    orders_within_s: Annotated[float, Field(gt=0, le=2_592_000)] = 345_600
    """How far back a client looks for open orders at its start."""


class Execution(Section):
    """config/execution.yaml."""

    env: Env = "simulation"
    """Which of the broker's worlds; its ids come again in each of them, so it is part of every key."""
    kafka: Kafka = Kafka()
    registry: Registry = Registry()
    clickhouse: ClickHouse = ClickHouse()
    ledger: Ledger = Ledger()
    reconciler: Reconciler = Reconciler()
    bridge: Bridge = Bridge()
    positions: Positions = Positions()
    snapshots: Snapshots = Snapshots()
    attribution: AttributionSettings = AttributionSettings()
    window: Window = Window()
    combo: ComboRule = "park"
    """park: fills of combos wait as dead letters (their shape is not proven); legs: each leg is booked as it is reported."""
    reconciliation: Reconciliation = Reconciliation()
    polling: Polling = Polling()
    halt: Halt = Halt()
    client: Client = Client()
