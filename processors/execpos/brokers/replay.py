"""A broker that is a file: one callback a line, as `{"kind": "SDEAL", "payload": {...}}`; further keys of a line are notes."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from execpos.brokers.feed import Feed
from execpos.brokers.protocol import BrokerAccount, OrderCallback
from execpos.errors import ContractError, UsageError

KINDS = ("SORDER", "SDEAL", "FORDER", "FDEAL")

_LINE_SHAPE = 'a line is one JSON object with "kind" (SORDER, SDEAL, FORDER or FDEAL) and "payload" (an object)'


class Callback(NamedTuple):
    """One line of a callbacks file: number (from 1), kind and payload."""

    line: int
    kind: str
    payload: dict[str, Any]


def read_callbacks(path: Path) -> Iterator[Callback]:
    """Yield the callbacks of a file, in order; empty lines are passed over.

    Raises:
        UsageError: the file cannot be read.
        ContractError: a line is no callback; names the file and the line's number.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.isspace():
                    yield _callback(path, number, line)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="give a file of callbacks, one JSON object a line") from error


def _callback(path: Path, number: int, line: bytes) -> Callback:
    where = f"{path}, line {number}"
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{where}: not JSON: {error}", hint=_LINE_SHAPE, line=number) from error
    if not isinstance(fields, dict):
        raise ContractError(f"{where}: a {type(fields).__name__}, not an object", hint=_LINE_SHAPE, line=number)
    kind, payload = fields.get("kind"), fields.get("payload")
    if kind not in KINDS:
        raise ContractError(f"{where}: kind is {str(kind)[:40]!r}", hint=_LINE_SHAPE, line=number)
    if not isinstance(payload, dict):
        raise ContractError(f"{where}: payload is a {type(payload).__name__}", hint=_LINE_SHAPE, line=number)
    return Callback(number, str(kind), payload)


def _account(callback: Callback) -> BrokerAccount | None:
    order = callback.payload.get("order")
    holder = order.get("account") if isinstance(order, dict) else callback.payload
    if not isinstance(holder, dict):
        return None
    broker_id, account_id = holder.get("broker_id"), holder.get("account_id")
    if not isinstance(broker_id, str) or not isinstance(account_id, str):
        return None
    return BrokerAccount("S" if callback.kind[0] == "S" else "F", broker_id, account_id)


class ReplayBroker(Feed):
    """Delivers a file's callbacks as fast as they are taken. The whole file is checked first, so a bad line publishes nothing."""

    env = "replay"
    sdk_version = "replay"

    def __init__(self, path: Path) -> None:
        """Read and check the file; blocks while it does.

        Raises:
            UsageError: the file cannot be read.
            ContractError: a line is no callback.
        """
        super().__init__("replay")
        self._path = path
        found: dict[BrokerAccount, None] = {}
        for callback in read_callbacks(path):
            account = _account(callback)
            if account is not None:
                found[account] = None
        self._accounts = tuple(found)

    def accounts(self) -> Sequence[BrokerAccount]:
        return self._accounts

    def _deliver(self, callback: OrderCallback) -> None:
        for line in read_callbacks(self._path):
            if self._stopping.is_set():
                return
            callback(line.kind, line.payload)
