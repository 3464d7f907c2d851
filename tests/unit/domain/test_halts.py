"""Each limit halts when it is crossed and not before, on the narrowest scope, until an operator names it; and what halts again then."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrections import MICROS, STOCK
from execpos import settings
from execpos.domain import control
from execpos.domain.control import symbol_scope
from execpos.domain.events import Discrepancy, TradingControl
from execpos.domain.reconciliation import halts
from execpos.domain.reconciliation.approvals import rejected, requested
from execpos.domain.reconciliation.discrepancies import corrected, correcting, expired, explained, observed
from execpos.domain.reconciliation.halts import AUDITORS, CONDITIONS, RELAPSE, Crossed, Facts, Limits, crossed, halted_by, next_controls
from execpos.settings.model import Halt
from repair_world import NOW, TODAY, WITHIN, at, command, difference, finding, micros, wanted

S = MICROS
SYMBOL = symbol_scope(STOCK, "2890")
LIMITS = Limits(
    recovery_us=120 * S,
    heartbeat_gap_us=10 * S,
    ledger_lag_us=5 * S,
    progress_age_us=5 * S,
    unexplained_quantity={"STK": 10_000, "FUT": 5},
    unexplained_notional={"STK": micros(2_000_000), "FUT": micros(25_000_000)},
    daily_auto_correct_notional=micros(10_000_000),
    failed_broker_reads=5,
    estimated_ppm=200_000,
    estimated_positions=5,
    dead_letters=10,
    journal_backlog=10_000,
)


def facts(now_us: int = NOW, **changes: Any) -> Facts:
    return Facts(account=STOCK, now_us=now_us, by="reconciler-0", **changes)


def differs(quantity: int = 1, average: float = 1.0, security_type: str = "STK", **changes: Any) -> Discrepancy:
    return msgspec.structs.replace(difference(finding(None, quantity, average, security_type=security_type)), **changes)


def open_for(us: int) -> Facts:
    one = differs()
    return facts(one.opened_ts + us, differences=(one,))


# limit -> the most that is allowed, and a little more
_CASES: dict[str, tuple[Facts, Facts, str]] = {
    "recovery_seconds": (facts(recovering_us=120 * S), facts(recovering_us=120 * S + 1), STOCK),
    "heartbeat_gap_s": (facts(heartbeat_age_us=10 * S), facts(heartbeat_age_us=10 * S + 1), STOCK),
    "ledger_lag_s": (facts(ledger_lag_us=5 * S), facts(ledger_lag_us=5 * S + 1), STOCK),
    "progress_age_s": (facts(progress_age_us=5 * S), facts(progress_age_us=5 * S + 1), STOCK),
    "unexplained_quantity": (facts(differences=(differs(10_000),)), facts(differences=(differs(10_001),)), SYMBOL),
    "unexplained_notional_twd": (facts(differences=(differs(10, 200_000.0),)), facts(differences=(differs(10, 200_001.0),)), SYMBOL),
    "daily_auto_correct_notional_twd_per_account": (
        facts(auto_corrected=micros(10_000_000)), facts(auto_corrected=micros(10_000_000) + 1), STOCK
    ),
    "failed_broker_reads": (facts(failed_reads=5), facts(failed_reads=6), STOCK),
    "estimated_share": (facts(positions=50, estimated=10), facts(positions=50, estimated=11), STOCK),
    "dead_letters": (facts(dead_letters=10), facts(dead_letters=11), STOCK),
    "journal_backlog": (facts(journal_backlog=10_000), facts(journal_backlog=10_001), STOCK),
    "journal_error": (facts(), facts(journal_error="No space left on device"), STOCK),
    "resolve_within_s": (open_for(WITHIN - 1), open_for(WITHIN), SYMBOL),
}  # fmt: skip


# --- limits ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", _CASES)
def test_at_the_limit_trading_goes_on_and_above_it_its_scope_is_halted(limit: str) -> None:
    below, above, scope = _CASES[limit]

    assert crossed(below, LIMITS) == ()
    assert {record.state for record in next_controls(below, LIMITS, {}, {})} == {"ACTIVE"}
    (found,) = crossed(above, LIMITS)
    assert (found.limit, found.scope) == (limit, scope)
    records = {record.scope: record for record in next_controls(above, LIMITS, {}, {})}
    halted = records[scope]
    assert (halted.state, halted.latched, halted.source, halted.by) == ("HALTED", True, "reconciler", "reconciler-0")
    assert halted.evidence == {f"cause {found.cause}": f"{found.value} above {found.allowed}"}
    assert halted.reason == found.detail
    assert limit in found.detail or limit == "journal_error"
    # Nothing wider than that is.
    assert scope == STOCK or records[STOCK].state == "ACTIVE"


def test_every_limit_of_the_configuration_has_its_case_here_or_is_the_auditors() -> None:
    assert {*Halt.model_fields} | {"journal_error", "resolve_within_s"} == _CASES.keys() | AUDITORS | CONDITIONS
    assert RELAPSE.keys() == _CASES.keys()
    assert not (AUDITORS | CONDITIONS) & _CASES.keys()


def test_every_number_of_limits_comes_from_the_configuration() -> None:
    """With the defaults of `halt:` the cases above are those of the configuration."""
    halt = settings.load(None).halt

    assert (halt.recovery_seconds * S, halt.heartbeat_gap_s * S) == (LIMITS.recovery_us, LIMITS.heartbeat_gap_us)
    assert (halt.ledger_lag_s * S, halt.progress_age_s * S) == (LIMITS.ledger_lag_us, LIMITS.progress_age_us)
    assert halt.unexplained_quantity["STK"] == LIMITS.unexplained_quantity["STK"]
    assert micros(halt.unexplained_notional_twd["STK"]) == LIMITS.unexplained_notional["STK"]
    assert micros(halt.daily_auto_correct_notional_twd_per_account) == LIMITS.daily_auto_correct_notional
    assert (halt.failed_broker_reads, halt.dead_letters) == (LIMITS.failed_broker_reads, LIMITS.dead_letters)
    assert (round(halt.estimated_share * 1_000_000), halt.journal_backlog) == (LIMITS.estimated_ppm, LIMITS.journal_backlog)
    assert halt.estimated_positions == LIMITS.estimated_positions
    assert len(Limits.__struct_fields__) == len(Halt.model_fields) - len(AUDITORS)


@pytest.mark.parametrize("positions", [1, 2, 4, 5])
def test_the_share_of_estimates_counts_only_from_so_many_positions_on(positions: int) -> None:
    found = crossed(facts(positions=positions, estimated=positions), LIMITS)

    assert [one.limit for one in found] == (["estimated_share"] if positions >= LIMITS.estimated_positions else [])
    # From there on the share decides.
    assert crossed(facts(positions=25, estimated=5), LIMITS) == ()
    assert [one.limit for one in crossed(facts(positions=24, estimated=5), LIMITS)] == ["estimated_share"]


def test_a_security_type_without_a_limit_may_not_differ_at_all() -> None:
    assert [one.limit for one in crossed(facts(differences=(differs(1, 1.0, "OPT"),)), LIMITS)] == [
        "unexplained_quantity", "unexplained_notional_twd"
    ]  # fmt: skip


LARGE = differs(20_000)
LARGE_ID = LARGE.discrepancy_id


@pytest.mark.parametrize(
    "one",
    [
        msgspec.structs.replace(LARGE, cause="BROKER_LAG"),
        msgspec.structs.replace(LARGE, cause="EXPIRED_CONTRACT"),
        msgspec.structs.replace(LARGE, kind="COST"),
        msgspec.structs.replace(LARGE, kind="PROFIT"),
        msgspec.structs.replace(LARGE, kind="UNKNOWN_ROW"),
        msgspec.structs.replace(expired(LARGE, at(2), "halt-1"), kind="COST"),
        explained(LARGE, at(2), "equal"),
        rejected(LARGE, command("REJECT"), at(2)).discrepancy,
        corrected(correcting(LARGE, (), at(2)), at(3), "applied"),
        requested(command("CORRECT", "ann", wanted("ADJUST", symbol="2890", book="cash", quantity=20_000)), at(), trading_date=TODAY),
    ],
)
def test_what_is_explained_judged_over_or_no_quantity_is_not_unexplained(one: Discrepancy) -> None:
    assert crossed(facts(differences=(one,)), LIMITS) == ()


@pytest.mark.parametrize("cause", ["NONE", "COVERAGE_GAP", "OPENING"])
def test_what_stands_uncorrected_is_unexplained(cause: str) -> None:
    assert crossed(facts(differences=(msgspec.structs.replace(LARGE, cause=cause),)), LIMITS)
    assert crossed(facts(differences=(correcting(LARGE, (), at(2)),)), LIMITS)


def test_money_alone_never_expires_and_a_difference_of_the_account_halts_the_account() -> None:
    unreadable = observed(None, STOCK, "UNREADABLE", None, at(), cause="UNREADABLE", evidence={}, trading_date=TODAY, resolve_within_us=1)

    assert [one.scope for one in crossed(facts(NOW * 2, differences=unreadable), LIMITS)] == [STOCK]
    cost = observed(None, STOCK, "COST", finding(None, 5, 10.0, "COST"), at(), cause="NONE", evidence={}, trading_date=TODAY,
                    resolve_within_us=1)  # fmt: skip
    assert crossed(facts(NOW * 2, differences=cost), LIMITS) == ()


def test_two_symbols_are_halted_apart_and_the_account_goes_on() -> None:
    other = msgspec.structs.replace(LARGE, symbol="0050", discrepancy_id="x")

    made = next_controls(facts(differences=(LARGE, other)), LIMITS, {}, {})

    assert [(record.scope, record.state) for record in made] == [
        (STOCK, "ACTIVE"), (symbol_scope(STOCK, "0050"), "HALTED"), (SYMBOL, "HALTED")
    ]  # fmt: skip
    assert made[1].control_id != made[2].control_id


# --- latches ---------------------------------------------------------------------------------------------------------------------------


class Source:
    """A reconciler that speaks, and an operator who may release what it says."""

    def __init__(self) -> None:
        self.before: dict[str, TradingControl] = {}
        self.operator: dict[str, TradingControl] = {}
        self.now = NOW

    def beat(self, scope: str = STOCK, /, **changes: Any) -> TradingControl:
        """Return what is said of a scope a second later; each record may follow what stood."""
        self.now += S
        made = next_controls(facts(self.now, **changes), LIMITS, self.before, self.operator)
        assert len({record.scope for record in made}) == len(made)
        for record in made:
            assert control.may_follow(record, self.before.get(record.scope), self.operator.get(record.scope)), record
            assert record.latched == (record.state == "HALTED")
            assert " " not in record.control_id
            assert record.reason or record.state == "ACTIVE"
        self.before |= {record.scope: record for record in made}
        self.said = {record.scope: record for record in made}
        return self.before[scope]

    def release(self, *control_ids: str, scope: str = STOCK) -> None:
        self.operator[scope] = TradingControl(scope, "operator", "ACTIVE", "op-1", "seen", "ann", latched=False,
                                              releases=" ".join(control_ids), evidence={}, ts=self.now)  # fmt: skip

    def stands(self, scope: str = STOCK) -> bool:
        by_source: Mapping[str, TradingControl] = {"operator": self.operator[scope]} if scope in self.operator else {}
        return control.stands(self.before[scope], by_source)


def test_a_halt_outlives_its_cause_and_beats_under_the_same_name() -> None:
    source = Source()
    halted = source.beat(failed_reads=6)

    for failed in (7, 0, 6):
        again = source.beat(failed_reads=failed)

        assert (again.state, again.control_id, again.reason) == ("HALTED", halted.control_id, halted.reason)
        assert again.ts == source.now


def test_only_the_record_that_names_it_ends_it() -> None:
    source = Source()
    halted = source.beat(failed_reads=6)

    source.release("halt-other", f"{halted.control_id}x", "")
    assert source.beat().control_id == halted.control_id
    source.release("halt-other", halted.control_id)
    assert (source.beat().state, source.before[STOCK].latched) == ("ACTIVE", False)


def test_a_new_cause_is_a_new_halt_that_the_release_of_the_one_before_does_not_end() -> None:
    source = Source()
    first = source.beat(failed_reads=6)
    second = source.beat(failed_reads=6, dead_letters=11)

    assert second.control_id != first.control_id
    assert "6 reads in a row failed" in second.reason
    assert "11 dead letters" in second.reason
    assert second.evidence.keys() == {"cause failed_broker_reads", "cause dead_letters"}
    source.release(first.control_id)
    assert source.beat(failed_reads=6, dead_letters=11).state == "HALTED"
    assert source.stands()
    source.release(second.control_id)
    assert source.beat(failed_reads=6, dead_letters=11).state == "ACTIVE"


def test_a_cause_that_comes_with_the_release_was_not_accepted() -> None:
    source = Source()
    source.release(source.beat(failed_reads=6).control_id)

    halted = source.beat(failed_reads=6, dead_letters=11)

    assert halted.state == "HALTED"
    assert halted.evidence == {"cause dead_letters": "11 above 10", "accepted failed_broker_reads": "6"}


def test_the_release_of_a_halt_does_not_release_a_later_one_of_the_same_cause() -> None:
    source = Source()
    first = source.beat(failed_reads=6)
    source.release(first.control_id)
    source.beat()

    second = source.beat(failed_reads=6)

    assert (second.state, source.stands()) == ("HALTED", True)
    assert second.control_id != first.control_id


def test_what_still_holds_after_a_release_is_accepted_and_halts_again_when_it_is_worse() -> None:
    source = Source()
    source.release(source.beat(dead_letters=12).control_id)

    assert source.beat(dead_letters=12).state == "ACTIVE"
    assert source.before[STOCK].evidence == {"accepted dead_letters": "12"}
    assert source.before[STOCK].reason == "accepted by the operator: dead_letters"
    assert source.beat(dead_letters=11).state == "ACTIVE"
    assert source.beat(dead_letters=12).state == "ACTIVE"
    assert source.beat(dead_letters=13).evidence == {"cause dead_letters": "13 above 10"}
    assert source.before[STOCK].state == "HALTED"


def test_what_went_away_once_halts_again() -> None:
    source = Source()
    source.release(source.beat(dead_letters=12).control_id)
    source.beat(dead_letters=12)

    assert source.beat(dead_letters=10).evidence == {}
    assert source.beat(dead_letters=11).state == "HALTED"


@pytest.mark.parametrize(
    ("fact", "accepted", "still", "worse"),
    [
        ("heartbeat_age_us", 20 * S, 40 * S, 40 * S + 1),
        ("ledger_lag_us", 6 * S, 12 * S, 12 * S + 1),
        ("progress_age_us", 6 * S, 12 * S, 12 * S + 1),
        ("recovering_us", 130 * S, 260 * S, 260 * S + 1),
        ("failed_reads", 6, 12, 13),
        ("journal_backlog", 11_000, 22_000, 22_001),
        ("dead_letters", 12, 12, 13),
        ("auto_corrected", micros(11_000_000), micros(11_000_000), micros(11_000_000) + 1),
    ],
)
def test_a_silence_may_double_and_everything_else_is_worse_at_once(fact: str, accepted: int, still: int, worse: int) -> None:
    source = Source()
    source.release(source.beat(**{fact: accepted}).control_id)
    source.beat(**{fact: accepted})

    assert source.beat(**{fact: still}).state == "ACTIVE"
    assert source.beat(**{fact: worse}).state == "HALTED"


def test_an_accepted_difference_may_move_with_its_price_and_not_in_quantity() -> None:
    source = Source()
    one = differs(10, 300_000.0)
    source.release(source.beat(SYMBOL, differences=(one,)).control_id, scope=SYMBOL)
    source.beat(SYMBOL, differences=(one,))

    assert source.beat(SYMBOL, differences=(differs(10, 330_000.0),)).state == "ACTIVE"
    assert source.beat(SYMBOL, differences=(differs(10, 330_001.0),)).state == "HALTED"
    many = Source()
    many.release(many.beat(SYMBOL, differences=(differs(20_000),)).control_id, scope=SYMBOL)
    assert many.beat(SYMBOL, differences=(differs(20_000),)).state == "ACTIVE"
    assert many.beat(SYMBOL, differences=(differs(20_001),)).state == "HALTED"


def test_a_discrepancy_that_is_open_too_long_is_accepted_until_it_ends_and_another_one_halts() -> None:
    source = Source()
    source.now += WITHIN
    first, second = differs(), differs(2, discrepancy_id="second")
    halted = source.beat(SYMBOL, differences=(first,))
    over = expired(first, at(2), halted_by(first, source.said))
    assert over.control_id == halted.control_id
    source.release(halted.control_id, scope=SYMBOL)

    source.now += 100 * WITHIN
    assert source.beat(SYMBOL, differences=(over,)).state == "ACTIVE"
    assert source.beat(SYMBOL, differences=(over, second)).state == "HALTED"
    assert "second" in source.before[SYMBOL].reason


def test_a_restart_judges_as_one_that_went_on() -> None:
    source = Source()
    source.release(source.beat(dead_letters=12).control_id)
    source.beat(dead_letters=12)
    again = Source()
    again.now = source.now
    again.operator = dict(source.operator)
    again.before = {key: msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=TradingControl) for key, one in source.before.items()}

    for letters in (12, 11, 13, 0, 11):
        assert again.beat(dead_letters=letters) == source.beat(dead_letters=letters)


# --- what is not latched ---------------------------------------------------------------------------------------------------------------


def test_recovering_ends_by_itself_and_keeps_its_name_while_it_lasts() -> None:
    source = Source()
    first = source.beat(state="RECOVERING", why="start")

    assert (first.state, first.latched, first.reason) == ("RECOVERING", False, "start")
    assert source.beat(state="RECOVERING", why="reconnect").control_id == first.control_id
    assert source.beat().state == "ACTIVE"
    assert source.beat(state="RECOVERING", why="start").control_id != first.control_id


def test_a_recovery_that_takes_too_long_becomes_a_halt_and_goes_on_recovering_after_its_release() -> None:
    source = Source()
    source.beat(state="RECOVERING", why="start", recovering_us=120 * S)
    halted = source.beat(state="RECOVERING", why="start", recovering_us=121 * S)
    source.release(halted.control_id)

    after = source.beat(state="RECOVERING", why="start", recovering_us=122 * S)

    assert (halted.state, after.state, after.latched) == ("HALTED", "RECOVERING", False)


def test_a_marked_symbol_is_recovering_until_the_mark_goes_and_then_says_so_once() -> None:
    source = Source()
    assert source.beat(SYMBOL, marked={"2890": "2890 cash is INCOMPLETE"}).state == "RECOVERING"
    assert source.said[STOCK].state == "ACTIVE"

    assert source.beat(SYMBOL).state == "ACTIVE"
    assert SYMBOL in source.said
    source.beat()
    assert source.said.keys() == {STOCK}


def test_a_symbol_that_was_adjusted_may_only_be_reduced_and_a_mark_or_a_halt_goes_before_that() -> None:
    source = Source()
    adjusted = {"2890": "5 of 2890 wait to be allocated"}

    assert source.beat(SYMBOL, reduce_only=adjusted).state == "REDUCE_ONLY"
    assert source.beat(SYMBOL, reduce_only=adjusted, marked={"2890": "INCOMPLETE"}).state == "RECOVERING"
    halted = source.beat(SYMBOL, reduce_only=adjusted, differences=(LARGE,))
    assert halted.state == "HALTED"
    source.release(halted.control_id, scope=SYMBOL)
    assert source.beat(SYMBOL, reduce_only=adjusted).state == "REDUCE_ONLY"


def test_a_mark_of_the_whole_account_is_the_accounts() -> None:
    source = Source()

    assert source.beat(marked={"*": "bytes that nobody can read"}).state == "RECOVERING"
    assert source.beat(state="RECOVERING", why="start", marked={"*": "bytes that nobody can read"}).reason == "start"
    assert source.said.keys() == {STOCK}


def test_a_halted_symbol_beats_on_without_a_cause() -> None:
    source = Source()
    halted = source.beat(SYMBOL, differences=(LARGE,))

    for _ in range(3):
        assert source.beat(SYMBOL).control_id == halted.control_id
        assert SYMBOL in source.said


def test_a_symbol_with_a_bar_in_its_name_has_a_scope_of_its_own() -> None:
    odd = msgspec.structs.replace(LARGE, symbol="A|B%")

    made = next_controls(facts(differences=(odd,), reduce_only={"A|B%": "x"}), LIMITS, {}, {})

    assert [record.scope for record in made] == [STOCK, f"{STOCK}|A%7CB%25"]


def test_a_discrepancy_finds_the_halt_that_it_caused() -> None:
    source = Source()
    halted = source.beat(SYMBOL, differences=(LARGE,))

    assert halted_by(LARGE, source.said) == halted.control_id
    assert halted_by(msgspec.structs.replace(LARGE, book="margin"), source.said) == ""
    assert halted_by(msgspec.structs.replace(LARGE, symbol="0050"), source.said) == ""
    assert halted_by(LARGE, {}) == ""
    source.release(halted.control_id, scope=SYMBOL)
    source.beat(SYMBOL)
    assert halted_by(LARGE, source.said) == ""


# --- whatever happens ------------------------------------------------------------------------------------------------------------------

_SOME = st.fixed_dictionaries(
    {},
    optional={
        "failed_reads": st.sampled_from([0, 5, 6, 7, 13]),
        "dead_letters": st.sampled_from([0, 11, 12]),
        "heartbeat_age_us": st.sampled_from([0, 11 * S, 30 * S]),
        "journal_error": st.just("disk full"),
        "recovering_us": st.sampled_from([S, 121 * S]),
        "state": st.sampled_from(["ACTIVE", "RECOVERING", "REDUCE_ONLY"]),
        "differences": st.lists(st.sampled_from([LARGE, differs(10_001), differs(1), msgspec.structs.replace(LARGE, symbol="0050")])).map(
            tuple
        ),
        "reduce_only": st.just({"2890": "adjusted"}),
        "marked": st.sampled_from([{"2890": "INCOMPLETE"}, {"*": "unreadable"}]),
    },
)


@given(st.lists(st.tuples(_SOME, st.sampled_from(["", "", "newest", "old", "restart"])), max_size=30))
def test_no_sequence_ends_a_halt_without_the_operator_or_forgets_one(steps: list[tuple[dict[str, Any], str]]) -> None:
    """`beat` checks of each record that it may follow; here, that a halted scope stays so until its release."""
    source = Source()
    seen: list[TradingControl] = []
    for changes, act in steps:
        state = {"why": "start"} if changes.get("state", "ACTIVE") != "ACTIVE" else {}
        source.beat(**changes, **state)
        halted = {scope: record for scope, record in source.before.items() if record.state == "HALTED"}
        assert halted.keys() <= source.said.keys()
        for one in crossed(facts(source.now, **changes), LIMITS):
            record = source.said[one.scope]
            assert record.state == "HALTED" or f"accepted {one.cause}" in record.evidence
        seen += halted.values()
        if act == "restart":
            source.before = {
                key: record for key, record in source.before.items() if record.state != "ACTIVE" or key == STOCK or record.evidence
            }
        elif act and seen:
            record = seen[-1] if act == "newest" else seen[0]
            source.release(record.control_id, scope=record.scope)


def test_a_crossing_says_what_an_operator_needs() -> None:
    found = crossed(facts(differences=(LARGE,), failed_reads=6, estimated=5, positions=15, heartbeat_age_us=12_340_000), LIMITS)

    assert [one.detail for one in found] == [
        "the bridge is silent for 12.3 s (halt.heartbeat_gap_s 10.0 s)",
        "6 reads in a row failed (halt.failed_broker_reads 5)",
        "5 of 15 positions are ESTIMATED (halt.estimated_share 0.2)",
        f"2890 (cash) differs from the broker by 20,000; 10,000 are allowed (halt.unexplained_quantity, STK); discrepancy {LARGE_ID}",
    ]
    assert found[-1] == Crossed("unexplained_quantity", "unexplained_quantity:cash", SYMBOL, 20_000, 10_000, found[-1].detail)
    (worth,) = crossed(facts(differences=(msgspec.structs.replace(differs(1), notional=-micros(2_250_000) - 500_000),)), LIMITS)
    assert worth.detail.startswith("2890 (cash) differs from the broker by 2,250,000.5 TWD; ")
    (today,) = crossed(facts(auto_corrected=micros(12_345_678)), LIMITS)
    assert today.detail.startswith("12,345,678 TWD were corrected without an operator today (halt.daily_auto_correct")
    assert today.detail.endswith(" 10,000,000)")
    assert halts.SOURCE == "reconciler"
