"""Brings the journal to Kafka: in order, without a hole, again and again from the cursor until everything is acknowledged.

    live     records go to the producer straight after the journal has them
    behind   they are read back from the journal (after a start, an error, a time without Kafka, or a full window)

There is no third way: a record goes live only if everything before it was handed to the same producer.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException

from execpos.bridge.journal.files import Position, replace
from execpos.bridge.journal.journal import Journal
from execpos.bridge.journal.reader import Reader
from execpos.bridge.journal.segment import Entry
from execpos.codecs import framing
from execpos.errors import ExecposError
from execpos.kafka.errors import described, kafka_error
from execpos.kafka.ports import IdempotentProducer, Message

# Records and bytes that are handed over and not acknowledged. More would not be quicker, and every one is memory twice; at 10,000 a second
# this is two seconds of a broker that does not answer before the journal becomes the queue.
WINDOW_RECORDS: Final = 20_000
WINDOW_BYTES: Final = 32 * 1024 * 1024

# What is read back at once: a few milliseconds of work, so that reports which come meanwhile do not wait long for the journal.
_CHUNK_RECORDS: Final = 500
_CHUNK_BYTES: Final = 1024 * 1024

# Between two attempts to connect; grows by half each time, so that a start which waits a second for something is not kept for long.
_BACKOFF_FIRST_S: Final = 0.1
_BACKOFF_GROWTH: Final = 1.5
_BACKOFF_MAX_S: Final = 3.0

# How long one wait for acknowledgements lasts at the end; between two of them an error is noticed.
_FINISH_WAIT_S: Final = 0.05

# A broker that restarts is back sooner; after this its silence is an error to be shown.
_SILENT_S: Final = 3.0

PARKED_FOLDER: Final = "parked"
"""Below the journal's folder: records that Kafka will never take, one file each, the Avro body."""

_REFUSED: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD})


class Target(NamedTuple):
    """Where records go: a fresh producer, the topic's full name, and the id of today's RawExecEvent in the registry."""

    producer: IdempotentProducer
    topic: str
    schema_id: int


class _Flight:
    """One record on its way."""

    __slots__ = ("entry", "landed", "size")

    def __init__(self, entry: Entry, size: int) -> None:
        self.entry = entry
        self.size = size
        self.landed = False


class _Window:
    """What one producer was given, in order, and the first thing that went wrong with it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.header = framing.header(target.schema_id)
        self.order: deque[_Flight] = deque()
        self.size = 0
        self.heard_s = time.monotonic()
        """When the last acknowledgement came, or nothing was on its way."""
        self.error: KafkaError | None = None
        self.failed: _Flight | None = None

    def delivered(self, flight: _Flight, error: KafkaError | None, message: Message) -> None:
        """Take one delivery report; the producer calls it."""
        del message
        if error is None:
            flight.landed = True
        elif self.error is None:
            self.error, self.failed = error, flight


class Publisher:
    """See the module. One thread; `error` and the counts may be read by any. Nothing waits for Kafka but `finish`.

    Args:
        journal: what to publish; it is told what Kafka has.
        connect: makes a target. It may block and raise: it is called on a thread of its own, after every failure once more.
        backoff_s: wait after the first failure.
    """

    def __init__(self, journal: Journal, connect: Callable[[], Target], *, backoff_s: float = _BACKOFF_FIRST_S) -> None:
        self._journal = journal
        self._connect = connect
        self._backoff_s = self._first_backoff_s = backoff_s
        self._handed = journal.acknowledged
        self._reader: Reader | None = None
        self._chunk: deque[Entry] = deque()
        """Read back, and not handed over yet."""
        self._window: _Window | None = None
        self._connecting: threading.Thread | None = None
        self._made: deque[Target] = deque()
        self._closed = threading.Event()
        self._alone_until = Position(0, 0)
        """Up to here one record at a time is on its way, to find the one that Kafka refuses."""
        self._parked = journal.folder / PARKED_FOLDER
        self.parked = len(list(self._parked.glob("*"))) if self._parked.is_dir() else 0
        """Records that Kafka refused for good, of earlier runs too."""
        self.error = "not connected yet"
        """Why Kafka does not take records; empty while it does."""
        self.published = 0
        """Records handed to a producer, repeats included."""
        self.acknowledged = 0
        """Records that Kafka has acknowledged, repeats included."""

    @property
    def pending(self) -> bool:
        """Whether something in the journal is not acknowledged."""
        return self._journal.acknowledged < self._journal.last

    @property
    def behind(self) -> bool:
        """Whether `work` would read from the journal now."""
        window = self._window
        return window is not None and self._handed < self._journal.last and self._room(window)

    def offer(self, entries: Sequence[Entry], before: Position) -> None:
        """Publish what the journal has just taken, at once if nothing stands before it. Does not block.

        Args:
            entries: in order.
            before: where the journal ended without them.
        """
        window = self._window
        if window is None or window.error is not None or self._handed < before:
            return
        for entry in entries:
            if not self._hand(window, entry):
                # The rest is read back from the journal.
                return

    def work(self) -> None:
        """Take acknowledgements, read back what is not handed over, connect where needed. Does not wait for Kafka."""
        window = self._window or self._connected()
        if window is None:
            return
        self._poll(window)
        if window.error is not None:
            self._refused(window, window.error)
        elif self._handed < self._journal.last and self._room(window):
            self._catch_up(window)

    def finish(self, deadline_s: float) -> bool:
        """Wait until Kafka has everything, or a moment (monotonic) has come; return whether it has. What is not stays in the journal."""
        while self.pending and (left_s := deadline_s - time.monotonic()) > 0:
            self.work()
            if self._window is not None and self._window.order:
                self._window.target.producer.poll(min(left_s, _FINISH_WAIT_S))
            elif self._window is None:
                time.sleep(min(left_s, _FINISH_WAIT_S))
        return not self.pending

    def close(self) -> None:
        """Let go without waiting for Kafka. A second call does nothing."""
        self._closed.set()
        window, self._window = self._window, None
        if window is not None:
            window.target.producer.close()
        # One that is being made closes itself; see `_run_connect`.
        while self._made:
            self._made.popleft().producer.close()

    # --- handing over ------------------------------------------------------------------------------------------------------------------

    def _room(self, window: _Window) -> bool:
        if not window.order:
            return True
        return self._handed >= self._alone_until and len(window.order) < WINDOW_RECORDS and window.size < WINDOW_BYTES

    def _hand(self, window: _Window, entry: Entry) -> bool:
        """Give one record to the producer; return False when it did not take it, and nothing behind it may go."""
        if not self._room(window):
            return False
        flight = _Flight(entry, len(entry.body))
        target = window.target
        try:
            target.producer.produce(target.topic, -1, entry.account, window.header + entry.body, partial(window.delivered, flight))
        except BufferError:
            return False
        except KafkaException as error:
            window.error, window.failed = kafka_error(error), flight
            return False
        window.order.append(flight)
        window.size += flight.size
        self.published += 1
        self._handed = Position(entry.epoch, entry.seq)
        return True

    def _catch_up(self, window: _Window) -> None:
        if self._reader is None:
            self._reader = self._journal.reader(self._handed)
        if not self._chunk:
            self._chunk.extend(self._reader.read(_CHUNK_RECORDS, _CHUNK_BYTES))
        if not self._chunk:
            # The end: what the journal counts beyond it is lost, and the reader has said so.
            self._handed = self._journal.last
            self._advance(window)
        while self._chunk and self._hand(window, self._chunk[0]):
            self._chunk.popleft()
        if self._handed >= self._journal.last:
            self._reader = None

    # --- what came back ----------------------------------------------------------------------------------------------------------------

    def _poll(self, window: _Window) -> None:
        try:
            window.target.producer.poll(0)
        except KafkaException as error:
            window.error = window.error or kafka_error(error)
        self._advance(window)

    def _advance(self, window: _Window) -> None:
        """Move the cursor over everything that is acknowledged without a hole."""
        order = window.order
        landed = None
        while order and order[0].landed:
            landed = order.popleft()
            window.size -= landed.size
            self.acknowledged += 1
        if not order and window.error is None:
            self._journal.acknowledge(self._handed)
        elif landed is not None:
            self._journal.acknowledge(Position(landed.entry.epoch, landed.entry.seq))
        if landed is not None or not order:
            window.heard_s = time.monotonic()
        if landed is not None:
            self.error, self._backoff_s = "", self._first_backoff_s
        elif order and time.monotonic() - window.heard_s > _SILENT_S:
            self.error = f"Kafka has not answered for {_SILENT_S:g} s and more"

    def _refused(self, window: _Window, error: KafkaError) -> None:
        """Rewind; a record that Kafka refuses by itself, alone on its way, is set aside."""
        reason = described(error)
        if error.code() in _REFUSED and window.failed is not None:
            entry = window.failed.entry
            alone = len(window.order) <= 1 and (not window.order or window.order[0] is window.failed)
            if alone:
                reason = self._park(entry, reason)
            else:
                last = window.order[-1].entry
                self._alone_until = max(Position(last.epoch, last.seq), Position(entry.epoch, entry.seq))
        self._give_up(window, reason)

    def _park(self, entry: Entry, reason: str) -> str:
        """Keep a record that Kafka will never take as a file, and go on behind it; return what is to be said."""
        path = self._parked / f"{entry.epoch}-{entry.seq}.avro"
        try:
            self._parked.mkdir(mode=0o700, exist_ok=True)
            replace(path, entry.body)
        except OSError as failed:
            return f"{reason}; and {path.name} cannot be written: {failed.strerror}"
        self.parked += 1
        self._journal.acknowledge(Position(entry.epoch, entry.seq))
        return f"{reason}: record {entry.seq} of epoch {entry.epoch} is parked as {PARKED_FOLDER}/{path.name}"

    # --- connecting --------------------------------------------------------------------------------------------------------------------

    def _give_up(self, window: _Window, reason: str) -> None:
        """Throw the producer away; the next one begins at the cursor."""
        self.error = reason
        self._window = self._reader = None
        self._chunk.clear()
        self._handed = self._journal.acknowledged
        self._start_connecting(window.target.producer)

    def _connected(self) -> _Window | None:
        """Return a window on a fresh target, when there is one."""
        if self._connecting is None:
            self._start_connecting(None)
        if not self._made:
            return None
        self._connecting = None
        self._window = _Window(self._made.popleft())
        if not self.pending:
            self.error = ""
        return self._window

    def _start_connecting(self, old: IdempotentProducer | None) -> None:
        self._connecting = threading.Thread(target=self._run_connect, args=(old,), name="connect", daemon=True)
        self._connecting.start()

    def _run_connect(self, old: IdempotentProducer | None) -> None:
        if old is not None:
            # Here and not on the drain thread, because letting go of a producer may take a while.
            old.purge()
            old.close()
            self._wait()
        while not self._closed.is_set():
            try:
                made = self._connect()
            except (ExecposError, KafkaException, OSError) as error:
                self.error = described(error) if isinstance(error, KafkaException) else str(error).partition("\n")[0]
            except Exception as error:  # noqa: BLE001 (whatever it is, the journal grows and it is said)
                self.error = f"{type(error).__name__}: {error}"
            else:
                self._made.append(made)
                if self._closed.is_set():
                    made.producer.close()
                return
            self._wait()

    def _wait(self) -> None:
        self._closed.wait(self._backoff_s)
        self._backoff_s = min(_BACKOFF_GROWTH * self._backoff_s, _BACKOFF_MAX_S)
