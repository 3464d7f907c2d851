"""Quotes to exec.marks: of symbols that are held, the newest price of each, so and so often."""

import time
from collections.abc import Callable, Collection
from typing import Literal

from execpos.bridge.latest import Latest
from execpos.brokers.protocol import Quote
from execpos.codecs.avro import Encoder
from execpos.domain.events import Mark
from execpos.domain.ids import join
from execpos.domain.limits import NAME_CHARS_MAX, TS_US_MAX
from execpos.domain.money import micros
from execpos.errors import Park

MARKS_TOPIC = "exec.marks.v1"

Symbol = tuple[Literal["S", "F"], str]
"""Market and full code."""


class Quotes:
    """Keeps the newest quote of each symbol. `take` on any thread, often; all else on one thread.

    Args:
        env: part of the marks' keys.
        bridge_id: who writes them.
        wall_us: UTC in µs.
    """

    def __init__(self, env: str, bridge_id: str, wall_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._env = env
        self._bridge_id = bridge_id
        self._wall_us = wall_us
        self._newest: dict[Symbol, tuple[Quote, int]] = {}
        self._published: dict[Symbol, int] = {}
        self.taken = 0
        self.refused = 0
        """Quotes that were no price."""

    def take(self, quote: Quote) -> None:
        """Take a quote in; returns at once and never raises. Of several between two marks the last one stays."""
        self.taken += 1
        self._newest[quote.market, quote.symbol] = (quote, self._wall_us())

    def drain(self, held: Collection[Symbol]) -> list[Mark]:
        """Return a mark of each symbol held that was quoted since the last call and is newer than its last mark."""
        marks = []
        for symbol in list(self._newest):
            quote, ingest_ts = self._newest.pop(symbol)
            if symbol not in held or len(quote.symbol) > NAME_CHARS_MAX:
                continue
            try:
                price = micros(quote.price, "price")
            except Park:
                self.refused += 1
                continue
            if not self._published.get(symbol, 0) < quote.exchange_ts <= TS_US_MAX:
                continue
            self._published[symbol] = quote.exchange_ts
            marks.append(Mark(self._env, quote.market, quote.symbol, price, quote.exchange_ts, ingest_ts, self._bridge_id))
        return marks


class MarkWriter:
    """Publishes marks. One thread.

    Args:
        quotes: where they come from.
        latest: where they go; owned from now on.
        encode: of Mark.
    """

    def __init__(self, quotes: Quotes, latest: Latest, encode: Encoder[Mark]) -> None:
        self._quotes = quotes
        self._latest = latest
        self._encode = encode

    def write(self, held: Collection[Symbol]) -> int:
        """Publish what has come since the last call; return how many marks that are. Does not block."""
        self._latest.poll()
        return sum(
            self._latest.offer(join(mark.env, mark.market, mark.symbol).encode(), self._encode(mark)) for mark in self._quotes.drain(held)
        )

    def close(self) -> None:
        """Let go without waiting. A second call does nothing."""
        self._latest.close()
