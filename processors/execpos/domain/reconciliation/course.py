"""How a round goes, from its first trigger to its end: each stage waits for something, has an end by time, and leads to the next.

Pure. One round at a time; whatever comes meanwhile waits for the next one. A round that cannot be used is tried again, each time later.
"""

from collections.abc import Callable

from execpos.domain.events import BrokerRequest, ReconciliationRound
from execpos.domain.limits import DETAIL_CHARS_MAX, cut
from execpos.domain.reconciliation import beside_round, judging, rounds, triggers, watch
from execpos.domain.reconciliation.comparison import compare
from execpos.domain.reconciliation.pace import calls_of
from execpos.domain.reconciliation.rounds import READS, Round, Stage
from execpos.domain.reconciliation.state import Suspect
from execpos.domain.reconciliation.turn import Turn
from execpos.domain.vocabulary import RoundTrigger, RoundVerdict

# What is asked for and not answered is given up so long after the request has expired: an answer that was begun in time may still come.
_GRACE_US = 20_000_000

# A round that could not be used is tried again after 1, 2, 4 … seconds, and at the latest after these.
_RETRY_US, _RETRY_MAX_US = 1_000_000, 30_000_000

# A position that moves is looked at again after 1, 2, 4 … seconds.
_MOVED_US = 1_000_000

# Stages that one step can pass through; more would be a circle.
_STAGES_MAX = 12

# Outcomes that say that nothing was asked, and not that the broker failed.
_NOT_ASKED = frozenset({"REFUSED", "SUSPENDED", "BUDGET", "EXPIRED", "UNSUPPORTED"})

# Days before the newest fill of a row that are asked for its realized profit at most.
_PROFIT_DAYS_MAX = 30


def drive(turn: Turn) -> None:
    """Begin a round when one is wanted and possible, and take the one under way as far as it goes now."""
    if turn.state.current is None:
        _start(turn)
    for _ in range(_STAGES_MAX):
        current = turn.state.current
        if current is None:
            return
        _STEPS[current.stage](turn)
        if turn.state.current is None or turn.state.current.stage == current.stage:
            return
    msg = f"round of account {turn.state.account} goes in a circle"
    raise AssertionError(msg)


# --- the begin ---------------------------------------------------------------------------------------------------------------------------


def _start(turn: Turn) -> None:
    _schedule(turn)
    state = turn.state
    why = watch.not_now(turn)
    if state.commands and why:
        _refuse(turn, why)
    if not turn.state.triggers or turn.now_us < state.not_before_us or why:
        return
    name = rounds.round_id(turn.now_us, state.account)
    turn.put(
        current=Round(name, turn.state.triggers, _command_ids(turn), turn.now_us, "COVER", turn.now_us + turn.rules.cover_us),
        triggers=(),
    )
    _prepare(turn)


def _schedule(turn: Turn) -> None:
    state, rules, now_us = turn.state, turn.rules, turn.now_us
    if state.profits.due and now_us >= state.profits.not_before_us:
        turn.want("SESSION_CLOSE")
    if state.triggers or now_us < state.not_before_us:
        return
    if watch.recovering(state):
        turn.want("RECONNECT")
    elif now_us - state.asked_us >= min(rules.positions_interval_us, rules.interval_us):
        turn.want("SCHEDULE")
        if now_us - state.full_us >= rules.interval_us:
            # The bridge reads the records by itself, more often than this.
            turn.put(full_us=now_us, fresh_ts=max(state.fresh_ts, now_us - rules.interval_us))


def _refuse(turn: Turn, why: str) -> None:
    """Answer the commands whose round cannot be: at once while the broker must not be asked, otherwise when their time is over."""
    closed = watch.closed(turn)
    over = [one for one in turn.state.commands if closed or 0 < one.expires_ts <= turn.now_us]
    if over:
        _answer(turn, tuple(one.command_id for one in over), why)
        turn.put(commands=tuple(one for one in turn.state.commands if one not in over))


def refuse(turn: Turn, command_id: str, why: str) -> None:
    """Answer a command that cannot be followed."""
    _answer(turn, (command_id,), why)


def _answer(turn: Turn, command_ids: tuple[str, ...], why: str) -> None:
    name = rounds.round_id(turn.now_us, "|".join((turn.state.account, *command_ids)))
    turn.report(_record(turn, Round(name, ("COMMAND",), command_ids, turn.now_us, "COVER", 0), "REFUSED", why))


def _command_ids(turn: Turn) -> tuple[str, ...]:
    return tuple(one.command_id for one in turn.state.commands)


# --- before the read ---------------------------------------------------------------------------------------------------------------------


def _prepare(turn: Turn, *, waited: bool = False, early: bool = False) -> None:
    """Go to the stage that has to come before positions are read.

    Args:
        turn: the step.
        waited: the bridge has had its time to catch up by itself.
        early: the records brought something, so the positions are worth a look at once.
    """
    current, bridge = turn.current, turn.state.bridge
    if bridge is None:
        _unusable(turn, "no heartbeat of a bridge", failed=0)
        return
    since_ts = max([turn.state.fresh_ts, *(gap.to_ts for gap in turn.state.gaps if gap.to_ts > turn.state.compared_ts)])
    if not triggers.covered(bridge, since_ts) and not current.caught:
        # A bridge that knows of nothing open reads nothing by itself.
        fresh = bridge.last.last_catchup_ts <= turn.state.fresh_ts and turn.state.fresh_ts > 0
        if waited or fresh or not bridge.last.open_gaps:
            _ask(turn, "CATCHUP")
            turn.round(stage="CATCHUP", until_us=turn.now_us + turn.rules.answer_us + _GRACE_US)
        else:
            _stage(turn, "COVER", turn.now_us + turn.rules.cover_us)
        return
    if bridge.last.open_gaps and not waited:
        _stage(turn, "COVER", turn.now_us + turn.rules.cover_us)
        return
    again = [] if early else [one for one in turn.state.suspects.values() if judging.follows(turn, one)]
    if current.command_ids and not watch.recovering(turn.state):
        again += judging.averages(turn).values()
    ready_us = max((_ready_us(turn, one) for one in again), default=0)
    if ready_us > turn.now_us:
        _stage(turn, "SETTLE", ready_us)
        return
    _stage(turn, "PACE", turn.now_us + turn.rules.answer_us)


def _ready_us(turn: Turn, suspect: Suspect) -> int:
    wait_us = turn.rules.settle_us if suspect.what else min(_MOVED_US << max(0, suspect.looks - 1), turn.rules.settle_us)
    return suspect.seen_us + wait_us


def _stage(turn: Turn, stage: Stage, until_us: int) -> None:
    """Go to a stage; one that it is in already keeps its end."""
    if turn.current.stage != stage or not turn.current.until_us:
        turn.round(stage=stage, until_us=until_us)


def _cover(turn: Turn) -> None:
    _join(turn)
    _prepare(turn, waited=turn.now_us >= turn.current.until_us)


def _settle(turn: Turn) -> None:
    if turn.state.triggers:
        _join(turn)
        _prepare(turn)
    elif turn.now_us >= turn.current.until_us:
        _stage(turn, "PACE", turn.now_us + turn.rules.answer_us)


def _join(turn: Turn) -> None:
    """Let what came since the begin be answered by this round; its positions are not read yet."""
    current, state = turn.current, turn.state
    if state.triggers:
        turn.round(triggers=tuple(dict.fromkeys((*current.triggers, *state.triggers))), command_ids=_command_ids(turn), caught=False)
        turn.put(triggers=())


def _catchup(turn: Turn) -> None:
    answer = rounds.newest(turn.current, "CATCHUP")
    if answer is None:
        if turn.now_us >= turn.current.until_us:
            _unusable(turn, rounds.unanswered(turn.current), failed=1)
        return
    if answer.outcome not in {"OK", "UNSUPPORTED"}:
        _unusable(turn, f"CATCHUP: {answer.outcome} {answer.detail}".rstrip(), failed=int(answer.outcome not in _NOT_ASKED), refused=True)
        return
    # A broker without records has told what it can.
    turn.round(caught=True, stage="COVER", until_us=turn.now_us + turn.rules.cover_us)
    _prepare(turn, early=answer.records > 0)


def _pace(turn: Turn) -> None:
    current, now_us = turn.current, turn.now_us
    why = watch.not_now(turn)
    if why:
        _unusable(turn, why, failed=0, refused=True)
        return
    orders, profit, begin, end = _extras(turn)
    # A limit that is smaller than one round is used up whole by it; the bridge waits for the turn of the rest.
    calls = min(READS + int(profit), turn.pace.limit)
    if turn.pace.free(now_us) - sum(map(calls_of, turn.asked)) < calls:
        if now_us >= current.until_us:
            _unusable(turn, "no call was left in the login's budget", failed=0, refused=True)
        return
    turn.round(stage="READ", until_us=now_us + turn.rules.answer_us + _GRACE_US, read_us=now_us)
    # Whatever the records had to be read after, they have been.
    turn.put(fresh_ts=0, asked_us=now_us)
    _ask(turn, "POSITIONS", reads=READS)
    if orders:
        _ask(turn, "ORDERS")
        turn.put(orders_us=now_us)
    if profit:
        turn.round(profit_begin=begin, profit_day=turn.state.profits.due)
        _ask(turn, "PROFIT_LOSS", begin=begin, end=end)


def _extras(turn: Turn) -> tuple[bool, bool, int, int]:
    """Return whether orders and profits are read beside positions, and from which day to which."""
    state, rules = turn.state, turn.rules
    missing = [key for key, one in state.suspects.items() if one.what.startswith("MISSING") and one.witness < rules.witness_rounds]
    orders = bool(missing) or (not watch.recovering(state) and turn.now_us - state.orders_us >= rules.orders_interval_us)
    calendar, market = rules.book.calendar, watch.market(state.account)
    today = calendar.trading_date(turn.now_us, market)
    days: list[int] = []
    if state.profits.due and turn.now_us >= state.profits.not_before_us:
        # The day before too: what the broker books overnight is final only then.
        days += [state.profits.due, calendar.previous_trading_day(state.profits.due, market)]
    if missing:
        rows = state.book.rows if state.book else {}
        days += [today, *(rows[key].trading_date or today for key in missing if key in rows)]
    if not days:
        return orders, False, 0, 0
    return orders, True, max(min(days), max(days) - _PROFIT_DAYS_MAX), max(days)


def _ask(turn: Turn, what: str, *, reads: int = 1, begin: int = 0, end: int = 0) -> None:
    current = turn.current
    request = BrokerRequest(
        request_id=f"{current.prefix}{current.requests + 1}",
        account=turn.state.account,
        what=(what,),
        reads=reads,
        begin_date=begin,
        end_date=end,
        requested_by="reconciler",
        reason=", ".join(current.triggers),
        expires_ts=turn.now_us + turn.rules.answer_us,
        ts=turn.now_us,
    )
    turn.ask(request)
    turn.put(current=rounds.asked(current, request))


# --- the comparison ----------------------------------------------------------------------------------------------------------------------


def _read(turn: Turn) -> None:
    current = turn.current
    if not rounds.complete(current):
        if turn.now_us >= current.until_us:
            silent = sum(part not in current.answers for part in current.wanted if part[1] == "POSITIONS")
            _unusable(turn, rounds.unanswered(current), failed=silent)
        return
    reads = rounds.reads(current)
    bad = [one.outcome for one in reads if one.outcome != "OK"]
    comparison = compare(turn.state.account, reads, current.books, turn.rules.compare, gap=current.gap)
    if not comparison.usable:
        failed = sum(outcome not in _NOT_ASKED for outcome in bad)
        _unusable(turn, comparison.detail or comparison.reason, failed=failed, refused=bool(bad) and not failed)
        return
    turn.put(tries=0, failed_reads=0, book=current.books[comparison.marker_after])
    judging.judge(turn, comparison)
    beside_round.look(turn, comparison)
    if turn.current.corrections:
        turn.round(stage="CORRECT", until_us=turn.now_us + turn.rules.outcome_us)
    else:
        _finish(turn)


def _correct(turn: Turn) -> None:
    """Wait for outcomes; `reconcile` takes them in, and gives up those that do not come."""
    if not any(name in turn.state.sent for name in turn.current.corrections):
        _finish(turn)


# --- the end -----------------------------------------------------------------------------------------------------------------------------


def _finish(turn: Turn) -> None:
    """End a round whose comparison was usable."""
    current = turn.current
    if current.corrections:
        turn.want("CONFIRM")
        _end(turn, "SETTLING", f"{len(current.corrections)} corrections sent")
        return
    if judging.again(turn):
        turn.want("SETTLE")
        _end(turn, "SETTLING", "what differs is looked at again")
        return
    turn.put(clean_us=current.read_us)
    averages = ", ".join(f"{symbol} {book}" for symbol, book in sorted(judging.averages(turn)))
    # Who asked wants to know, and waits; once, so that a command is answered however the position moves.
    if averages and current.command_ids and "SETTLE" not in current.triggers:
        turn.want("SETTLE")
        _end(turn, "SETTLING", f"averages are looked at again: {averages}")
        return
    kinds = {one.kind for one in turn.open()}
    verdict: RoundVerdict = "EQUAL" if not kinds else "MOVING" if kinds == {"MOVING"} else "DIFFERENT"
    differing = f"open: {', '.join(sorted(kinds))}" if kinds else ""
    once = f"averages to be looked at again: {averages}" if averages else ""
    _end(turn, verdict, "; ".join(filter(None, (differing, once))))


def _unusable(turn: Turn, why: str, *, failed: int, refused: bool = False) -> None:
    """End a round that says nothing, and try again later."""
    state = turn.state
    tries = state.tries + 1
    turn.put(tries=tries, failed_reads=state.failed_reads + failed)
    if tries >= turn.rules.rounds and not refused:
        judging.unreadable(turn, why)
    pause_us = min(_RETRY_MAX_US, _RETRY_US << min(tries - 1, 10))
    again: tuple[RoundTrigger, ...] = turn.current.triggers
    turn.put(not_before_us=turn.now_us + pause_us)
    _end(turn, "REFUSED" if refused else "UNREADABLE", why, commands=tries >= turn.rules.rounds)
    turn.want(*again)


def _end(turn: Turn, verdict: RoundVerdict, detail: str, *, commands: bool = True) -> None:
    current = turn.current
    turn.report(_record(turn, current if commands else turn.round(command_ids=()), verdict, detail))
    over = commands and verdict != "SETTLING"
    turn.put(current=None, commands=tuple(one for one in turn.state.commands if not (over and one.command_id in current.command_ids)))


def _record(turn: Turn, ended: Round, verdict: RoundVerdict, detail: str) -> ReconciliationRound:
    comparison = turn.state.comparison
    mine = comparison if comparison is not None and comparison.marker_after.startswith(ended.prefix) else None
    findings = mine.findings if mine else ()
    differences = tuple(dict.fromkeys((*ended.differences, *(one.discrepancy_id for one in turn.open()))))
    return ReconciliationRound(
        round_id=ended.round_id,
        account=turn.state.account,
        triggers=ended.triggers,
        verdict=verdict,
        began_ts=ended.began_us,
        ended_ts=turn.now_us,
        reads=len(rounds.reads(ended)),
        keys_compared=len(findings),
        equal=sum(one.verdict == "EQUAL" for one in findings),
        moved=sum(one.verdict == "MOVED" for one in findings),
        discrepancies=differences,
        corrections=ended.corrections,
        broker_calls=rounds.calls(ended),
        command_ids=ended.command_ids,
        state=watch.standing(turn)[0],
        detail=cut(detail, DETAIL_CHARS_MAX),
        instance=turn.rules.instance,
        ts=turn.now_us,
    )


_STEPS: dict[Stage, Callable[[Turn], None]] = {
    "COVER": _cover,
    "CATCHUP": _catchup,
    "SETTLE": _settle,
    "PACE": _pace,
    "READ": _read,
    "CORRECT": _correct,
}
