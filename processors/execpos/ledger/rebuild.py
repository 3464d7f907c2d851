"""REBUILD requests of one ledger: folded beside the loop, answered in one transaction.

A request is taken at its record and answered later: a thread folds the account's history up to what is committed, while the loop goes on.
When hardly anything is left, the loop folds the rest at the beginning of a transaction, where memory and topics say the same, and puts
right what differs. A ledger that ends in between forgets the request; whoever asked sees no answer and asks again, which is no harm.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import msgspec
from confluent_kafka import KafkaException

from execpos.domain.account import Account
from execpos.domain.book import Source
from execpos.domain.correction_rules import Refused, check_name
from execpos.domain.events import Correction
from execpos.domain.limits import DETAIL_CHARS_MAX, cut
from execpos.errors import ExecposError, Park
from execpos.ledger.base import Ends
from execpos.ledger.shadow import Shadow
from execpos.ledger.state import PartitionState
from execpos.telemetry.log import Logger

_log = Logger("ledger")

# Offsets that the loop may fold within a transaction: below 0.1 s.
_LAST_OFFSETS = 2_000

# Folds after which what came meanwhile is small, or the ledger is so busy that the loop has to take what is left.
_FOLDS_MAX = 5

# Rest after each turn of the fold, a third of what it worked: the loop shares the interpreter with it.
_REST_S = 0.002

# How long a stop waits for the fold to notice.
_STOP_S = 5.0

MakeShadow = Callable[[int, str], Shadow]
"""(partition, account) → a shadow of it; called in the fold's thread, may block."""


class _Stopped(Exception):
    """The ledger stops, or no longer has the partition."""


class _Asked:
    """One request and how far it is."""

    def __init__(self, partition_number: int, correction: Correction, source: Source) -> None:
        self.partition = partition_number
        self.correction = correction
        self.source = source
        self.shadow: Shadow | None = None
        self.failure = ""
        self.folded = threading.Event()
        self.stopped = threading.Event()

    def rest(self, done: int, total: int) -> None:
        """Give the loop its turn."""
        del done, total
        if self.stopped.is_set():
            raise _Stopped
        time.sleep(_REST_S)


class Rebuilds:
    """Takes requests and answers them one after the other. Everything but the fold is the loop's thread.

    Args:
        make: makes shadows.
    """

    def __init__(self, make: MakeShadow) -> None:
        self._make = make
        self._asked: dict[str, _Asked] = {}
        self._ends: dict[int, Ends] = {}
        self._working: _Asked | None = None
        self._thread: threading.Thread | None = None
        self._answered = False

    def ask(self, state: PartitionState, correction: Correction, source: Source) -> bool:
        """Take a request, within the transaction of its record; False for one that the pipeline has to answer at once."""
        try:
            check_name(correction)
        except Park:
            return False
        if correction.correction_id in state.pipeline.account(correction.account).corrections:
            return False
        name = f"{correction.account}|{correction.correction_id}"
        if name not in self._asked:
            state.pipeline.undo.put(self._asked, name, _Asked(state.partition, correction, source))
        return True

    @property
    def ready(self) -> bool:
        """A request waits for its answer. Cheap."""
        return self._working is not None and self._working.folded.is_set()

    def answer(self, states: Mapping[int, PartitionState]) -> PartitionState | None:
        """Answer the request that is folded, in the open transaction, before anything else is applied in it; return what it changed."""
        asked = self._working
        if asked is None or not asked.folded.is_set():
            return None
        state = states[asked.partition]
        state.begin()
        before = state.epoch
        state.pipeline.undo.later(partial(setattr, state, "epoch", before))
        source = msgspec.structs.replace(asked.source, epoch=before + 1, now=time.time_ns() // 1000)
        outcome = state.pipeline.apply_correction(asked.correction, source, self._folded(asked, state))
        if not outcome.reason:
            # A new incarnation of the state: readers take its versions for newer, and rounds of before compare nothing of after.
            state.epoch = before + 1
        state.tell = True
        self._answered = True
        _log.info("rebuild_answered", account=asked.correction.account, reason=outcome.reason, detail=outcome.detail)
        return state

    @staticmethod
    def _folded(asked: _Asked, state: PartitionState) -> Account | Refused:
        if asked.failure or asked.shadow is None:
            return Refused("rebuild_failed", asked.failure)
        try:
            asked.shadow.fold(_ends_of(state))
        except (ExecposError, KafkaException) as error:
            return Refused("rebuild_failed", _why(error))
        return asked.shadow.account(asked.correction.account)

    def committed(self, states: Iterable[PartitionState]) -> None:
        """Make what the transaction asked and answered count; start with the next request."""
        if not self._asked:
            return
        for state in states:
            self._ends[state.partition] = _ends_of(state)
        if self._answered and self._working is not None:
            self._forget(self._working)
        self._answered = False
        if self._working is None and self._asked:
            asked = self._working = next(iter(self._asked.values()))
            _log.info("rebuild_started", account=asked.correction.account, by=asked.correction.requested_by)
            self._thread = threading.Thread(target=self._fold, args=(asked,), name="rebuild", daemon=True)
            self._thread.start()

    def rolled_back(self) -> None:
        """Forget what the transaction answered; it is answered again."""
        self._answered = False

    def revoked(self, partitions: Iterable[int]) -> None:
        """Forget the requests of partitions that are gone: whoever has them now was not asked."""
        gone = set(partitions)
        for asked in [asked for asked in self._asked.values() if asked.partition in gone]:
            self._forget(asked)

    def close(self) -> None:
        """Stop. A second call does nothing."""
        for asked in list(self._asked.values()):
            self._forget(asked)

    def _forget(self, asked: _Asked) -> None:
        asked.stopped.set()
        self._asked.pop(f"{asked.correction.account}|{asked.correction.correction_id}", None)
        if asked is self._working:
            if self._thread is not None:
                self._thread.join(_STOP_S)
            self._working = self._thread = None
        if asked.shadow is not None and asked.folded.is_set():
            asked.shadow.close()

    # --- the fold's thread -----------------------------------------------------------------------------------------------------------

    def _fold(self, asked: _Asked) -> None:
        try:
            asked.shadow = shadow = self._make(asked.partition, asked.correction.account)
            for _ in range(_FOLDS_MAX):
                shadow.fold(self._ends[asked.partition], asked.rest)
                if shadow.left(self._ends[asked.partition]) <= _LAST_OFFSETS:
                    break
        except _Stopped:
            pass
        except (ExecposError, KafkaException) as error:
            asked.failure = _why(error)
        except Exception as error:  # noqa: BLE001 (whatever it is, whoever asked is told, and the ledger goes on)
            asked.failure = _why(error)
        finally:
            asked.folded.set()
            if asked.stopped.is_set() and asked.shadow is not None:
                asked.shadow.close()


def _ends_of(state: PartitionState) -> Ends:
    return (state.offsets[0] + 1, state.offsets[1] + 1, state.offsets[2] + 1)


def _why(error: Exception) -> str:
    return cut(f"{type(error).__name__}: {error}", DETAIL_CHARS_MAX)
