"""Bridge, ledger and reconciler as processes on a real Kafka, with a simulated broker whose truth is known.

Callbacks that never come, a list of positions that says something else, and a RiskGate in a process of its own.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import admin

from execpos.brokers.sim import facts
from execpos.brokers.sim.client import Client
from execpos.brokers.sim.scenario import Answers, parse
from execpos.brokers.sim.server import Server
from execpos.brokers.sim.venue import Venue
from execpos.domain import ids
from execpos.domain.events import Command, CorrectionOutcome, Discrepancy, FillEvent, PositionState, ReconciliationRound, TradingControl
from execpos.kafka.follow import Follower
from execpos.local.stack import Stack
from installation import LIVENESS_S, Installation

pytestmark = pytest.mark.stack

# Any: this part of the library exports its names without saying so to a type checker.
_library: Any = admin

GATE = str(Path(__file__).parents[1] / "gate_process.py")
ONE, TEN, TENTH = (f"S|9A95|100000{number}" for number in (1, 2, 3))
EPOCH = date(1970, 1, 1)
TYPES = ("STK", "ETF", "WRT", "FUT", "OPT")

# One deal of the first account, ten of the second, and about every tenth of the third are never told of.
LOSSES = (
    {"kind": "drop_deal", "at_s": 1.0, "count": 1, "account": ONE},
    {"kind": "drop_deal", "at_s": 1.0, "count": 10, "account": TEN},
    *({"kind": "drop_deal", "at_report": number, "count": 1, "account": TENTH} for number in range(30, 280, 40)),
)

# Whatever they lose may be corrected unasked.
GENEROUS = {
    "EXECPOS_RECONCILIATION__AUTO_CORRECT__LIMITS": json.dumps({"STK": {"quantity": 90_000, "notional_twd": 100_000_000}}),
    "EXECPOS_RECONCILIATION__AUTO_CORRECT__DAILY_NOTIONAL_TWD_PER_ACCOUNT": "1000000000",
    "EXECPOS_HALT__UNEXPLAINED_QUANTITY": json.dumps(dict.fromkeys(TYPES, 100_000)),
    "EXECPOS_HALT__UNEXPLAINED_NOTIONAL_TWD": json.dumps(dict.fromkeys(TYPES, 100_000_000)),
    "EXECPOS_HALT__DAILY_AUTO_CORRECT_NOTIONAL_TWD_PER_ACCOUNT": "1000000000",
    "EXECPOS_HALT__ESTIMATED_SHARE": "1",
}

# Above it an unexplained difference halts; like those above it no sum of fills, which would be a list that is late.
UNEXPLAINED = 2_003
DIFFERENCES = (3_001, 4_001, 5_003)
STRICT = {
    "EXECPOS_RECONCILIATION__AUTO_CORRECT__ENABLED": "false",
    "EXECPOS_HALT__UNEXPLAINED_QUANTITY": json.dumps(dict.fromkeys(TYPES, UNEXPLAINED) | {"ETF": 20_000, "WRT": 20_000}),
    "EXECPOS_HALT__UNEXPLAINED_NOTIONAL_TWD": json.dumps(dict.fromkeys(TYPES, 1_000_000_000)),
}

# What a gate has from a halt to its denial, of several tries the best, because others use the machine too; and what no try may take.
DENIED_MS = 100.0
DENIED_AT_LAST_MS = 2_000.0

REPORT = {
    "round", "accounts", "keys_compared", "equal", "moved", "discrepancies", "corrections", "broker_calls", "seconds", "verdict",
}  # fmt: skip


class Lasting(Venue):
    """A broker whose clients are not told that its day is over, so that they stay; its list of positions can be made wrong."""

    def __init__(self, scenario: Any) -> None:
        super().__init__(scenario)
        # (account, symbol) -> shares bought for cash that its list has beyond what was traded through it.
        self.beyond: dict[tuple[str, str], int] = {}

    def call(self, client: Client | None, method: str, arguments: Mapping[str, Any]) -> Any:
        if method == "sim_finished":
            return False
        answer = super().call(client, method, arguments)
        if method != "list_positions" or not self.beyond:
            return answer
        more = {symbol: shares for (account, symbol), shares in self.beyond.items() if account == arguments["account"]}
        return [row | {"quantity": row["quantity"] + more.get(row["code"], 0)} if row["cond"] == "Cash" else row for row in answer]

    def tell_all(self) -> None:
        """Let the records have every deal from now on."""
        with self._lock:
            self._counter.reading._chances = Answers()


class Site:
    """An installation whose broker is in this process, so that a test may change its answers."""

    def __init__(self, installation: Installation, settings: Mapping[str, str], scenario: Mapping[str, Any]) -> None:
        self.installation = installation
        # A second look after a second: nobody is there whose list could be late.
        self.settings = {"EXECPOS_RECONCILIATION__SETTLE_S": "1", **settings}
        defaults = {"seed": 5, "rate": 60, "accounts": {"stock": 2, "futures": 0}, "market": {"stocks": 6}, "sessions": [{"seconds": 5}]}
        self.venue = Lasting(parse({**defaults, **scenario}, lambda path: f"scenario {path}"))
        self.venue.start()
        self.server = Server(self.venue)
        self.server.start()

    def close(self) -> None:
        self.server.stop()
        self.venue.stop()

    def run(self, *component: str) -> "subprocess.Popen[bytes]":
        return self.installation.spawn("-m", "execpos", "run", *component, **self.settings)

    def play(self) -> None:
        """Let the day be traded to its end with bridge and ledger at work, and then let the reconciler find what it finds."""
        self.run("ledger")
        self.run("bridge", "--broker", "sim", "--connect", self.server.address)
        self.wait("the day to end", lambda: self.venue.finished)
        self.run("reconciler")
        accounts = set(self.venue.truth()["accounts"])
        self.wait("all accounts to be ACTIVE", lambda: {key for key, state in self.states().items() if state == "ACTIVE"} >= accounts)

    def wait(self, what: str, done: Callable[[], Any]) -> None:
        def look() -> Any:
            for child in self.installation.children:
                assert child.poll() is None, self.installation.log_of(child)[-4000:]
            return done()

        self.installation.wait(what, look)

    def execpos(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run a command; return its exit status and the object that it printed, with `error` alone when it printed none."""
        environ = self.installation.environ | self.settings
        command = [sys.executable, "-m", "execpos", *arguments, "--json"]
        ran = subprocess.run(command, env=environ, capture_output=True, timeout=LIVENESS_S, check=False)
        return ran.returncode, json.loads(ran.stdout) if ran.stdout else {"error": ran.stderr.decode()}

    def read(self, record: type[Any], name: str) -> list[Any]:
        return self.installation.topics.read(record, self.topic(name))

    def topic(self, name: str) -> str:
        return f"{self.installation.prefix}exec.{name}.v1"

    def states(self) -> dict[str, str]:
        """Return what the reconciler said last of each scope; an account as the simulator names it."""
        said = {one.scope: one.state for one in self.read(TradingControl, "control") if one.source == "reconciler"}
        return {scope.removeprefix("simulation|"): state for scope, state in said.items()}

    def held(self) -> dict[tuple[str, str, str], int]:
        """Return what the ledger holds, net."""
        return {(one.account, one.symbol, one.book): one.quantity for one in self.net()}

    def net(self) -> list[PositionState]:
        found = self.installation.topics.all().positions
        return [one for one in found if one.strategy_id == ids.NET and one.quantity]

    def truth(self) -> dict[tuple[str, str, str], int]:
        """Return what the simulated broker holds, net."""
        rows = facts.rows_of(self.venue.truth())
        return {
            (row["account"], row["symbol"], row["book"]): row["quantity"] for row in rows if row["strategy_id"] == "*" and row["quantity"]
        }

    def fills(self) -> tuple[dict[str, FillEvent], dict[str, FillEvent]]:
        """Return the first and the newest revision of each fill, in the order in which they came."""
        revisions: list[FillEvent] = self.read(FillEvent, "fills")
        first: dict[str, FillEvent] = {}
        for fill in revisions:
            first.setdefault(fill.fill_id, fill)
        return first, {fill.fill_id: fill for fill in revisions}

    def lost(self) -> dict[str, list[dict[str, Any]]]:
        """Return the fills of each account that no callback told of."""
        found: dict[str, list[dict[str, Any]]] = {}
        for fill in self.venue.truth()["fills"]:
            if not fill["receipts"]:
                found.setdefault(fill["account"].removeprefix("simulation|"), []).append(fill)
        return found

    def ended(self) -> dict[str, ReconciliationRound]:
        """Return the first round of each account that came to an end; one that is settling goes on in the next."""
        found: dict[str, ReconciliationRound] = {}
        for one in self.read(ReconciliationRound, "rounds"):
            if one.verdict != "SETTLING":
                found.setdefault(one.account.removeprefix("simulation|"), one)
        return found


@contextmanager
def site(installation: Installation, settings: Mapping[str, str], **scenario: Any) -> Iterator[Site]:
    made = Site(installation, settings, scenario)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def installation(stack: Stack, tmp_path: Path) -> Iterator[Installation]:
    made = Installation(stack, tmp_path)
    try:
        yield made
    finally:
        made.close()


def identities(fills: Iterable[FillEvent]) -> list[tuple[str, ...]]:
    """Return fills as the simulator names them."""
    return [(one.account, (EPOCH + timedelta(days=one.trading_date)).isoformat(), one.order_id, one.exchange_seq) for one in fills]


@pytest.mark.parametrize("told", [True, False], ids=["records_complete", "records_incomplete"])
def test_lost_fills_are_found_or_estimated_and_count_once_in_the_end(installation: Installation, told: bool) -> None:  # noqa: FBT001 (a parameter)
    answers = {} if told else {"records_incomplete": 1.0}
    with site(installation, GENEROUS, accounts={"stock": 3, "futures": 0}, schedule=list(LOSSES), answers=answers) as broker:
        broker.play()
        lost = broker.lost()
        matched = Counter(fill["account"].removeprefix("simulation|") for fill in broker.venue.truth()["fills"])
        assert (len(lost[ONE]), len(lost[TEN])) == (1, 10)
        assert 0.05 < len(lost[TENTH]) / matched[TENTH] < 0.15
        (from_the_records if told else estimated)(broker, lost)
        first, newest = broker.fills()
        real = [fill for name, fill in newest.items() if first[name].cause in {"CALLBACK", "CATCHUP"}]
        assert sum(first[fill.fill_id].cause == "CATCHUP" for fill in real) == sum(map(len, lost.values()))
        assert len(real) == sum(matched.values())
        assert not any(fill.voided for fill in real)
        assert broker.held() == broker.truth() != {}, "and nothing counts twice"


def from_the_records(broker: Site, lost: Mapping[str, Any]) -> None:
    """The very first round of each account ends with the truth, and has invented nothing."""
    differences = {one.discrepancy_id: one.kind for one in broker.read(Discrepancy, "discrepancies")}
    ended = broker.ended()
    assert ended.keys() == lost.keys()
    for one in ended.values():
        # A fill that comes by the records comes later than at the broker, and an average through zero depends on the order: such a
        # difference of cost is told, and nothing is invented to take it away.
        assert {differences[name] for name in one.discrepancies} <= {"COST"}
        assert one.verdict == ("DIFFERENT" if one.discrepancies else "EQUAL"), one.detail
    assert all(one.corrections == () for one in broker.read(ReconciliationRound, "rounds"))
    first, _ = broker.fills()
    broker.installation.verify(facts.rows_of(broker.venue.truth(), identities(first.values())))


def estimated(broker: Site, lost: Mapping[str, Any]) -> None:
    """What the records lack is adjusted; once they have it, the real fills take the place of what stood for them."""
    applied = [one for one in broker.read(CorrectionOutcome, "correction-outcomes") if one.outcome == "APPLIED"]
    assert {one.kind for one in applied} == {"ADJUST"}
    assert {one.account.removeprefix("simulation|") for one in applied} == lost.keys()
    held, truth = broker.held(), broker.truth()
    left = {key for key in held.keys() | truth.keys() if held.get(key, 0) != truth.get(key, 0)}
    known = {one.discrepancy_id: one for one in broker.read(Discrepancy, "discrepancies")}.values()
    # What was lost may look like a list that lacks the latest fills, and that is waited for.
    late = {(one.account, one.symbol, one.book) for one in known if (one.kind, one.status, one.cause) == ("QUANTITY", "OPEN", "BROKER_LAG")}
    assert left <= late, "any other estimate is as good as the broker's list"
    assert not any(account.endswith(ONE) for account, _, _ in left)
    keys = {(one.account, one.symbol, one.book) for one in broker.fills()[0].values() if one.cause == "ADJUST"}
    assert {one.quality for one in broker.net() if (one.account, one.symbol, one.book) in keys} == {"ESTIMATED"}

    broker.venue.tell_all()
    code, report = broker.execpos("reconcile", "--wait")
    # Several fills behind one adjustment are ambiguous, and a key on which that happened says so until somebody has looked.
    kinds = {account: {one["kind"] for one in report["discrepancies"] if one["account"].endswith(account)} for account in lost}
    assert kinds[ONE] <= {"COST"}, "one fill behind one adjustment is not ambiguous"
    assert kinds[TEN] | kinds[TENTH] <= {"COST", "MARKED"}
    assert (code, report["verdict"]) == ((6, "DIFFERENT") if report["discrepancies"] else (0, "EQUAL"))
    assert report["corrections"] == []
    first, newest = broker.fills()
    stood = [newest[name] for name, fill in first.items() if fill.cause == "ADJUST" and fill.account.endswith(ONE)]
    assert [(fill.cause, fill.voided) for fill in stood] == [("VOID", True)]


# --- a gate elsewhere --------------------------------------------------------------------------------------------------------------------


def stamp_by_kafka(broker: Site, name: str) -> None:
    """Let records of a topic bear the time at which the broker appended them; that of their writers is before their way there."""
    resource = _library.ConfigResource(_library.ConfigResource.Type.TOPIC, broker.topic(name))
    operation = _library.AlterConfigOpType.SET
    resource.add_incremental_config(_library.ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=operation))
    client = _library.AdminClient({"bootstrap.servers": broker.installation.stack.kafka.bootstrap_servers, "log_level": 0})
    for done in client.incremental_alter_configs([resource]).values():
        done.result(30)


class Asked:
    """A RiskGate in a process of its own that is asked about one position all the time."""

    def __init__(self, broker: Site, account: str, symbol: str, book: str) -> None:
        self._broker = broker
        self._child = broker.installation.spawn(GATE, account, symbol, book, GATE_TIMES="yes", **broker.settings)

    def answers(self) -> list[tuple[int, str]]:
        """Return every answer so far with its moment, µs; lines of the log begin with a brace."""
        lines = [line for line in self._broker.installation.log_of(self._child).splitlines() if line and not line.startswith("{")]
        # The last one may be half written.
        return [(int(at), answer) for at, _, answer in (line.partition(" ") for line in lines) if answer]

    def now(self) -> str:
        """Return the answer that holds; empty before the first."""
        return self.answers()[-1][1] if self.answers() else ""

    def comes(self, answer: str) -> None:
        self._broker.wait(f"the gate to say {answer!r}", lambda: answer in self.now().split())

    def denied_after(self, at_us: int) -> float:
        """Return how many ms after a moment the first denial came, if the order was allowed until then."""
        self.comes("halted")
        for before, after in pairwise(self.answers()):
            if after[0] >= at_us and before[1] == "allowed":
                assert "halted" in after[1], f"denied for another reason: {after[1]}"
                return (after[0] - at_us) / 1000
        raise AssertionError(f"the order was not allowed before {at_us}: {self.answers()}")


def halt_of(broker: Site, scope: str, source: str) -> tuple[TradingControl, int, int]:
    """Return the latest halt of a scope as it was first said, and when that was: by its writer's clock, and as Kafka wrote it down, µs."""
    decoded = iter(broker.read(TradingControl, "control"))
    follower = Follower(broker.installation.cluster, [broker.topic("control")])
    try:
        stamps = [message.timestamp()[1] * 1000 for message in follower.poll() if message.value() is not None]
    finally:
        follower.close()
    found: dict[str, tuple[TradingControl, int, int]] = {}
    for said, stamp_us in zip(decoded, stamps, strict=False):
        if (said.scope, said.source, said.state) == (scope, source, "HALTED"):
            found.setdefault(said.control_id, (said, said.ts, stamp_us))
    return list(found.values())[-1]


def test_a_gate_elsewhere_denies_within_100_ms_of_a_halt_and_allows_after_a_resume_with_a_reason(installation: Installation) -> None:
    with site(installation, STRICT) as broker:
        stamp_by_kafka(broker, "control")
        broker.play()
        code, report = broker.execpos("reconcile", "--wait")
        assert (code, report["verdict"]) == (0, "EQUAL")
        assert report.keys() == REPORT
        assert report["equal"] == report["keys_compared"] == len(broker.held()) > 0
        assert (report["moved"], report["discrepancies"], report["corrections"]) == (0, [], [])
        assert report["broker_calls"] >= 4, "two reads of two accounts"

        here = next(one for one in broker.net() if one.quantity > 0 and one.book == "cash" and one.quality == "CONFIRMED")
        number, scope = here.account.removeprefix("simulation|"), f"{here.account}|{here.symbol}"
        gate = Asked(broker, here.account, here.symbol, here.book)
        gate.comes("allowed")
        broker.venue.beyond[number, here.symbol] = UNEXPLAINED
        code, report = broker.execpos("reconcile", "--wait")
        assert (code, report["verdict"]) == (6, "DIFFERENT")
        (open_,) = report["discrepancies"]
        assert (open_["kind"], open_["status"], open_["symbol"]) == ("QUANTITY", "OPEN", here.symbol)
        assert (open_["ledger_quantity"], open_["broker_quantity"]) == (here.quantity, here.quantity + UNEXPLAINED)
        assert "HALTED" not in {one.state for one in broker.read(TradingControl, "control")}, "as much as may be"
        assert gate.now() == "allowed"

        by_limit, by_hand = [], []
        for difference in DIFFERENCES:
            broker.venue.beyond[number, here.symbol] = difference
            code, _ = broker.execpos("reconcile", "--wait")
            assert code == 6
            halt, *moments = halt_of(broker, scope, "reconciler")
            assert any("unexplained_quantity" in name for name in halt.evidence), halt
            by_limit.append([gate.denied_after(moment) for moment in moments])
            if len(by_limit) == 1:
                refused(broker, gate, scope)
            resumed(broker, gate, scope, halt.control_id)
        for _ in range(2):
            code, said = broker.execpos("halt", "--account", here.account, "--reason", "a look at it", "--yes")
            assert code == 0, said
            halt, *moments = halt_of(broker, here.account, "operator")
            by_hand.append([gate.denied_after(moment) for moment in moments])
            resumed(broker, gate, here.account, halt.control_id)
        assert_quick("the reconciler's halt", by_limit)
        assert_quick("execpos halt", by_hand)


def refused(broker: Site, gate: Asked, scope: str) -> None:
    """A resume without a reason changes nothing."""
    for without in ((), ("--reason", " ")):
        code, said = broker.execpos("resume", scope, "--yes", *without)
        assert code != 0
        assert "reason" in said["error"]
    assert gate.now() != "allowed"
    assert [one for one in broker.read(Command, "commands") if one.kind == "RESUME"] == []


def resumed(broker: Site, gate: Asked, scope: str, control_id: str) -> None:
    """A resume with a reason leaves a record of who gave it, and where nothing else stands the gate allows again."""
    code, said = broker.execpos("resume", scope, "--yes", "--reason", "both were looked at", "--by", "somebody")
    assert (code, said["released"], said["recorded"], said["still"]) == (0, [control_id], True, [])
    (left,) = [one for one in broker.read(Command, "commands") if one.kind == "RESUME" and one.control_id == control_id]
    assert (left.reason, left.by) == ("both were looked at", "somebody")
    gate.comes("allowed")


def assert_quick(what: str, tries: list[list[float]]) -> None:
    """Assert the time from a halt to its denial, of the record's own clock and of Kafka's."""
    decided, written = zip(*tries, strict=True)
    figures = f"{what}: denied {[round(one, 1) for one in written]} ms after it was written, {[round(one, 1) for one in decided]} ms after"
    sys.stdout.write(f"{figures} it was decided\n")
    assert min(written) <= DENIED_MS, figures
    assert max(written) <= DENIED_AT_LAST_MS, figures
