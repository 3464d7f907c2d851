"""What an operator wants corrected: checked before it goes out, and filled in. The ledger checks again, at its own book.

Pure. Every problem is a sentence for the operator, and nothing goes out then.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from execpos.domain import ids, money
from execpos.domain.book import Source
from execpos.domain.correction_rules import Refused, check_fields
from execpos.domain.events import Command, Correction, Discrepancy
from execpos.domain.limits import DETAIL_CHARS_MAX, cut
from execpos.domain.reconciliation.approvals import asked_by, waiting
from execpos.domain.reconciliation.comparison import Comparison, Key, NetRow
from execpos.domain.reconciliation.repair import AUTOMATIC, Proposal, correction_id, corrections
from execpos.domain.reconciliation.settlement import settlement
from execpos.domain.rules import Rules
from execpos.errors import Park

# One command stands in one record, and in the evidence of a discrepancy while it waits for a second name.
_CORRECTIONS_MAX = 16

# The bounds of a correction's fields do not depend on who reads it.
_NOWHERE = Source("", 0, 0, 0, 0, "", 0, 0, 0, 0)

_NONE = NetRow(0, 0, 0, 0, 0, "CONFIRMED", "", "")


class Checked(msgspec.Struct, frozen=True):
    """What goes out, all of it in one transaction; or a problem, and then nothing."""

    corrections: tuple[Correction, ...] = ()
    problem: str = ""


def checked(
    command: Command,
    discrepancy: Discrepancy | None,
    proposal: Proposal | None,
    comparison: Comparison | None,
    rows: Mapping[Key, NetRow] | None,
    now_us: int,
    *,
    rules: Rules,
    trading_date: int,
) -> Checked:
    """Return the corrections of an APPROVE or a CORRECT, for the versions of NET that the newest book has.

    Args:
        command: an APPROVE that has every name it needs, or a CORRECT.
        discrepancy: that it is about, with its approvals; None of a CORRECT that belongs to none.
        proposal: what the rules propose for its newest finding.
        comparison: that found it.
        rows: NET rows of the newest book; None while none was seen.
        now_us: the moment.
        rules: tables.
        trading_date: of now, days since the epoch.
    """
    try:
        named = (waiting(discrepancy) if discrepancy else ()) or command.corrections
        if named:
            return Checked(tuple(_filled(named, command, discrepancy, comparison, rows, now_us, rules, trading_date)))
        return Checked(_by_rule(discrepancy, proposal, comparison, now_us))
    except Refused as refused:
        return Checked(problem=str(refused))


def _by_rule(
    discrepancy: Discrepancy | None, proposal: Proposal | None, comparison: Comparison | None, now_us: int
) -> tuple[Correction, ...]:
    if discrepancy is None or proposal is None or comparison is None:
        raise Refused("bad_correction", "nothing is proposed for it: name the correction")
    if not proposal.kind or proposal.lacks:
        raise Refused("bad_correction", f"name the correction: {proposal.lacks or 'no rule proposes one'}; {proposal.why}")
    return corrections(discrepancy, proposal, comparison, now_us, by="reconciler", approved_by=", ".join(discrepancy.approvals))


def _filled(
    named: Sequence[Correction],
    command: Command,
    discrepancy: Discrepancy | None,
    comparison: Comparison | None,
    rows: Mapping[Key, NetRow] | None,
    now_us: int,
    rules: Rules,
    trading_date: int,
) -> Iterator[Correction]:
    if rows is None:
        raise Refused("bad_correction", "the book of the account was not read yet: try again after the next round")
    keys = [key_of(one) for one in named]
    if len(named) > _CORRECTIONS_MAX:
        raise Refused("bad_correction", f"{len(named)} corrections in one command are more than {_CORRECTIONS_MAX}")
    if len(set(keys)) < len(keys):
        raise Refused("bad_correction", "two corrections of one key: the second one has to wait for the outcome of the first")
    by = (asked_by(discrepancy) if discrepancy else "") or command.by
    for one, key in zip(named, keys, strict=True):
        net = rows.get(key, _NONE)
        what = f"{one.kind} of {one.symbol or one.fill_id or 'nothing'}"
        try:
            filled = msgspec.structs.replace(one, account=one.account or command.account)
            if problem := _problem(filled, command, net):
                raise Refused("bad_correction", problem)
            filled = _priced(filled, net, by, rules, trading_date)
            check_fields(filled, _NOWHERE)
        except Refused as refused:
            raise Refused(refused.reason, f"{what}: {refused}") from refused
        yield _complete(filled, command, discrepancy, comparison, net, now_us, by)


def key_of(correction: Correction) -> Key:
    """Return the key whose NET version a correction names; one that is named by a fill has that in the place of the symbol."""
    if correction.fill_id:
        return correction.fill_id, ""
    if correction.kind == "TRANSFER" and not correction.strategy_id:
        return correction.to_symbol or correction.symbol, correction.to_book or correction.book
    return correction.symbol, correction.book


def _complete(
    correction: Correction,
    command: Command,
    discrepancy: Discrepancy | None,
    comparison: Comparison | None,
    net: NetRow,
    now_us: int,
    by: str,
) -> Correction:
    if discrepancy and comparison and correction.kind in AUTOMATIC and correction.symbol == discrepancy.symbol:
        # It stands for what the read saw, so a late fill of before that read takes its place.
        correction = msgspec.structs.replace(
            correction,
            read_began_ts=comparison.read_began_ts,
            read_ended_ts=comparison.read_ended_ts,
            marker_before=comparison.marker_before,
            marker_after=comparison.marker_after,
        )
    evidence = {"command": command.command_id} | ({"discrepancy": discrepancy.discrepancy_id} if discrepancy else {})
    filled = msgspec.structs.replace(
        correction,
        expected_net_version=-1 if correction.fill_id else net.version,
        reason=cut(correction.reason or command.reason, DETAIL_CHARS_MAX),
        evidence=correction.evidence | evidence,
        requested_by=by,
        approved_by=", ".join(discrepancy.approvals) if discrepancy else command.by,
        ts=now_us,
    )
    source = discrepancy.discrepancy_id if discrepancy else command.command_id
    return msgspec.structs.replace(filled, correction_id=correction_id(source, filled))


def _priced(correction: Correction, net: NetRow, by: str, rules: Rules, trading_date: int) -> Correction:
    """Return a SETTLEMENT with price and tax: those that are named, or what follows from evidence `underlying` (a decimal number)."""
    if correction.kind != "SETTLEMENT" or net.security_type not in {"FUT", "OPT"}:
        return correction
    named = correction.evidence.get("underlying")
    try:
        underlying = money.parse(named, "underlying") if named else None
    except Park as park:
        raise Refused("bad_correction", park.what) from park
    if not (correction.price or underlying is not None or "price_source" in correction.evidence):
        raise Refused("price_needed", "name its final price; for one that ends worthless, who says so (evidence price_source)")
    source = correction.evidence.get("price_source") or f"operator {by}"
    found = settlement(
        correction.symbol,
        net.quantity,
        price=correction.price,
        underlying=underlying,
        source=source,
        rules=rules,
        trading_date=trading_date,
    )
    return msgspec.structs.replace(
        correction, price=found.price, taxes=correction.taxes or found.taxes, evidence=correction.evidence | {"price_source": source}
    )


# --- what each kind has to name ----------------------------------------------------------------------------------------------------------


def _problem(correction: Correction, command: Command, net: NetRow) -> str:
    """Return why a correction cannot be meant, or nothing."""
    check = _CHECKS.get(correction.kind)
    if check is None:
        return f"not a kind that an operator corrects by: {', '.join(sorted(_CHECKS))}"
    if correction.account != command.account:
        return f"it names account {correction.account}, and the command {command.account}"
    if not correction.fill_id and correction.kind != "TRANSFER" and not (correction.symbol and correction.book):
        return "name a symbol and a book"
    if ids.WHOLE_ACCOUNT in {correction.symbol, correction.book} and correction.kind != "QUALITY":
        return "the mark of a whole account has a quality and nothing else"
    if correction.price < 0:
        return "a price is not negative"
    return next((why for wrong, why in check(correction, net) if wrong), "")


_Checks = Sequence[tuple[bool, str]]


def _opening(correction: Correction, net: NetRow) -> _Checks:
    del net
    return ((not correction.quantity, "name a quantity"), (not correction.price, "name the price that it was bought or sold at"))


def _adjust(correction: Correction, net: NetRow) -> _Checks:
    reduces = net.quantity * correction.quantity < 0 and abs(correction.quantity) <= abs(net.quantity)
    costless = not correction.price and not reduces and (not net.quantity or net.quantity * correction.quantity < 0)
    return ((not correction.quantity, "name a quantity"), (costless, f"NET holds {net.quantity}: what it opens needs a price"))


def _settlement(correction: Correction, net: NetRow) -> _Checks:
    del correction
    return ((not net.quantity, "nothing is open"), (net.security_type not in {"FUT", "OPT"}, "only a contract expires"))


def _cost_basis(correction: Correction, net: NetRow) -> _Checks:
    return ((not correction.amount, "name the amount by which the cost changes"), (not net.quantity, "nothing is open"))


def _corporate_action(correction: Correction, net: NetRow) -> _Checks:
    ratio = correction.numerator <= 0 or correction.denominator <= 0
    nothing = correction.numerator == correction.denominator and not correction.amount and not correction.to_symbol
    return (
        (ratio, "name how many new shares (numerator) come for how many old ones (denominator)"),
        (not net.quantity, "nothing is open"),
        (nothing, "it changes nothing"),
    )


def _transfer(correction: Correction, net: NetRow) -> _Checks:
    del net
    outside = not correction.strategy_id
    leaves = not (correction.to_symbol or correction.to_book or correction.to_strategy_id)
    return (
        (not correction.quantity, "name a quantity"),
        (outside and leaves, "name a strategy that gives, or one that takes"),
        (ids.NET in {correction.strategy_id, correction.to_strategy_id}, "NET neither gives nor takes"),
        (outside and not (correction.amount or correction.price), "what comes from outside needs its cost: an amount, or a price"),
    )


def _fees(correction: Correction, net: NetRow) -> _Checks:
    return ((not correction.fill_id and not net.version, "there is no such row"),)


def _void(correction: Correction, net: NetRow) -> _Checks:
    del net
    return ((not correction.fill_id, "name the fill"),)


def _quality(correction: Correction, net: NetRow) -> _Checks:
    del net
    return ((not correction.quality, "name a quality"),)


_CHECKS: dict[str, Callable[[Correction, NetRow], _Checks]] = {
    "OPENING": _opening,
    "ADJUST": _adjust,
    "SETTLEMENT": _settlement,
    "COST_BASIS": _cost_basis,
    "CORPORATE_ACTION": _corporate_action,
    "TRANSFER": _transfer,
    "FEES": _fees,
    "VOID": _void,
    "QUALITY": _quality,
}
