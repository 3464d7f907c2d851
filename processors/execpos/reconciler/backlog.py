"""What a batch says twice: a start after an hour finds an hour of beats, each of which was true only until the next one. Pure."""

from collections.abc import Collection, Sequence

from execpos.kafka.ports import Message


def overtaken(batch: Sequence[Message], topics: Collection[str]) -> frozenset[tuple[str, int, int]]:
    """Return topic, partition and offset of the records in these topics that a newer one of the same key follows in the batch."""
    newest: dict[tuple[str, int, bytes], int] = {}
    found = []
    for message in batch:
        topic = message.topic()
        if topic not in topics or message.value() is None:
            continue
        place = (topic, message.partition(), message.key() or b"")
        if place in newest:
            found.append((topic, message.partition(), newest[place]))
        newest[place] = message.offset()
    return frozenset(found)
