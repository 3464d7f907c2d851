"""Last prices from exec.marks, for the valuations in snapshots: a side table that the book knows nothing of.

It has no offsets, no version and no part in a digest, and no input of the ledger waits for it: while it cannot be read, valuations rest on
the last prices known, whose time they carry, and a symbol without any has none.
"""

import threading
from collections.abc import Callable

from confluent_kafka import KafkaException

from execpos.codecs.avro import Decoder
from execpos.domain import ids
from execpos.domain.events import Mark
from execpos.errors import ExecposError, Park
from execpos.kafka.follow import Follower
from execpos.telemetry import metrics
from execpos.telemetry.log import Logger

# A snapshot is seldom; a mark that is a second older makes no difference to it.
_INTERVAL_S = 1.0

# After a failure the pauses double up to this one.
_PAUSE_MAX_S = 30.0

# More symbols than both markets list, warrants and options of every month included.
_SYMBOLS_MAX = 100_000

_log = Logger("ledger")


class Marks:
    """Follows exec.marks on a thread of its own. `of` is for one other thread; it never blocks.

    Args:
        follow: opens a follower of exec.marks; may raise while Kafka is away.
        decode: reader of its records.
    """

    def __init__(self, follow: Callable[[], Follower], decode: Decoder[Mark]) -> None:
        self._follow = follow
        self._decode = decode
        self._newest: dict[bytes, bytes] = {}
        # Read records, by the reading thread of `of`: most marks are overwritten before anybody asks.
        self._read: dict[bytes, tuple[bytes, tuple[int, int] | None]] = {}
        self._follower: Follower | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="marks", daemon=True)
        self._failures = metrics.counter("execpos_ledger_mark_failures_total")
        self._known = metrics.gauge("execpos_ledger_marks")

    def start(self) -> None:
        """Begin to follow, from the first record on. Once."""
        self._thread.start()

    def close(self) -> None:
        """Stop; waits for the end of what is being read. A second call does nothing."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._let_go()

    def of(self, env: str, market: str, symbol: str) -> tuple[int, int] | None:
        """Return the last price of a symbol (10⁻⁶) and the exchange's time of it, or None when there is none."""
        key = ids.join(env, market, symbol).encode()
        value = self._newest.get(key)
        if value is None:
            return None
        known = self._read.get(key)
        if known is None or known[0] is not value:
            known = self._read[key] = (value, self._priced(value))
        return known[1]

    def _priced(self, value: bytes) -> tuple[int, int] | None:
        try:
            mark = self._decode(value)
        except Park:
            return None
        return mark.price, mark.exchange_ts

    def refresh(self) -> None:
        """Take in what was committed since the last call. Blocks for as long as that takes; called by the thread.

        Raises:
            ExecposError: Kafka is not reachable, or there is no such topic.
        """
        if self._follower is None:
            self._follower = self._follow()
        newest = self._newest
        for message in self._follower.poll():
            key, value = message.key() or b"", message.value()
            if value is None:
                newest.pop(key, None)
            elif key in newest or len(newest) < _SYMBOLS_MAX:
                newest[key] = value
        self._known.set(len(newest))

    def _run(self) -> None:
        pause_s = _INTERVAL_S
        while not self._stop.is_set():
            try:
                self.refresh()
                pause_s = _INTERVAL_S
            except (ExecposError, KafkaException) as error:
                self._failures.inc()
                if pause_s == _INTERVAL_S:
                    _log.warning("marks_unavailable", reason=str(error).partition("\n")[0])
                self._let_go()
                pause_s = min(pause_s * 2, _PAUSE_MAX_S)
            self._stop.wait(pause_s)

    def _let_go(self) -> None:
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.close()
