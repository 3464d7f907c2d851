"""RiskGate: what passes, and that everything which is not known for sure does not."""

from typing import Any

import pytest

from client_world import ACCOUNT, OTHER, ClientWorld, Moved, order, position
from execpos.client.gate import Decision, RiskGate
from execpos.client.limits import Limits, table
from execpos.domain import control
from execpos.domain.vocabulary import WORDS

NO_LIMITS = Limits()


class Desk:
    """A world, a view that is fresh, and a gate."""

    def __init__(self, limits: Any = NO_LIMITS, required: tuple[str, ...] | None = None, *, live: bool = True) -> None:
        self.world = ClientWorld()
        self.moved = Moved(self.world)
        self.gate = RiskGate(self.moved.view, limits, required, self.world.clock)
        if live:
            self.moved.live()

    def hold(self, alpha: int, beta: int = 0, **more: Any) -> None:
        self.world.position(position(alpha, 1, **more))
        self.world.position(position(beta, 1, "beta", **more))
        self.world.position(position(alpha + beta, 1, "*", **more))
        self.moved.look()

    def ask(self, side: Any = "BUY", quantity: int = 1000, price: int = 600_000_000, **more: Any) -> Decision:
        of = {"account": ACCOUNT, "strategy_id": "alpha", "symbol": "2330", "book": "cash", **more}
        return self.gate.check(**of, side=side, quantity=quantity, price=price)


def test_an_order_passes_when_everything_is_fresh_active_and_within_limits() -> None:
    desk = Desk(Limits(1000, 600_000_000_000, 1000, 600_000_000_000, 1000, 600_000_000_000))
    assert desk.ask() == Decision(allowed=True)


def test_a_view_that_has_not_started_denies() -> None:
    world = ClientWorld()
    from execpos.client.view import PositionView  # noqa: PLC0415 (one that never reads)

    decision = RiskGate(PositionView(world.link), Limits()).check(ACCOUNT, "alpha", "2330", "cash", "BUY", 1, 1)
    assert decision.reasons == ("stale", "control_missing")
    assert "starting" in decision.denials[0].detail


def test_what_was_said_before_the_start_is_not_enough() -> None:
    desk = Desk(live=False)
    desk.world.beat()
    desk.world.control("*", "ACTIVE")
    fresh = Moved(desk.world)
    assert RiskGate(fresh.view, Limits(), clock=desk.world.clock).check(ACCOUNT, "alpha", "2330", "cash", "BUY", 1, 1).reasons == (
        "stale",
        "control_stale",
    )


def test_a_stale_ledger_denies() -> None:
    desk = Desk()
    for _ in range(6):
        desk.world.clock.sleep(1)
        desk.world.beat(answered=False)
        desk.world.control("*", "ACTIVE")
        desk.moved.look()
    assert desk.ask().reasons == ("stale",)


def test_a_source_that_falls_silent_denies_and_one_that_is_not_required_does_not() -> None:
    desk = Desk()
    for _ in range(6):
        desk.world.clock.sleep(1)
        desk.world.beat()
        desk.world.control("*", "ACTIVE", "auditor")
        desk.moved.look()
    assert desk.ask().reasons == ("control_stale",)
    assert RiskGate(desk.moved.view, Limits(), ("auditor",), desk.world.clock).check(ACCOUNT, "alpha", "2330", "cash", "BUY", 1, 1).allowed
    assert RiskGate(desk.moved.view, Limits(), (), desk.world.clock).check(ACCOUNT, "alpha", "2330", "cash", "BUY", 1, 1).allowed


@pytest.mark.parametrize("scope", ["*", ACCOUNT, f"{ACCOUNT}|2330", "strategy:alpha"])
@pytest.mark.parametrize(("state", "reason"), [("HALTED", "halted"), ("RECOVERING", "recovering"), ("what", "halted")])
def test_a_state_denies_within_its_scope_alone(scope: str, state: str, reason: str) -> None:
    desk = Desk()
    desk.world.control(scope, state, "operator", reason="because")
    desk.moved.look()
    decision = desk.ask()
    assert decision.reasons == (reason,)
    assert "because" in decision.denials[0].detail
    if scope != "*":
        desk.moved.live(OTHER)
        elsewhere = desk.gate.check(OTHER, "beta", "TXFF6", "derivative", "BUY", 1, 1)
        assert elsewhere.allowed


def test_a_halt_holds_however_old_it_is_and_the_operators_release_ends_it() -> None:
    desk = Desk()
    desk.world.control(ACCOUNT, "HALTED", control_id="halt-1", latched=True)
    for _ in range(20):
        desk.world.clock.sleep(1)
        desk.world.beat()
        desk.world.control("*", "ACTIVE")
        desk.moved.look()
    assert desk.ask().reasons == ("halted",)
    desk.world.control(ACCOUNT, "ACTIVE", "operator", releases="halt-0")
    desk.moved.look()
    assert desk.ask().reasons == ("halted",)
    desk.world.control(ACCOUNT, "ACTIVE", "operator", releases="halt-1")
    desk.moved.look()
    assert desk.ask().allowed


@pytest.mark.parametrize(
    ("alpha", "beta", "side", "quantity", "allowed"),
    [
        (1000, 0, "SELL", 1000, True),
        (1000, 0, "SELL", 1001, False),
        (1000, 0, "BUY", 1, False),
        (-1000, 0, "BUY", 1000, True),
        (-1000, 0, "SELL", 1, False),
        (0, 0, "BUY", 1, False),
        # It shrinks the strategy's own and turns NET from 200 short to more short.
        (1000, -1200, "SELL", 100, False),
        # It shrinks NET and opens the strategy's own.
        (0, 1000, "SELL", 100, False),
    ],
)
def test_reduce_only_lets_pass_what_shrinks_both_the_strategy_and_net_without_a_flip(
    alpha: int, beta: int, side: str, quantity: int, *, allowed: bool
) -> None:
    desk = Desk()
    desk.hold(alpha, beta)
    desk.world.control(f"{ACCOUNT}|2330", "REDUCE_ONLY", reason="differs")
    desk.moved.look()
    assert desk.ask(side, quantity).allowed is allowed


def test_reduce_only_counts_working_orders_of_all_strategies() -> None:
    desk = Desk()
    desk.hold(1000, 1000)
    desk.world.control("*", "REDUCE_ONLY")
    desk.world.order(order("a", quantity=1500, strategy_id="beta", side="SELL"))
    desk.moved.look()
    assert desk.ask("SELL", 500).allowed
    assert desk.ask("SELL", 501).reasons == ("reduce_only",)


@pytest.mark.parametrize("quality", WORDS["quality"])
def test_a_key_that_cannot_be_trusted_takes_no_order(quality: str) -> None:
    desk = Desk()
    desk.hold(100, quality=quality)
    decision = desk.ask()
    assert decision.reasons == (() if quality in {"CONFIRMED", "ESTIMATED"} else ("quality",))


def test_a_mark_on_the_whole_account_denies_symbols_that_were_never_traded() -> None:
    desk = Desk()
    desk.world.position(position(0, 1, "*", symbol="*", book="*", quality="INCOMPLETE"))
    desk.moved.look()
    assert desk.ask(symbol="1101").reasons == ("quality",)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(order_quantity=999), "order_quantity"),
        (Limits(order_notional=599_999_999_999), "order_notional"),
        (Limits(strategy_quantity=3299), "strategy_quantity"),
        (Limits(net_quantity=4299), "net_quantity"),
        (Limits(strategy_notional=3300 * 600_000_000 - 1), "strategy_notional"),
        (Limits(net_notional=4300 * 600_000_000 - 1), "net_notional"),
    ],
)
def test_limits_count_the_position_with_working_orders_of_that_side_filled(limits: Limits, reason: str) -> None:
    desk = Desk(limits)
    desk.hold(2000, 1000)
    desk.world.order(order("a", quantity=300))
    desk.world.order(order("b", quantity=9000, side="SELL"))
    desk.moved.look()
    assert desk.ask().reasons == (reason,)
    raised = Limits(**{field: getattr(limits, field) + 1 if getattr(limits, field) else None for field in limits.__struct_fields__})
    assert (
        RiskGate(desk.moved.view, raised, clock=desk.world.clock).check(ACCOUNT, "alpha", "2330", "cash", "BUY", 1000, 600_000_000).allowed
    )


def test_limits_hold_on_the_short_side_too() -> None:
    desk = Desk(Limits(strategy_quantity=1000))
    desk.hold(-500)
    assert desk.ask("SELL", 500).allowed
    assert desk.ask("SELL", 501).reasons == ("strategy_quantity",)
    assert desk.ask("BUY", 1500).allowed


def test_an_order_is_valued_at_its_price_or_the_mark_whichever_is_higher_and_never_at_nothing() -> None:
    desk = Desk(Limits(order_notional=600_000_000_000))
    assert desk.ask(price=0).reasons == ("price_unknown",)
    desk.world.mark("2330", 601_000_000)
    desk.moved.look()
    assert desk.ask(price=0).reasons == ("order_notional",)
    assert desk.ask(price=1).reasons == ("order_notional",)


def test_a_contract_is_valued_with_its_multiplier_and_not_at_all_when_that_is_unknown() -> None:
    desk = Desk(Limits(order_notional=200 * 20_000 * 1_000_000), live=False)
    desk.moved.live(OTHER)
    of: dict[str, Any] = {"account": OTHER, "book": "derivative", "price": 20_000_000_000}
    assert desk.ask(quantity=1, symbol="TXFF6", **of).allowed
    assert desk.ask(quantity=2, symbol="TXFF6", **of).reasons == ("order_notional",)
    assert desk.ask(quantity=1, symbol="QQQ99", **of).reasons == ("multiplier_unknown",)


def test_limits_are_found_by_symbol_then_strategy_then_default() -> None:
    of = table(Limits(order_quantity=1), strategies={"alpha": Limits(order_quantity=2)}, symbols={"2317": Limits(order_quantity=3)})
    found = [of(ACCOUNT, "beta", "2330"), of(ACCOUNT, "alpha", "2330"), of(ACCOUNT, "alpha", "2317")]
    assert [one.order_quantity for one in found] == [1, 2, 3]
    desk = Desk(of)
    assert desk.ask(quantity=2).allowed
    assert desk.ask(quantity=3).reasons == ("order_quantity",)


@pytest.mark.parametrize("wrong", [{"quantity": 0}, {"quantity": -1}, {"side": "LONG"}, {"strategy_id": ""}, {"strategy_id": "*"}])
def test_an_order_that_is_none_is_denied(wrong: dict[str, Any]) -> None:
    assert Desk().ask(**wrong).reasons == ("bad_order",)


def test_an_order_that_is_held_counts_until_it_is_released_or_its_time_is_over() -> None:
    desk = Desk(Limits(net_quantity=1000))
    first = desk.gate.check(ACCOUNT, "beta", "2330", "cash", "BUY", 600, 1, hold_s=2.0)
    assert first.allowed
    assert desk.ask(quantity=500).reasons == ("net_quantity",)
    assert desk.ask(quantity=400).allowed
    assert desk.ask("SELL", quantity=1000).allowed
    desk.gate.release(first)
    desk.gate.release(first)
    assert desk.ask(quantity=500).allowed
    desk.gate.check(ACCOUNT, "beta", "2330", "cash", "BUY", 600, 1, hold_s=2.0)
    assert not desk.ask(quantity=500).allowed
    desk.world.clock.sleep(2)
    desk.moved.live()
    assert desk.ask(quantity=500).allowed


def test_all_reasons_are_told_at_once() -> None:
    desk = Desk(Limits(order_quantity=1), live=False)
    desk.hold(1, quality="BLOCKED")
    desk.world.control("*", "HALTED")
    desk.moved.look()
    assert desk.ask().reasons == ("stale", "quality", "halted", "order_quantity")


# --- domain/control --------------------------------------------------------------------------------------------------------------------


def _record(state: str, source: str = "reconciler", **more: Any) -> Any:
    from client_world import blank  # noqa: PLC0415 (only here)
    from execpos.domain.events import TradingControl  # noqa: PLC0415 (as above)

    return blank(TradingControl, state=state, source=source, **more)


def test_the_most_restrictive_of_all_scopes_and_sources_holds_and_says_why() -> None:
    halted, reduce = _record("HALTED", "auditor"), _record("REDUCE_ONLY")
    records = {"*": {"reconciler": reduce}, ACCOUNT: {"auditor": halted}, "other": {"auditor": _record("HALTED")}}
    assert control.effective(records, ("*",)) == control.Effective("REDUCE_ONLY", (reduce,))
    assert control.effective(records, ("*", ACCOUNT)) == control.Effective("HALTED", (halted,))
    assert control.effective({}, ("*",)).state == "ACTIVE"
    assert set(control.SEVERITY) == set(WORDS["control_state"])


def test_scopes_escape_what_would_make_two_of_one() -> None:
    assert control.scopes(ACCOUNT, "a|b", "s") == ("*", ACCOUNT, f"{ACCOUNT}|a%7Cb", "strategy:s")
    assert control.scopes(ACCOUNT, "", "") == ("*", ACCOUNT)
    assert control.key(ACCOUNT, "operator").rpartition("|") == (ACCOUNT, "|", "operator")


def test_a_latched_state_is_followed_by_one_as_restrictive_or_after_its_release_only() -> None:
    latched = _record("HALTED", latched=True, control_id="h")
    release = _record("ACTIVE", "operator", releases="h")
    assert not control.may_follow(_record("ACTIVE"), latched, None)
    assert not control.may_follow(_record("ACTIVE"), latched, _record("ACTIVE", "operator", releases="x"))
    assert control.may_follow(_record("ACTIVE"), latched, release)
    assert control.may_follow(_record("HALTED"), latched, None)
    assert control.may_follow(_record("ACTIVE"), None, None)
    assert control.may_follow(_record("ACTIVE"), _record("RECOVERING"), None)
    own = _record("HALTED", "operator", latched=True, control_id="o")
    assert control.may_follow(_record("ACTIVE", "operator"), own, own)
    assert control.stands(own, {"operator": own})
