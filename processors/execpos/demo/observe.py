"""Watches positions as a strategy would: committed records only, as soon as they are there."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from execpos.codecs.avro import Decoder
from execpos.domain.events import PositionState
from execpos.kafka.ports import Cluster, Span, TopicPartition

# A live reading has no end; no offset reaches this one.
_NO_END = 1 << 62
_FOREVER_S = 1e9
_METADATA_S = 30.0


class _Stopped(Exception):
    """The observer was told to stop."""


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed; 0 without any."""
    if not sorted_values:
        return 0.0
    at = -(-len(sorted_values) * share // 1)
    return sorted_values[max(0, int(at) - 1)]


class Observer:
    """Reads exec.positions on a thread of its own and notes, for each record, the time from the bridge's handler to here.

    `states` and `latencies_ms` may be read at any moment; they grow until `stop`. The clock is the wall clock of this machine, which the
    bridge on the same machine stamps with, too.

    Args:
        cluster: where the topic is.
        topic: full name of exec.positions.
        decode: reader of its records.
        clock_us: UTC in µs.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        decode: Decoder[PositionState],
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.states: dict[bytes, PositionState] = {}
        self.latencies_ms: list[float] = []
        self._decode = decode
        self._clock_us = clock_us
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._reader = cluster.reader()
        tps = [TopicPartition(topic, partition) for partition in range(cluster.partition_count(topic, _METADATA_S))]
        ends = cluster.high_watermarks(tps, _METADATA_S)
        self._spans = [Span(tp, ends[tp], _NO_END) for tp in tps]
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def start(self) -> None:
        """Begin with what is committed from now on. Once."""
        self._thread.start()

    def stop(self) -> None:
        """End the reading and wait for it; raises what ended it before."""
        self._stop.set()
        self._thread.join()
        self._reader.close()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        def idle() -> None:
            if self._stop.is_set():
                raise _Stopped

        try:
            for message in self._reader.read(self._spans, _FOREVER_S, idle):
                state = self._decode(message.value() or b"")
                if self.noted(state):
                    self.latencies_ms.append((self._clock_us() - state.last_ingest_ts) / 1000)
                self.states[message.key() or b""] = state
        except _Stopped:
            return
        except BaseException as error:  # noqa: BLE001 (raised again in `stop`, on the owner's thread)
            self._error = error

    def noted(self, state: PositionState) -> bool:
        """Return whether the time of this record is noted; every one is."""
        del state
        return True

    def forget(self) -> None:
        """Drop what was noted so far: a warm-up is over."""
        self.latencies_ms.clear()

    def latency(self) -> dict[str, Any]:
        """Return p50, p99, max in ms and n of what was noted so far."""
        values = sorted(self.latencies_ms.copy())
        return {
            "p50": round(percentile(values, 0.5), 3),
            "p99": round(percentile(values, 0.99), 3),
            "max": round(values[-1], 3) if values else 0.0,
            "n": len(values),
        }
