"""What would bring the book to the broker's, whether it may be done without an operator, and the corrections that do it.

Pure. A proposal invents no profit: a quantity that went away leaves at cost, one that came costs what makes both averages agree, and what
cannot be known is booked at the broker's average and stays ESTIMATED. Only ADJUST and OPENING are ever made without an operator, and only
where a gap in what we heard explains why a fill can be missing.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec

from execpos.domain import ids, money, opening
from execpos.domain.correction_rules import BLANK, CORRECTION_ID_CHARS_MAX
from execpos.domain.events import Correction, Discrepancy
from execpos.domain.limits import DETAIL_CHARS_MAX, cut
from execpos.domain.opening import Holding, Traded
from execpos.domain.positions import CostMethod
from execpos.domain.reconciliation.comparison import Comparison, Finding, Key, NetRow

# The broker's average has two decimals: half of the last one is how far it may be off (10⁻⁶).
_BLUR = 5_000

# A price that is worked out from the averages must be known to a tenth of itself, or it is none: one share beside a million of them would
# get whatever the rounding of the average says.
_TENTH = 10

AUTOMATIC = frozenset({"ADJUST", "OPENING"})
"""Kinds that the rules may make without an operator."""

# Kinds that are for every strategy's row of a key.
_WHOLE_KEY = frozenset({"COST_BASIS", "QUALITY"})

# Marks that say that more than a quantity is wrong; what cannot be counted cannot be corrected either.
_NEVER = frozenset({"BLOCKED", "CONFLICT"})


class Gap(NamedTuple):
    """A time in which reports may have been lost, µs UTC, and why."""

    from_ts: int
    to_ts: int
    why: str


class Coverage(msgspec.Struct, frozen=True):
    """What we may have missed of a key since it was last equal to the broker's; without a gap nothing explains a difference."""

    gaps: tuple[Gap, ...] = ()


class Spent(msgspec.Struct, frozen=True):
    """What was corrected without an operator in one trading date of an account: times by key, and its worth in 10⁻⁶ TWD."""

    trading_date: int = 0
    counts: Mapping[Key, int] = {}
    notional: int = 0


class TypeLimit(msgspec.Struct, frozen=True):
    """The largest correction of one security type: shares or contracts, and 10⁻⁶ TWD."""

    quantity: int
    notional: int


class AutoLimits(msgspec.Struct, frozen=True):
    """`reconciliation.auto_correct`: amounts in 10⁻⁶ TWD. A security type that has no limit is never corrected without an operator."""

    enabled: bool
    limits: Mapping[str, TypeLimit]
    daily_count_per_key: int
    daily_notional: int


class Allowed(msgspec.Struct, frozen=True):
    """Whether something may be done without an operator, and the reason, either way."""

    allowed: bool
    reason: str


class Settlement(msgspec.Struct, frozen=True):
    """At which price an expired contract ends, 10⁻⁶ a point, who says so, and what is due (10⁻⁶ TWD); see `settlement`."""

    price: int
    source: str
    fees: int = 0
    taxes: int = 0


class Booking(NamedTuple):
    """One correction of a proposal: signed units, and a price in 10⁻⁶; 0 is the cost of what is held."""

    quantity: int
    price: int


class Proposal(msgspec.Struct, frozen=True):
    """What could be done about a finding.

    Attributes:
        kind: of the correction; empty when no rule knows one.
        steps: what is booked, one correction each; more than one only for an ADJUST through zero.
        quantity: of all steps.
        price: of the last step, 10⁻⁶; 0 is the cost of what is held.
        amount: of COST_BASIS, 10⁻⁶.
        fees: of SETTLEMENT, 10⁻⁶ TWD; so are `taxes`.
        source: who says the price of a SETTLEMENT.
        quality: what a QUALITY makes of the rows of the key.
        lacks: empty, or what has to be named before it can be booked.
        why: for people, how it was found.
    """

    kind: str
    steps: tuple[Booking, ...] = ()
    quantity: int = 0
    price: int = 0
    amount: int = 0
    fees: int = 0
    taxes: int = 0
    source: str = ""
    quality: str = ""
    lacks: str = ""
    why: str = ""


def spend(spent: Spent, key: Key, notional: int, trading_date: int) -> Spent:
    """Return what is spent after a correction of `notional` (10⁻⁶ TWD) more; another trading date starts anew."""
    counts = dict(spent.counts) if spent.trading_date == trading_date else {}
    before = spent.notional if spent.trading_date == trading_date else 0
    return Spent(trading_date, counts | {key: counts.get(key, 0) + 1}, before + notional)


# --- what could be done ----------------------------------------------------------------------------------------------------------------


def proposal(
    finding: Finding,
    *,
    method: CostMethod,
    net: NetRow | None,
    fills: Sequence[Traded] = (),
    first_start: bool = False,
    settlement: Settlement | None = None,
    expired: bool = False,
) -> Proposal:
    """Return what would bring the book to the broker's. It says nothing of whether that may be done.

    Args:
        finding: what differs.
        method: how NET of that key keeps its cost.
        net: its NET row at the markers; None without one.
        fills: every fill of the key that the ledger ever counted, in its order; needed for `first_start` alone.
        first_start: nothing is known of before these fills, so that the rest of the broker's position was held before them.
        settlement: price of an expired contract, where somebody says it.
        expired: the contract is gone, and with it the broker's row.
    """
    if finding.verdict == "COST":
        return _cost_basis(finding, net)
    if finding.verdict not in {"QUANTITY", "MISSING"}:
        return Proposal("", lacks="a correction", why=f"{finding.verdict}: no rule knows what to book")
    if expired:
        return _settlement(finding, settlement)
    if not finding.multiplier:
        return Proposal("ADJUST", quantity=finding.difference, lacks="the product", why=f"no table names {finding.symbol}")
    if first_start and sum(fill.quantity for fill in fills) == finding.ledger_quantity:
        return _opening(finding, fills, method)
    return _adjust(finding)


def _adjust(finding: Finding) -> Proposal:
    held, wanted = finding.ledger_quantity, finding.broker_quantity
    current, target = Holding(held, finding.ledger_average), Holding(wanted, finding.broker_average)
    steps = [Booking(step.quantity, step.price or 0) for step in opening.true_up(current, target).steps]
    if not wanted or (held * wanted > 0 and abs(wanted) < abs(held)):
        return _adjusting(finding, steps, "leaves at the cost of what is held")
    *before, last = steps
    price, why = target.average, "at the broker's average"
    if held * wanted > 0 and not price:
        why = "the broker says no average: at ours"
    elif held * wanted > 0:
        exact = opening.adjust_price(current, target)
        if exact is not None and abs(wanted) * _BLUR * _TENTH <= exact * abs(last.quantity):
            price, why = exact, "at the price that makes both averages agree"
    elif not price:
        # Several rows, so several averages.
        price, why = finding.last_price, "the broker says no average: at its last price"
        if not price:
            return Proposal("ADJUST", quantity=finding.difference, lacks="a price", why="the broker says neither average nor last price")
    return _adjusting(finding, [*before, last._replace(price=price)], why)


def _adjusting(finding: Finding, steps: Sequence[Booking], why: str) -> Proposal:
    return Proposal("ADJUST", steps=tuple(steps), quantity=finding.difference, price=steps[-1].price, why=why)


def _opening(finding: Finding, fills: Sequence[Traded], method: CostMethod) -> Proposal:
    """Book what was held before the fills, as of the close before them; at the price that the broker's average tells, if it does."""
    broker = Holding(finding.broker_quantity, finding.broker_average)
    found = opening.opening(broker, fills, method) if broker.average else opening.Opening(finding.difference, None)
    price, why = found.price, "at the price that the broker's average tells"
    if price is not None:
        blurred = opening.opening(broker._replace(average=broker.average + _BLUR), fills, method).price
        if blurred is None or abs(blurred - price) * _TENTH > price:
            price = None
    if price is None:
        price, why = opening.neutral_price(found.quantity, fills), "its price left no trace: at what it was closed at"
    if not price:
        price, why = broker.average or finding.last_price, "its price left no trace: at the broker's average"
    if not price:
        return Proposal("OPENING", quantity=found.quantity, lacks="a price", why="nothing tells what it cost")
    return Proposal("OPENING", steps=(Booking(found.quantity, price),), quantity=found.quantity, price=price, why=why)


def _cost_basis(finding: Finding, net: NetRow | None) -> Proposal:
    """Propose to take over the broker's cost; nobody gains by it, and no rule does it alone."""
    ours = net.open_cost if net else finding.ledger_quantity * finding.ledger_average * finding.multiplier
    amount = finding.broker_quantity * finding.broker_average * finding.multiplier - ours
    if not amount or not finding.broker_average:
        return Proposal("COST_BASIS", lacks="an amount", why="the broker says no single average")
    return Proposal("COST_BASIS", steps=(Booking(0, 0),), amount=amount, why="takes over the broker's cost")


def _settlement(finding: Finding, settlement: Settlement | None) -> Proposal:
    quantity = finding.difference
    if settlement is None:
        return Proposal("SETTLEMENT", quantity=quantity, lacks="its final price", why="the contract has expired")
    return Proposal(
        "SETTLEMENT",
        steps=(Booking(quantity, settlement.price),),
        quantity=quantity,
        price=settlement.price,
        fees=settlement.fees,
        taxes=settlement.taxes,
        source=settlement.source,
        why=f"the contract has expired at {money.text(settlement.price)}, says {settlement.source}",
    )


def unmarked(quality: str) -> Proposal:
    """Return what takes a mark from every row of a key that a round found equal to the broker's; an operator knows what it stood for.

    What was missed may have earned something that nobody knows, so the rows are ESTIMATED then. A BLOCKED key cannot be found equal.
    """
    if quality == "BLOCKED":
        return Proposal("QUALITY", lacks="the product", why="complete the table and replay the dead letters first")
    return Proposal("QUALITY", steps=(Booking(0, 0),), quality="ESTIMATED", why=f"equal to the broker's; it was {quality}")


# --- whether it may be done ------------------------------------------------------------------------------------------------------------


def may_correct(
    finding: Finding,
    coverage: Coverage,
    spent: Spent,
    limits: AutoLimits,
    *,
    proposal: Proposal,
    trading_date: int,
    witnessed: bool = False,
    quality: str = "CONFIRMED",
) -> Allowed:
    """Say whether a proposal may be booked without an operator: a gap explains it, and it is within every limit and budget.

    Args:
        finding: a difference that a second round showed again and that is no lag of the broker; the caller knows.
        coverage: of its key.
        spent: of its account.
        limits: the configuration's.
        proposal: what would be booked.
        trading_date: of the round, days since the epoch.
        witnessed: something else than the position list says that a row that we hold is gone.
        quality: of NET.
    """
    problem = _not_of_this_kind(finding, coverage, limits, proposal, witnessed=witnessed, quality=quality)
    problem = problem or _beyond(finding, spent if spent.trading_date == trading_date else Spent(), limits)
    return Allowed(not problem, problem or f"explained by a gap: {coverage.gaps[-1].why}")


def _not_of_this_kind(
    finding: Finding, coverage: Coverage, limits: AutoLimits, proposal: Proposal, *, witnessed: bool, quality: str
) -> str:
    checks = (
        (not limits.enabled, "auto_correct.enabled is false"),
        (proposal.kind not in AUTOMATIC, f"{proposal.kind or finding.verdict} is for the operator"),
        (bool(proposal.lacks), f"{proposal.lacks} is missing: {proposal.why}"),
        (finding.verdict == "MISSING" and not witnessed, "the broker has no row of it, and nothing else says that it is gone"),
        (quality in _NEVER, f"the row is {quality}: more than its quantity is in doubt"),
        (not coverage.gaps, "no gap explains it: nothing that we know of was missed"),
    )
    return next((why for wrong, why in checks if wrong), "")


def _beyond(finding: Finding, spent: Spent, limits: AutoLimits) -> str:
    limit = limits.limits.get(finding.security_type)
    if limit is None:
        return f"auto_correct.limits has no {finding.security_type or 'unknown type'}"
    size, worth, name = abs(finding.difference), finding.notional, f"auto_correct.limits.{finding.security_type}"
    count, total = spent.counts.get(finding.key, 0), spent.notional + worth
    checks = (
        (size > limit.quantity, f"{size} are more than {name}.quantity ({limit.quantity})"),
        (worth <= 0, "nothing tells what it is worth"),
        (worth > limit.notional, _more(worth, f"{name}.notional_twd", limit.notional)),
        (count >= limits.daily_count_per_key, f"corrected {count} times today: auto_correct.daily_count_per_key"),
        (total > limits.daily_notional, _more(total, "auto_correct.daily_notional_twd_per_account", limits.daily_notional)),
    )
    return next((why for wrong, why in checks if wrong), "")


def _more(worth: int, name: str, limit: int) -> str:
    return f"{money.grouped(worth)} TWD are more than {name} ({money.grouped(limit)})"


# --- the corrections -------------------------------------------------------------------------------------------------------------------


def corrections(
    discrepancy: Discrepancy, proposal: Proposal, comparison: Comparison, now_us: int, *, by: str, approved_by: str = ""
) -> tuple[Correction, ...]:
    """Return what to publish, all in one transaction and in this order, for the version of NET at the markers; none while something lacks.

    The same proposal at the same version makes the same ids, so that doing it twice is doing it once. Each one raises the version by one,
    so the second of two names the version after the first.
    """
    if not proposal.kind or proposal.lacks:
        return ()
    evidence = dict(discrepancy.evidence)
    if proposal.source:
        evidence["price_source"] = proposal.source
    plain = msgspec.structs.replace(
        BLANK,
        account=discrepancy.account,
        kind=proposal.kind,
        symbol=discrepancy.symbol,
        book=discrepancy.book,
        strategy_id=ids.NET if proposal.kind in _WHOLE_KEY else "",
        amount=proposal.amount,
        fees=proposal.fees,
        taxes=proposal.taxes,
        quality=proposal.quality,
        read_began_ts=comparison.read_began_ts,
        read_ended_ts=comparison.read_ended_ts,
        marker_before=comparison.marker_before,
        marker_after=comparison.marker_after,
        reason=cut(f"discrepancy {discrepancy.discrepancy_id}: {proposal.why}", DETAIL_CHARS_MAX),
        evidence=evidence,
        requested_by=by,
        approved_by=approved_by,
        ts=now_us,
    )
    made = []
    for number, step in enumerate(proposal.steps):
        quantity = step.quantity if proposal.kind in AUTOMATIC else 0
        # A mark says nothing of what is held, so that it goes at any version.
        version = -1 if proposal.kind == "QUALITY" else discrepancy.net_version + number
        one = msgspec.structs.replace(plain, quantity=quantity, price=step.price, expected_net_version=version)
        made.append(msgspec.structs.replace(one, correction_id=correction_id(discrepancy.discrepancy_id, one)))
    return tuple(made)


def correction_id(source: str, correction: Correction) -> str:
    """Return the id of a correction that `source` makes: of that id, the version that it names, and a digest of what it books."""
    what = (
        *(correction.kind, correction.symbol, correction.book, correction.strategy_id, correction.quantity, correction.price),
        *(correction.amount, correction.fees, correction.taxes, correction.to_symbol, correction.to_book, correction.to_strategy_id),
        *(correction.numerator, correction.denominator, correction.fill_id, correction.quality),
    )
    digest = sha256("\0".join(map(str, what)).encode()).hexdigest()[:8]
    version = "any" if correction.expected_net_version < 0 else str(correction.expected_net_version)
    # An id of somebody else's making may be longer than there is room.
    room = CORRECTION_ID_CHARS_MAX - len(version) - len(digest) - 2
    return f"{source if len(source) <= room else sha256(source.encode()).hexdigest()[:16]}-{version}-{digest}"
