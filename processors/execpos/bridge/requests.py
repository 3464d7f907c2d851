"""Answers what others want to know of the broker: each read between two markers in the stream, each request once.

A read that a dead bridge had begun is not made again under the same markers: what is left of its request is answered with FAILED.
"""

import contextlib
import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, NamedTuple, Protocol

from execpos.bridge.capture import Capture, OwnRecord
from execpos.bridge.reads import lot_rows, order_rows, position_rows, profit_rows
from execpos.bridge.snapshots import Rows
from execpos.brokers.protocol import Broker, BrokerAccount, BrokerError
from execpos.domain.events import BrokerRequest, BrokerSnapshot
from execpos.domain.limits import ID_CHARS_MAX, MESSAGE_CHARS_MAX, cut
from execpos.domain.vocabulary import BrokerOutcome
from execpos.telemetry import metrics
from execpos.telemetry.log import Logger

REQUESTS_TOPIC = "exec.broker-requests.v1"

# As the contract says of `reads`.
_READS_MAX = 5

# Above the retention of the requests' topic, after which a repeat can only be a new one.
_REMEMBERED_US = 2 * 86_400_000_000

# More than a bridge can answer in two days would be a flood; the oldest are forgotten first.
_REMEMBERED_MAX = 20_000

# How long one answer may keep the desk from its other work when Kafka is slow.
_WRITE_S = 10.0

_EPOCH = date(1970, 1, 1)

# Beyond the years that a date has: such a request is answered as one that cannot be.
_DAYS_MAX = 2_000_000

_STATE_KEY = "requests"

_NO_ROWS = Rows()

_log = Logger("bridge")


class State(Protocol):
    """What the journal keeps beside the records: named plain data, written whole and at once."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return what was set last, or the default."""
        ...

    def set(self, key: str, value: Any) -> None:
        """Keep `value`, for the next start too. Blocks for a small file; an error of the disk is raised."""
        ...


Blackout = Callable[[int, BrokerAccount, str], str]
"""(µs UTC, account, what: a word of broker_read) → name of the window in which the account must not be asked for that, or empty."""


class Ask(NamedTuple):
    """A request and where it stood."""

    request: BrokerRequest
    partition: int
    offset: int


class Answered:
    """Remembers which requests were read and answered, over restarts. One thread but for `next_offset` before the first request.

    Args:
        state: where it is kept.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        kept = state.get(_STATE_KEY, {})
        self._topic_id = str(kept.get("topic_id", ""))
        self._next: dict[str, int] = dict(kept.get("next", {}))
        # request id -> [answers given, until when it is remembered (µs)]
        self._requests: dict[str, list[int]] = {name: list(entry) for name, entry in kept.get("requests", {}).items()}

    def next_offset(self, topic_id: str, partition: int) -> int:
        """Return where to go on reading; 0 of a topic that is not the one of the last time."""
        return self._next.get(str(partition), 0) if topic_id == self._topic_id else 0

    def done(self, request_id: str) -> int:
        """Return how many answers were given to a request, 0 of one that was never seen."""
        return self._requests.get(request_id, [0])[0]

    def seen(self, request_id: str) -> bool:
        """Say whether a request was begun."""
        return request_id in self._requests

    def note(self, request_id: str, done: int, now_us: int) -> None:
        """Keep that `done` answers were given."""
        self._requests[request_id] = [done, now_us + _REMEMBERED_US]
        self._keep(now_us)

    def read(self, topic_id: str, partition: int, offset: int, now_us: int) -> None:
        """Keep that everything up to `offset` was answered."""
        if topic_id != self._topic_id:
            self._topic_id, self._next = topic_id, {}
        self._next[str(partition)] = offset + 1
        self._keep(now_us)

    def _keep(self, now_us: int) -> None:
        kept = {name: entry for name, entry in self._requests.items() if entry[1] > now_us}
        for name in list(kept)[: max(0, len(kept) - _REMEMBERED_MAX)]:
            del kept[name]
        self._requests = kept
        # Copies: what the state was given must not change under it.
        requests = {name: list(entry) for name, entry in kept.items()}
        with contextlib.suppress(OSError):
            # A full disk is told by the journal; without this note a restart may answer once more.
            self._state.set(_STATE_KEY, {"topic_id": self._topic_id, "next": dict(self._next), "requests": requests})


class Writer(Protocol):
    """Where answers go."""

    def write(self, answer: BrokerSnapshot, rows: Rows, timeout_s: float) -> bool:
        """See `SnapshotWriter.write`."""
        ...


class Identity(NamedTuple):
    """Who answers."""

    bridge_id: str
    bridge_epoch: int
    sdk_version: str


class Requests:
    """Answers requests. The desk's thread.

    Args:
        broker: whom to ask.
        accounts: account key -> account; requests for others are not given to it.
        capture: where the markers go.
        catch_up: reads an account's records into the stream and returns how many that were; raises BrokerError.
        writer: where the answers go.
        answered: what was answered before.
        identity: who answers.
        blackout: name of the window in which an account must not be asked for something (a word of broker_read) now, or empty.
        wall_us: UTC in µs.
    """

    def __init__(
        self,
        broker: Broker,
        accounts: dict[str, BrokerAccount],
        capture: Capture,
        catch_up: Callable[[str], int],
        writer: Writer,
        answered: Answered,
        identity: Identity,
        *,
        blackout: Callable[[BrokerAccount, str], str],
        wall_us: Callable[[], int],
    ) -> None:
        self._broker = broker
        self._accounts = accounts
        self._capture = capture
        self._catch_up = catch_up
        self._writer = writer
        self._answered = answered
        self._identity = identity
        self._blackout = blackout
        self._wall_us = wall_us

    def answer(self, request: BrokerRequest) -> int:
        """Answer one request; return how many answers were given now: none for a repeat. Blocks for its reads; never raises BrokerError."""
        steps = self._steps(request)
        known, done = self._answered.seen(request.request_id), self._answered.done(request.request_id)
        if known and done >= len(steps):
            _log.info("broker_request_repeated", request_id=request.request_id)
            return 0
        for number, (what, read) in enumerate(steps[done:], done + 1):
            # Noted before the read as begun: a bridge that dies in it does not read again under the same markers.
            self._answered.note(request.request_id, number - 1, self._wall_us())
            if known:
                self._say(request, what, read, "FAILED", "the bridge was stopped while it read")
            else:
                self._step(request, what, read)
            self._answered.note(request.request_id, number, self._wall_us())
        return len(steps) - done

    def _steps(self, request: BrokerRequest) -> list[tuple[str, int]]:
        if not 1 <= request.reads <= _READS_MAX:
            return [(what, 1) for what in request.what or ("",)]
        return [(what, read) for what in request.what or ("",) for read in range(1, request.reads + 1)]

    def _step(self, request: BrokerRequest, what: str, read: int) -> None:
        account = self._accounts[request.account]
        if self._wall_us() > request.expires_ts:
            self._say(request, what, read, "EXPIRED", "it came, or its turn came, too late")
        elif not 1 <= request.reads <= _READS_MAX:
            self._say(request, what, read, "UNSUPPORTED", f"reads is {request.reads}, not 1 to {_READS_MAX}")
        elif what not in _READS:
            self._say(request, what, read, "UNSUPPORTED", f"known: {', '.join(_READS)}")
        elif len(request.request_id) > ID_CHARS_MAX:
            self._say(request, what, read, "UNSUPPORTED", f"request_id is longer than {ID_CHARS_MAX} characters")
        elif window := self._blackout(account, what):
            self._say(request, what, read, "REFUSED", f"not asked during {window}")
        else:
            self._read(request, account, what, read)

    def _read(self, request: BrokerRequest, account: BrokerAccount, what: str, read: int) -> None:
        before, after = (f"{request.request_id}/{what}/{read}/{side}" for side in ("before", "after"))
        self._mark(request, what, read, before)
        began = self._wall_us()
        rows, put = _NO_ROWS, 0
        outcome: BrokerOutcome = "OK"
        detail = ""
        try:
            rows, put = _READS[what](self, request, account)
        except BrokerError as error:
            outcome, detail = outcome_of(error), error.what
        except Exception as error:  # noqa: BLE001 (whatever the broker's library raises is no answer, and the next question may have one)
            outcome, detail = "FAILED", f"{type(error).__name__} in the broker's library"
            _log.error("broker_call_failed", what=what, account=request.account, error=type(error).__name__)
        ended = self._wall_us()
        self._mark(request, what, read, after)
        times = {"began_ts": began, "ended_ts": ended, "marker_before": before, "marker_after": after}
        self._say(request, what, read, outcome, detail, rows, records=put, **times)

    def _mark(self, request: BrokerRequest, what: str, read: int, marker_id: str) -> None:
        said = {"request_id": request.request_id, "what": what, "read": read}
        self._capture.put("MARKER", OwnRecord(request.account, json.dumps(said, ensure_ascii=True).encode(), marker_id))

    def _say(
        self, request: BrokerRequest, what: str, read: int, outcome: BrokerOutcome, detail: str, rows: Rows = _NO_ROWS, **known: Any
    ) -> None:
        now = self._wall_us()
        fields: dict[str, Any] = {"began_ts": now, "ended_ts": now, "marker_before": "", "marker_after": "", "records": 0, **known}
        answer = BrokerSnapshot(
            request_id=cut(request.request_id, ID_CHARS_MAX),
            account=request.account,
            what=cut(what, ID_CHARS_MAX),
            read=read,
            reads=request.reads,
            part=1,
            parts=1,
            outcome=outcome,
            detail=cut(detail, MESSAGE_CHARS_MAX),
            positions=(),
            lots=(),
            orders=(),
            profits=(),
            ts=now,
            **self._identity._asdict(),
            **fields,
        )
        metrics.counter("execpos_bridge_broker_reads_total").labels(what=what if what in _READS else "other", outcome=outcome).inc()
        if not self._writer.write(answer, rows, _WRITE_S):
            _log.warning("broker_answer_delayed", request_id=answer.request_id, what=what)

    def _positions(self, request: BrokerRequest, account: BrokerAccount) -> tuple[Rows, int]:
        del request
        return Rows(positions=position_rows(self._broker.positions(account))), 0

    def _lots(self, request: BrokerRequest, account: BrokerAccount) -> tuple[Rows, int]:
        del request
        rows = self._broker.positions(account)
        return Rows(lots=tuple(lot for row in rows for lot in lot_rows(row, self._broker.position_lots(account, row.row_id)))), 0

    def _orders(self, request: BrokerRequest, account: BrokerAccount) -> tuple[Rows, int]:
        del request
        self._broker.update_status(account)
        return Rows(orders=order_rows(self._broker.trades(account))), 0

    def _profits(self, request: BrokerRequest, account: BrokerAccount) -> tuple[Rows, int]:
        if not 0 <= request.begin_date <= request.end_date <= _DAYS_MAX:
            what = f"days {request.begin_date} to {request.end_date} are no span"
            raise BrokerError(what, kind="unsupported", hint="give begin_date and end_date as days since 1970-01-01")
        begin, end = (_EPOCH + timedelta(days=day) for day in (request.begin_date, request.end_date))
        return Rows(profits=profit_rows(self._broker.profit_loss(account, begin, end))), 0

    def _records(self, request: BrokerRequest, account: BrokerAccount) -> tuple[Rows, int]:
        del account
        return _NO_ROWS, self._catch_up(request.account)


def outcome_of(error: BrokerError) -> BrokerOutcome:
    """Return the word of the contract for why a broker gave no answer."""
    return _OUTCOMES[error.kind]


_OUTCOMES: dict[str, BrokerOutcome] = {
    "suspended": "SUSPENDED",
    "budget": "BUDGET",
    "session": "SESSION",
    "timeout": "TIMEOUT",
    "refused": "REFUSED",
    "malformed": "MALFORMED",
    "unsupported": "UNSUPPORTED",
    "failed": "FAILED",
}

_Read = Callable[[Requests, BrokerRequest, BrokerAccount], tuple[Rows, int]]

_READS: dict[str, _Read] = {
    "POSITIONS": Requests._positions,  # noqa: SLF001 (methods of the class above)
    "LOTS": Requests._lots,  # noqa: SLF001 (as above)
    "ORDERS": Requests._orders,  # noqa: SLF001 (as above)
    "PROFIT_LOSS": Requests._profits,  # noqa: SLF001 (as above)
    "CATCHUP": Requests._records,  # noqa: SLF001 (as above)
}
