"""How many accounting calls of one login may be asked for: its accounts share one budget, and a question that would wait is not asked yet.

Pure. The bridge keeps the limit itself; this only keeps questions from standing in its queue until they expire.
"""

import msgspec

from execpos.domain.events import BridgeHeartbeat, BrokerRequest

# Calls of the group `accounting` that one read makes; LOTS asks once more for each row, which nobody knows before, so a few are assumed.
_CALLS: dict[str, int] = {"POSITIONS": 1, "PROFIT_LOSS": 1, "LOTS": 10}

# How long a question is on its way before the bridge has called for it: until then the number that the bridge says does not have it yet.
_UNDER_WAY_US = 300_000


class Pace(msgspec.Struct, frozen=True):
    """What was asked of one login lately. Make one for each bridge with `limit` and `span_us`, and go on with what the methods return.

    Attributes:
        limit: calls that execpos may make within a span: `polling.accounting.calls` x `polling.budget_share`, rounded down.
        span_us: that span.
        asked: (moment in µs UTC, calls) of each request within the last span, oldest first.
        remaining: calls that the bridge's last heartbeat said were left; -1 before the first.
        told_us: when it said so, µs UTC by the clock of who heard it.
    """

    limit: int
    span_us: int
    asked: tuple[tuple[int, int], ...] = ()
    remaining: int = -1
    told_us: int = 0

    def free(self, now_us: int) -> int:
        """Return how many calls may be asked for now: what is left of the span, and no more than the bridge last said there were."""
        since_us = now_us - self.span_us
        free = self.limit - sum(calls for at_us, calls in self.asked if at_us > since_us)
        if self.remaining >= 0 and self.told_us > since_us:
            # Two accounts that are asked for one free call would both wait at the bridge, between their two reads.
            unknown_us = self.told_us - _UNDER_WAY_US
            free = min(free, self.remaining - sum(calls for at_us, calls in self.asked if at_us > unknown_us))
        return max(0, free)

    def after(self, requests: tuple[BrokerRequest, ...], now_us: int) -> "Pace":
        """Return the pace after these requests went out."""
        calls = sum(map(calls_of, requests))
        if not calls:
            return self
        kept = tuple(one for one in self.asked if one[0] > now_us - self.span_us)
        return msgspec.structs.replace(self, asked=(*kept, (now_us, calls)))

    def heard(self, heartbeat: BridgeHeartbeat, now_us: int) -> "Pace":
        """Return the pace after a heartbeat of any account of the login."""
        return msgspec.structs.replace(self, remaining=heartbeat.remaining_accounting, told_us=min(now_us, heartbeat.ts))


def calls_of(request: BrokerRequest) -> int:
    """Return how many accounting calls a request makes."""
    return request.reads * sum(_CALLS.get(what, 0) for what in request.what)


UNPACED = Pace(1_000_000, 1)
"""Asks whenever it likes: for one account alone, and for tests."""
