"""What the ledger keeps of one partition beside the domain's state."""

import msgspec

from execpos.domain.book import INPUTS
from execpos.domain.events import BridgeProgress, InputPosition, Progress
from execpos.domain.pipeline import Pipeline
from execpos.domain.rules import Rules
from execpos.ledger.outputs import PartitionSink, Writer


class Topic(msgspec.Struct, frozen=True):
    """An input topic: its full name, and the id that tells it from one of the same name created later."""

    name: str
    topic_id: str


class PartitionState:
    """One partition: its accounts, how far each input was applied, and what was seen of each bridge. One thread."""

    def __init__(self, partition: int, rules: Rules, writer: Writer, topics: tuple[Topic, ...], epoch: int) -> None:
        self.partition = partition
        self.pipeline = Pipeline(rules, PartitionSink(partition, writer))
        self.topics = topics
        self.epoch = epoch
        self.offsets: dict[int, int] = dict.fromkeys(range(len(INPUTS)), -1)
        self.bridges: dict[tuple[str, str], BridgeProgress] = {}

    def advance(self, which: int, offset: int) -> None:
        """Note that input `which` was applied up to `offset`; taken back by a rollback."""
        self.pipeline.undo.put(self.offsets, which, offset)

    def see_bridge(self, account: str, bridge_id: str, epoch: int, seq: int, ingest_ts: int) -> None:
        """Note the newest record of a bridge; taken back by a rollback."""
        self.pipeline.undo.put(self.bridges, (account, bridge_id), BridgeProgress(account, bridge_id, epoch, seq, ingest_ts))

    def progress(self, instance: str, now: int) -> Progress:
        """Return how far this partition is."""
        inputs = (InputPosition(topic.name, topic.topic_id, self.offsets[which]) for which, topic in enumerate(self.topics))
        return Progress(self.partition, tuple(inputs), tuple(self.bridges.values()), self.epoch, instance, now)
