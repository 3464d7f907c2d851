"""One round of an account: what it has asked, what has come back, and when all of it is there. Pure.

A round is a chain of stages, each with an end of its own: COVER waits for the bridge's own catch-up, CATCHUP for the one asked for here,
SETTLE for the time at which a difference may be looked at again, PACE for its turn in the login's budget, READ for the answers and the
ledger's books at their markers, CORRECT for the outcomes of corrections. So every round ends, whatever does not come.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Literal

import msgspec

from execpos.domain.events import BrokerRequest, BrokerSnapshot
from execpos.domain.reconciliation.sides import Book, BrokerRead, read_of
from execpos.domain.vocabulary import RoundTrigger

Stage = Literal["COVER", "CATCHUP", "SETTLE", "PACE", "READ", "CORRECT"]

READS = 2
"""How often positions are read in one round."""

# Requests, answers and books that one round may hold; it asks for far less, and anything beyond is none of its own.
_HELD_MAX = 64

# Calls that the broker counts for one answer of the records: update_status and order_deal_records.
_CATCHUP_CALLS = 2

Part = tuple[str, str, int]
"""Request id, what, and which read."""


class Round(msgspec.Struct, frozen=True):
    """A round that has begun and not ended.

    Attributes:
        round_id: names it; its requests are `<round_id>.<number>`.
        triggers: why it was started.
        command_ids: commands that it will answer.
        began_us: when, by the reconciler's clock.
        stage: what it waits for.
        until_us: when the stage is over at the latest.
        settle_us: when the positions may be read at the earliest.
        read_us: when the positions were asked for; 0 before.
        witness: it looks for a second witness of a missing row.
        profit_day: trading date whose profit it compares; 0 for none.
        profit_begin: first day that it asks PROFIT_LOSS for.
        caught: it has read the records.
        wanted: answers that have to come, in the order of asking.
        answers: those that came.
        books: the ledger's books at the markers, by marker.
        gap: a gap was noted while the positions were read.
        corrections: ids of corrections that it sent.
        differences: ids of the discrepancies that it saw.
        requests: how many requests it made.
    """

    round_id: str
    triggers: tuple[RoundTrigger, ...]
    command_ids: tuple[str, ...]
    began_us: int
    stage: Stage
    until_us: int
    settle_us: int = 0
    read_us: int = 0
    witness: bool = False
    profit_day: int = 0
    profit_begin: int = 0
    caught: bool = False
    wanted: tuple[Part, ...] = ()
    answers: Mapping[Part, BrokerSnapshot] = {}
    books: Mapping[str, Book] = {}
    gap: bool = False
    corrections: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    requests: int = 0

    @property
    def prefix(self) -> str:
        """What the ids of its requests begin with."""
        return f"{self.round_id}."


def round_id(began_us: int, account: str) -> str:
    """Return the id of a round, short enough to stand in the ids of requests and markers; one account begins one at a moment."""
    return f"{began_us:x}-{sha256(account.encode()).hexdigest()[:8]}"


def asked(current: Round, request: BrokerRequest) -> Round:
    """Return the round after it asked for something."""
    new = tuple((request.request_id, what, read) for what in request.what for read in range(1, request.reads + 1))
    return msgspec.structs.replace(current, wanted=(*current.wanted, *new), requests=current.requests + 1)


def answered(current: Round, answer: BrokerSnapshot) -> Round:
    """Take in an answer; one that was not asked for, or came before, changes nothing."""
    part = (answer.request_id, answer.what, answer.read)
    if part not in current.wanted or part in current.answers:
        return current
    return msgspec.structs.replace(current, answers={**current.answers, part: answer})


def marked(current: Round, book: Book) -> Round:
    """Take in the ledger's book at a marker; one of another request's marker changes nothing."""
    if not book.marker_id.startswith(current.prefix) or book.marker_id in current.books or len(current.books) >= _HELD_MAX:
        return current
    return msgspec.structs.replace(current, books={**current.books, book.marker_id: book})


def complete(current: Round) -> bool:
    """Tell whether every answer is there, and the books at the markers of those that say something."""
    if len(current.answers) < len(current.wanted):
        return False
    return all(
        marker in current.books
        for (_, what, _), answer in current.answers.items()
        if answer.outcome == "OK" and what in {"POSITIONS", "ORDERS"}
        for marker in (answer.marker_before, answer.marker_after)
    )


def reads(current: Round) -> tuple[BrokerRead, ...]:
    """Return the answers about positions, in the order of reading."""
    return tuple(read_of(answer) for answer in _of(current, "POSITIONS"))


def last(current: Round, what: str) -> BrokerSnapshot | None:
    """Return the newest good answer about something; None without one."""
    return next((answer for answer in reversed(_of(current, what)) if answer.outcome == "OK"), None)


def newest(current: Round, what: str) -> BrokerSnapshot | None:
    """Return the newest answer about something, good or not."""
    found = _of(current, what)
    return found[-1] if found else None


def _of(current: Round, what: str) -> list[BrokerSnapshot]:
    return [current.answers[part] for part in current.wanted if part[1] == what and part in current.answers]


def calls(current: Round) -> int:
    """Return how many calls of the broker its answers took; those without markers took none."""
    return sum(
        _CATCHUP_CALLS if answer.what == "CATCHUP" else 1
        for answer in current.answers.values()
        if answer.marker_before and answer.marker_after
    )


def unanswered(current: Round) -> str:
    """Return what has not come, for people."""
    parts = [f"{what} {read}" for request_id, what, read in current.wanted if (request_id, what, read) not in current.answers]
    if parts:
        return f"no answer to {', '.join(parts)}"
    return "the ledger has not answered every marker"
