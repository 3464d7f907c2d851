"""Which orders may be placed: the most restrictive of what every source says for every scope that covers them.

Pure. Whether a record is fresh is not known here: a reader judges that by its own clock and then asks with what it has.
"""

from collections.abc import Iterable, Mapping

import msgspec

from execpos.domain import ids
from execpos.domain.events import TradingControl
from execpos.domain.vocabulary import ControlState

EVERYTHING = "*"
"""The scope that covers every order."""

OPERATOR = "operator"
"""The source that may end a latched state of any other."""

ACTIVE: ControlState = "ACTIVE"
REDUCE_ONLY: ControlState = "REDUCE_ONLY"
RECOVERING: ControlState = "RECOVERING"
HALTED: ControlState = "HALTED"

SEVERITY: dict[str, int] = {ACTIVE: 0, REDUCE_ONLY: 1, RECOVERING: 2, HALTED: 3}
"""How restrictive a state is; a word that is not here is as restrictive as HALTED."""

_STRATEGY = "strategy:"

BySource = Mapping[str, TradingControl]
"""What each source said last for one scope."""


class Effective(msgspec.Struct, frozen=True):
    """What holds for one order: the state, and the records that say so."""

    state: ControlState
    because: tuple[TradingControl, ...] = ()


def key(scope: str, source: str) -> str:
    """Return the key of a record of exec.control. A scope holds `|` itself, so the source is what stands behind the last one."""
    return f"{scope}|{source}"


def symbol_scope(account: str, symbol: str) -> str:
    """Return the scope of one symbol in one account."""
    return f"{account}|{ids.escape(symbol)}"


def symbol_of(scope: str, account: str) -> str:
    """Return the symbol of such a scope."""
    return ids.unescape(scope.removeprefix(f"{account}|"))


def strategy_scope(strategy_id: str) -> str:
    """Return the scope of one strategy in every account."""
    return f"{_STRATEGY}{strategy_id}"


def covers(scope: str, account: str) -> bool:
    """Say whether a scope is an account, or one of its symbols."""
    return scope == account or scope.startswith(f"{account}|")


def scopes(account: str, symbol: str, strategy_id: str) -> tuple[str, ...]:
    """Return every scope that covers an order; an empty symbol or strategy leaves its scope out."""
    found = [EVERYTHING, account]
    if symbol:
        found.append(symbol_scope(account, symbol))
    if strategy_id:
        found.append(strategy_scope(strategy_id))
    return tuple(found)


def released(record: TradingControl, operator: TradingControl | None) -> bool:
    """Say whether the operator's record of the same scope ends that latched record: one may name several, as several sources may halt."""
    return record.latched and operator is not None and operator is not record and record.control_id in operator.releases.split()


def stands(record: TradingControl, by_source: BySource) -> bool:
    """Say whether a record still holds: a latched one does until the operator's record of the same scope names it."""
    return not released(record, by_source.get(OPERATOR))


def effective(records: Mapping[str, BySource], covering: Iterable[str]) -> Effective:
    """Return what holds under `covering` scopes. Without any record that is ACTIVE: to want records is the caller's part.

    Args:
        records: scope -> source -> the newest record of that key.
        covering: scopes that cover the order, as `scopes` gives them.
    """
    worst = 0
    because: list[TradingControl] = []
    for scope in covering:
        by_source = records.get(scope)
        if by_source is None:
            continue
        for record in by_source.values():
            severity = SEVERITY.get(record.state, SEVERITY[HALTED])
            if severity and severity >= worst and stands(record, by_source):
                if severity > worst:
                    worst, because = severity, []
                because.append(record)
    return Effective(_STATES[worst], tuple(because))


_STATES: tuple[ControlState, ...] = (ACTIVE, REDUCE_ONLY, RECOVERING, HALTED)


def may_follow(record: TradingControl, before: TradingControl | None, operator: TradingControl | None) -> bool:
    """Say whether a source may replace its record by another one: a latched one only by one as restrictive, or after its release.

    Args:
        record: the new one.
        before: the same source's last one of that scope.
        operator: the operator's last one of that scope; the operator itself may always replace what it wrote.
    """
    if before is None or not before.latched or record.source == OPERATOR:
        return True
    return released(before, operator) or SEVERITY.get(record.state, SEVERITY[HALTED]) >= SEVERITY.get(before.state, SEVERITY[HALTED])
