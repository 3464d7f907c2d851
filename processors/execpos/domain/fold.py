"""Folds a file of broker callbacks into positions: the domain's own code, without Kafka.

A line is `{"kind": "SDEAL", "payload": {...}}`; other keys are ignored. There is no bridge and no time of arrival, so each event's own
time decides whether it lies in the window. The environment is `replay`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from execpos.domain import ids, money, normalize, positions
from execpos.domain.book import Position, Source
from execpos.domain.events import CorrectionOutcome, FillEvent, Intent, OrderEvent, PositionDelta, RawExecEvent
from execpos.domain.pipeline import Outcome, Pipeline
from execpos.domain.redact import redact
from execpos.domain.rules import Rules
from execpos.domain.vocabulary import CATCHUP
from execpos.errors import ContractError

ENV = "replay"
_CLASSES = {
    "order": "orders",
    "fill": "fills",
    "duplicate": "duplicates",
    "conflict": "conflicts",
    "parked": "parked",
    "dead_letter": "dead_letters",
}


class _Line(msgspec.Struct):
    kind: str
    payload: dict[str, Any]


class _IntentLine(msgspec.Struct, forbid_unknown_fields=True):
    account: str
    session_id: str
    strategy_id: str
    order_id: str = ""
    seqno: str = ""


class _Kept:
    """Takes what the pipeline makes and keeps nothing: a fold prints rows, and those stand in the book."""

    def order(self, event: OrderEvent) -> None:
        """Take an order event."""

    def fill(self, event: FillEvent) -> None:
        """Take a fill."""

    def outcome(self, outcome: CorrectionOutcome) -> None:
        """Take nothing: a file of callbacks has no corrections."""

    def delta(self, event: PositionDelta) -> None:
        """Take a delta."""


class Fold:
    """A fold under way. Feed intents and lines in any order, then read `result`.

    Args:
        rules: the domain's rules.
    """

    def __init__(self, rules: Rules) -> None:
        self._pipeline = Pipeline(rules, _Kept())
        self._counts: Counter[str] = Counter()
        self._offset = 0

    def add(self, lines: Iterable[bytes]) -> Iterator[Outcome]:
        """Fold callbacks, one a line, and yield what became of each; empty lines are left out.

        Raises:
            ContractError: a line is no callback; it names the line's number.
        """
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                read = msgspec.json.decode(line, type=_Line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise _bad_line(number, str(error), 'a callback is {"kind": "SDEAL", "payload": {...}} on one line') from error
            callback = read.kind.removeprefix(CATCHUP)
            if callback in {"MARKER", "BEAT", "GAP", "CONNECTION"}:
                raise _bad_line(number, f"{read.kind} is no callback of the broker", "leave such lines out")
            payload, _ = redact(read.payload)
            yield self._apply(read.kind, callback, payload)

    def _apply(self, kind: str, callback: str, payload: dict[str, Any]) -> Outcome:
        account = ids.account_key(ENV, "F" if callback.startswith("F") else "S", *normalize.account_parts(callback, payload))
        raw = RawExecEvent(
            env=ENV,
            account=account,
            kind=kind,
            payload=msgspec.json.encode(payload),
            broker_event_id="",
            bridge_id="fold",
            bridge_epoch=0,
            bridge_seq=self._offset,
            ingest_ts=0,
            ingest_monotonic_ns=0,
            marker_id="",
            sdk_version="",
        )
        outcome = self._pipeline.apply_raw(raw, self._source(0))
        self._pipeline.commit()
        self._counts["raw"] += 1
        self._counts[_CLASSES[outcome.disposition]] += 1
        return outcome

    def claim(self, lines: Iterable[bytes]) -> None:
        """Take intents, one a line.

        Raises:
            ContractError: a line is no intent; it names the line's number.
        """
        shape = 'an intent is {"account", "seqno" or "order_id", "session_id", "strategy_id"} on one line'
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                read = msgspec.json.decode(line, type=_IntentLine)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise _bad_line(number, str(error), shape) from error
            if len(ids.split(read.account)) != 4:
                raise _bad_line(number, f"account {read.account!r} is not like replay|S|9A95|1234567", shape)
            intent = Intent(
                intent_id=f"line-{number}",
                account=read.account,
                strategy_id=read.strategy_id,
                session_id=read.session_id,
                order_id=read.order_id,
                seqno=read.seqno,
                tags={},
                created_ts=0,
            )
            outcome = self._pipeline.apply_intent(intent, self._source(1))
            self._pipeline.commit()
            if outcome.disposition != "control":
                raise _bad_line(number, outcome.detail, shape)

    def _source(self, which: int) -> Source:
        self._offset += 1
        return Source("fold", 0, self._offset, which, 0, "fold", 0, self._offset, 0, 0)

    def result(self) -> dict[str, Any]:
        """Return counts, strategy rows and NET rows, sorted by key; amounts as exact decimal text."""
        found = [(account.key, position) for account in self._pipeline.accounts.values() for position in account.book]
        found.sort(key=lambda item: item[1].key)
        published = [(account, position) for account, position in found if position.version]
        return {
            "counts": {"raw": self._counts["raw"], **{name: self._counts[name] for name in _CLASSES.values()}},
            "positions": [_row(account, position) for account, position in published if position.strategy_id != ids.NET],
            "net": [_without_strategy(_row(account, position)) for account, position in published if position.strategy_id == ids.NET],
        }


def _bad_line(number: int, what: str, hint: str) -> ContractError:
    return ContractError(f"line {number}: {what}", hint=hint, line=number)


def _row(account: str, position: Position) -> dict[str, Any]:
    row = position.row
    return {
        "account": account,
        "symbol": position.symbol,
        "book": position.book,
        "strategy_id": position.strategy_id,
        "quantity": row.quantity,
        "average_price": money.text(positions.average_price(row, position.multiplier)),
        "open_cost": money.text(row.open_cost),
        "realized_pnl": money.text(row.realized),
        "fees": money.text(row.fees),
        "taxes": money.text(row.taxes),
        "cost_method": position.method,
        "quality": position.quality,
        "version": position.version,
    }


def _without_strategy(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "strategy_id"}
