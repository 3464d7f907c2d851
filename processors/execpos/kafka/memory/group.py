"""A consumer group: members, generations, the range assignor, committed offsets."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError

from execpos.kafka.memory.failures import failure
from execpos.kafka.ports import TopicPartition


class MemoryGroupMetadata(NamedTuple):
    """Who a member is at one moment."""

    group_id: str
    generation: int
    member_id: int
    instance_id: str


class Member:
    """One member: `joined` when ready for the next generation; its session ends at `alive_until_s`, None while it beats."""

    __slots__ = ("alive_until_s", "assignment", "instance_id", "joined", "member_id", "topics")

    def __init__(self, member_id: int, instance_id: str, topics: Sequence[str]) -> None:
        self.member_id = member_id
        self.instance_id = instance_id
        self.topics = tuple(topics)
        self.joined = True
        self.alive_until_s: float | None = None
        self.assignment: list[TopicPartition] = []


def range_assignment(members: Sequence[Member], partition_counts: Mapping[str, int]) -> dict[int, list[TopicPartition]]:
    """Give each member one range of every topic; the first ones get one more when it does not divide."""
    ordered = sorted(members, key=lambda member: member.instance_id)
    given: dict[int, list[TopicPartition]] = {member.member_id: [] for member in ordered}
    for topic in sorted({topic for member in ordered for topic in member.topics}):
        takers = [member for member in ordered if topic in member.topics]
        each, more = divmod(partition_counts.get(topic, 0), len(takers))
        first = 0
        for number, member in enumerate(takers):
            count = each + (1 if number < more else 0)
            given[member.member_id].extend(TopicPartition(topic, partition) for partition in range(first, first + count))
            first += count
    return given


class Group:
    """The coordinator of one group, eager rebalance: everybody gives up everything, then everybody joins, then the generation rises."""

    def __init__(self, group_id: str, partition_counts: Callable[[], Mapping[str, int]], session_timeout_s: float) -> None:
        self.group_id = group_id
        self.generation = 0
        self.rebalancing = False
        self.committed: dict[TopicPartition, int] = {}
        self.session_timeout_s = session_timeout_s
        self.members: dict[int, Member] = {}
        self._partition_counts = partition_counts
        self._next_member_id = 1

    def join(self, instance_id: str, topics: Sequence[str]) -> Member:
        """Add a member. One of the same instance id is replaced (and fenced) without a rebalance, unless its topics differ."""
        member = Member(self._next_member_id, instance_id, topics)
        self._next_member_id += 1
        older = next((one for one in self.members.values() if one.instance_id == instance_id), None)
        if older is not None:
            del self.members[older.member_id]
            self.members[member.member_id] = member
            if older.topics == member.topics and not self.rebalancing:
                member.assignment = older.assignment
                return member
        self.members[member.member_id] = member
        self._rebalance(joined=member)
        return member

    def rejoin(self, member: Member) -> None:
        """Say that `member` has given up its partitions; the last one to say so starts the generation."""
        member.joined = True
        self._complete()

    def leave(self, member: Member) -> None:
        """Remove `member`; the others share what it had."""
        if self.members.pop(member.member_id, None) is not None:
            self._rebalance(joined=None)

    def expire(self, now_s: float) -> None:
        """Remove members whose session is over."""
        gone = [member for member in self.members.values() if member.alive_until_s is not None and member.alive_until_s <= now_s]
        for member in gone:
            del self.members[member.member_id]
        if gone:
            self._rebalance(joined=None)

    def _rebalance(self, joined: Member | None) -> None:
        if not self.rebalancing:
            self.rebalancing = True
            for member in self.members.values():
                member.joined = member is joined
        self._complete()

    def _complete(self) -> None:
        if self.rebalancing and all(member.joined for member in self.members.values()):
            self.rebalancing = False
            self.generation += 1
            given = range_assignment(list(self.members.values()), self._partition_counts())
            for member in self.members.values():
                member.assignment = given[member.member_id]

    def check(self, metadata: MemoryGroupMetadata) -> None:
        """Refuse offsets of a member that is none, or of an older generation."""
        member = self.members.get(metadata.member_id)
        if member is None:
            replaced = any(one.instance_id == metadata.instance_id for one in self.members.values())
            code = KafkaError.FENCED_INSTANCE_ID if replaced else KafkaError.UNKNOWN_MEMBER_ID
            raise failure(code, f"group {self.group_id} does not know this member", abort=True)
        if metadata.generation != self.generation:
            text = f"generation {metadata.generation}, the group is at {self.generation}"
            raise failure(KafkaError.ILLEGAL_GENERATION, text, abort=True)
