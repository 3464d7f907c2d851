"""The writer of the ledger: what it holds goes out in order, once, and never past a transaction."""

import pytest

from execpos.domain.events import DeadLetter, Progress
from execpos.ledger.outputs import RECORDS, Names, Writer

_NAMES = Names.of("")


def _writer() -> Writer:
    return Writer(_NAMES, {record: number for number, record in enumerate(RECORDS, 1)})


def _progress(partition: int) -> Progress:
    return Progress(partition, (), (), (), 1, "i", 0)


class _Out:
    def __init__(self) -> None:
        self.sent: list[tuple[str, int, bytes]] = []

    def __call__(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        del value
        self.sent.append((topic, partition, key))


def test_what_is_written_goes_out_in_its_order_at_send_and_at_close() -> None:
    writer, out = _writer(), _Out()
    writer.open(out)
    for partition in (3, 1):
        writer.progress(_progress(partition))
    assert out.sent == []

    writer.send()
    assert out.sent == [(_NAMES.progress, 3, b"3"), (_NAMES.progress, 1, b"1")]
    writer.progress(_progress(2))
    writer.close()

    assert out.sent[2:] == [(_NAMES.progress, 2, b"2")]


def test_what_was_dropped_does_not_go_out_with_the_next_transaction() -> None:
    writer, first, second = _writer(), _Out(), _Out()
    writer.open(first)
    writer.progress(_progress(1))
    writer.drop()
    writer.open(second)
    writer.progress(_progress(2))
    writer.close()

    assert first.sent == []
    assert second.sent == [(_NAMES.progress, 2, b"2")]


def test_an_error_of_the_client_leaves_nothing_for_the_next_transaction() -> None:
    def full(topic: str, partition: int, key: bytes, value: bytes) -> None:
        raise BufferError(topic, partition, key, value)

    writer, out = _writer(), _Out()
    writer.open(full)
    writer.progress(_progress(1))
    with pytest.raises(BufferError):
        writer.close()
    writer.open(out)
    writer.close()

    assert out.sent == []


@pytest.mark.parametrize("ended", ["close", "drop"])
def test_a_record_outside_a_transaction_is_refused(ended: str) -> None:
    writer = _writer()
    writer.open(_Out())
    getattr(writer, ended)()

    with pytest.raises(AssertionError, match="outside a transaction"):
        writer.dead_letter(DeadLetter("t", 0, 0, "", "parked", "r", "", "a", "", b"", b"", 0, 1, 0))
