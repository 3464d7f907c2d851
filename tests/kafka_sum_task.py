"""A small task for the loop's tests: sums numbers by key, keeps the sums in a compacted topic and one line for each record applied."""

from collections.abc import Sequence

import orjson

from execpos.kafka.ports import Message, Output, RestoreContext

Row = tuple[int, int]
"""Sum and count of one key."""


class SumTask:
    """State is by partition, then key; a line names the record it stands for, so that a second application would show."""

    def __init__(self, inputs: Sequence[str], sums: str, lines: str, *, tick_every_s: float | None = None) -> None:
        self.inputs = tuple(inputs)
        self.sums = sums
        self.lines = lines
        self.state: dict[int, dict[bytes, Row]] = {}
        self.restored: list[int] = []
        self.revoked: list[int] = []
        self.rollbacks = 0
        self.ticks = 0
        self._tick_every_s = tick_every_s
        self._ticked_s = 0.0
        self._now_s = 0.0
        self._undo: list[tuple[int, bytes, Row | None]] = []

    @property
    def input_topics(self) -> tuple[str, ...]:
        return self.inputs

    def restore(self, partitions: Sequence[int], context: RestoreContext) -> None:
        for partition in partitions:
            assert partition not in self.state
            self.state[partition] = {}
        for message in context.read_all(self.sums, partitions):
            found = orjson.loads(message.value() or b"")
            topic, _, offset = found["source"]
            assert offset < context.committed(topic, message.partition()), "state is ahead of the committed offset"
            self.state[message.partition()][message.key() or b""] = (found["sum"], found["count"])
        self.restored.extend(partitions)

    def revoke(self, partitions: Sequence[int]) -> None:
        self.revoked.extend(partitions)
        for partition in partitions:
            self.state.pop(partition, None)

    def process(self, batch: Sequence[Message], out: Output) -> None:
        for message in batch:
            partition, key = message.partition(), message.key() or b""
            rows = self.state[partition]
            before = rows.get(key)
            self._undo.append((partition, key, before))
            total, count = before or (0, 0)
            rows[key] = row = (total + int(message.value() or b"0"), count + 1)
            source = [message.topic(), partition, message.offset()]
            out(self.sums, partition, key, orjson.dumps({"sum": row[0], "count": row[1], "source": source}))
            out(self.lines, partition, key, orjson.dumps(source))

    def due(self, now_monotonic_s: float) -> bool:
        self._now_s = now_monotonic_s
        return self._tick_every_s is not None and now_monotonic_s - self._ticked_s >= self._tick_every_s

    def tick(self, out: Output) -> None:
        self.ticks += 1
        for partition in self.state:
            out(self.lines, partition, b"tick", b"")

    def committed(self) -> None:
        self._undo.clear()
        self._ticked_s = self._now_s

    def rolled_back(self) -> None:
        self.rollbacks += 1
        for partition, key, before in reversed(self._undo):
            if before is None:
                self.state[partition].pop(key)
            else:
                self.state[partition][key] = before
        self._undo.clear()
