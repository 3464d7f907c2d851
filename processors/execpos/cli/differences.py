"""Discrepancies as commands find and name them."""

from pathlib import Path
from typing import TYPE_CHECKING

from execpos.cli.moments import same_account

if TYPE_CHECKING:
    from collections.abc import Mapping

    from execpos.cli.records import Records
    from execpos.domain.events import Discrepancy
    from execpos.settings import Settings

# Digits of an id that are enough to name one, where only one begins so.
_DIGITS_MIN = 4


def one_of(known: "Mapping[str, Discrepancy]", name: str) -> "Discrepancy":
    """Return the discrepancy with that id, or the only one whose id begins so.

    Raises:
        UsageError: there is none, or there are several.
    """
    from execpos.errors import UsageError  # noqa: PLC0415 (`--help` must not pay for it)

    if name in known:
        return known[name]
    fitting = [key for key in known if len(name) >= _DIGITS_MIN and key.startswith(name)]
    if len(fitting) != 1:
        raise UsageError(
            f"{'several discrepancies begin' if fitting else 'no discrepancy begins'} with {name}", hint="`discrepancies list --all`"
        )
    return known[fitting[0]]


def opened(config_dir: Path | None) -> "tuple[Records, Settings]":
    """Return the topics and the settings; asks the registry."""
    from execpos.cli.records import Records  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    settings = load(config_dir)
    return Records.open(settings, "discrepancies").learn(), settings


def newest(records: "Records") -> "dict[str, Discrepancy]":
    """Return every discrepancy that the topic holds, by id. Blocks for reading it."""
    from execpos.domain.events import Discrepancy  # noqa: PLC0415 (`--help` must not pay for it)

    return records.newest("discrepancies", Discrepancy)


def matching(found: "Mapping[str, Discrepancy]", account: str, cause: str | None, kind: str | None) -> "list[Discrepancy]":
    """Return the differences of an account that wait for an operator and have that cause and that kind, by symbol and book.

    One whose correction is under way waits for nobody, and what an operator asked for is no difference.

    Raises:
        UsageError: there is none.
    """
    from execpos.domain.reconciliation.approvals import is_request  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.errors import UsageError  # noqa: PLC0415 (as above)

    fitting = [
        one
        for one in found.values()
        if same_account(one.account, account)
        and one.status in {"OPEN", "EXPIRED"}
        and cause in {None, one.cause}
        and kind in {None, one.kind}
        and not is_request(one)
    ]
    if not fitting:
        raise UsageError(f"no open difference of account {account} is of that kind", hint="`discrepancies list` shows what stands open")
    return sorted(fitting, key=lambda one: (one.account, one.symbol, one.book, one.opened_ts))


def stands(one: "Discrepancy") -> bool:
    """Tell whether it is not over, and no operator took it as it is."""
    from execpos.domain.reconciliation.discrepancies import OPEN_STATUSES  # noqa: PLC0415 (`--help` must not pay for it)

    return one.status in OPEN_STATUSES


def books(one: "Discrepancy") -> str:
    """Say in one line what the proposal books."""
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    parts = [one.proposed_kind, one.symbol, one.book]
    if one.proposed_quantity:
        parts.append(f"{one.proposed_quantity:+,}")
    if one.proposed_kind in {"ADJUST", "OPENING", "SETTLEMENT"}:
        named = one.proposed_price or one.proposed_kind == "SETTLEMENT"
        parts.append(f"at {text(one.proposed_price)}" if named else "at cost")
    if one.proposed_amount:
        parts.append(f"cost {text(one.proposed_amount)}")
    return " ".join(parts)
