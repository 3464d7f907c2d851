"""The journal: what `append` returned for survives whatever happens to the file's end, and damage costs what it struck."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from execpos.bridge.journal import journal as module
from execpos.bridge.journal import segment as segments
from execpos.bridge.journal import writer as writers
from execpos.bridge.journal.files import NOWHERE, Position, State, read_cursor
from execpos.bridge.journal.frames import BODY_BYTES_MAX, HEAD, MAGIC, frame, scan
from execpos.bridge.journal.inspection import inspect, replay
from execpos.bridge.journal.journal import Journal
from execpos.bridge.journal.segment import Entry
from execpos.bridge.journal.writer import JournalPolicy
from execpos.codecs import avro, framing
from execpos.domain.events import RawExecEvent
from execpos.errors import ConfigError, ContractError, DependencyError, Fenced, UsageError

ACCOUNT = "simulation|S|9A95|1"
SCHEMA_ID = 7


def records(journal: Journal, count: int, payload: bytes = b'{"a":1}') -> list[RawExecEvent]:
    first = journal.next_seq
    return [record(journal.epoch, seq, payload) for seq in range(first, first + count)]


def record(epoch: int, seq: int, payload: bytes = b'{"a":1}') -> RawExecEvent:
    return RawExecEvent(
        env="simulation",
        account=ACCOUNT,
        kind="SDEAL",
        payload=payload,
        broker_event_id=f"e-{seq}",
        bridge_id="b",
        bridge_epoch=epoch,
        bridge_seq=seq,
        ingest_ts=1_000_000 + seq,
        ingest_monotonic_ns=seq,
        marker_id="",
        sdk_version="1.7.9",
    )


def opened(folder: Path, **policy: Any) -> Journal:
    return Journal.open(folder, env="simulation", bridge_id="b", policy=JournalPolicy(**policy))


def everything(journal: Journal, after: Position = NOWHERE) -> list[Entry]:
    reader = journal.reader(after)
    made: list[Entry] = []
    while chunk := reader.read(3, 1_000_000):
        made += chunk
    return made


def decoded(entry: Entry) -> RawExecEvent:
    decode = avro.Decoder(RawExecEvent, {SCHEMA_ID: avro.schema_text(RawExecEvent)})
    return decode(framing.header(SCHEMA_ID) + entry.body)


def newest(folder: Path) -> Path:
    return max(folder.glob("*.journal"))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = opened(tmp_path / "j")
    yield made
    made.close()


# --- frames ----------------------------------------------------------------------------------------------------------------------------


def scanned(data: bytes) -> list[tuple[int, int, bytes | None]]:
    return [(one.start, one.end, one.body) for one in scan(lambda at, length: data[at : at + length], 0, len(data))]


def test_frames_come_back_as_they_were_written() -> None:
    bodies = [b"", b"a", MAGIC, MAGIC * 3, bytes(range(256)) * 2000]
    data = b"".join(map(frame, bodies))

    assert [body for _, _, body in scanned(data)] == bodies


def test_each_bit_of_a_frame_that_turns_is_seen_and_costs_that_frame_only() -> None:
    before, struck, behind = frame(b"first"), frame(b"the second"), frame(b"third")
    for bit in range(8 * len(struck)):
        damaged = bytearray(struck)
        damaged[bit // 8] ^= 1 << bit % 8
        found = scanned(before + bytes(damaged) + behind)

        assert [body for _, _, body in found] == [b"first", None, b"third"], bit
        assert found[1][:2] == (len(before), len(before) + len(struck))


def test_every_cut_through_the_last_frame_leaves_the_ones_before_it() -> None:
    whole, last = frame(b"first") + frame(b"second"), frame(b"third")
    for length in range(len(last)):
        found = scanned(whole + last[:length])

        assert [body for _, _, body in found] == [b"first", b"second", *([None] if length else [])]


def test_a_frame_is_found_behind_damage_that_is_longer_than_one_read() -> None:
    junk = (b"x" * 262_143 + MAGIC) * 3
    found = scanned(junk + frame(b"here"))

    assert found == [(0, len(junk), None), (len(junk), len(junk) + HEAD.size + 4, b"here")]


def test_a_length_that_is_damaged_asks_for_no_absurd_read() -> None:
    data = HEAD.pack(MAGIC, 0, BODY_BYTES_MAX + 1) + b"x" * 50

    assert scanned(data) == [(0, len(data), None)]


# --- a life --------------------------------------------------------------------------------------------------------------------------


def test_what_is_appended_is_read_back_with_what_publishing_needs(journal: Journal) -> None:
    made = records(journal, 10)
    entries = journal.append(made)

    assert everything(journal) == entries
    assert [decoded(entry) for entry in entries] == made
    assert {(entry.account, entry.kind) for entry in entries} == {(ACCOUNT.encode(), b"SDEAL")}
    assert journal.last == Position(journal.epoch, 10)


def test_numbers_go_on_in_the_same_epoch_after_a_close_and_after_a_kill(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(records(first, 3))
    first.close()
    second = opened(tmp_path)
    assert (second.epoch, second.next_seq) == (first.epoch, 4)
    second.append(records(second, 2))
    second.abandon()
    third = opened(tmp_path)

    assert (third.epoch, third.next_seq) == (first.epoch, 6)
    assert [entry.seq for entry in everything(third)] == [1, 2, 3, 4, 5]
    third.close()


def test_a_new_journal_has_a_higher_epoch_than_the_floor(tmp_path: Path) -> None:
    floor = 1 << 60
    made = Journal.open(tmp_path, env="simulation", bridge_id="b", epoch_floor=floor)

    assert made.epoch == floor + 1
    made.close()


def test_a_higher_epoch_known_elsewhere_ends_this_one(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(records(first, 1))
    first.close()
    second = Journal.open(tmp_path, env="simulation", bridge_id="b", epoch_floor=first.epoch + 10**9)

    assert (second.epoch > first.epoch + 10**9, second.next_seq) == (True, 1)
    assert [entry.epoch for entry in everything(second)] == [first.epoch]
    second.close()


def test_a_start_without_records_leaves_no_file_behind(tmp_path: Path) -> None:
    for _ in range(3):
        opened(tmp_path).close()

    assert list(tmp_path.glob("*.journal")) == []


def test_numbers_with_a_gap_are_a_mistake(journal: Journal) -> None:
    with pytest.raises(AssertionError):
        journal.append([record(journal.epoch, 2)])


def test_files_follow_each_other_by_size_and_are_read_as_one(tmp_path: Path) -> None:
    made = opened(tmp_path, segment_bytes=1)
    for _ in range(5):
        made.append(records(made, 2))

    assert len(list(tmp_path.glob("*.journal"))) == 5
    assert [entry.seq for entry in everything(made)] == list(range(1, 11))
    assert [entry.seq for entry in everything(made, Position(made.epoch, 7))] == [8, 9, 10]
    made.close()


def test_files_follow_each_other_by_age(tmp_path: Path) -> None:
    made = opened(tmp_path, segment_age_s=0.0)
    made.append(records(made, 1))
    made.append(records(made, 1))

    assert made.status().files == 2
    made.close()


def test_a_reader_finds_what_is_appended_later(journal: Journal) -> None:
    reader = journal.reader(NOWHERE)
    assert reader.read(10, 1000) == []
    journal.append(records(journal, 2))
    assert [entry.seq for entry in reader.read(10, 1000)] == [1, 2]
    journal.append(records(journal, 1))
    assert [entry.seq for entry in reader.read(10, 1000)] == [3]
    assert reader.read(10, 1000) == []


def test_a_wall_clock_that_jumps_changes_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = opened(tmp_path, segment_bytes=1)
    for now_s in (2_000_000_000, 1_000_000_000, 1_500_000_000):
        monkeypatch.setattr("execpos.bridge.journal.writer.time.time_ns", lambda now_s=now_s: now_s * 10**9)
        made.append(records(made, 2))
    made.close()
    again = opened(tmp_path)

    assert again.epoch == made.epoch
    assert [entry.seq for entry in everything(again)] == [1, 2, 3, 4, 5, 6]
    again.close()


def test_a_clock_that_is_set_back_gives_no_lower_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(tmp_path)
    first.append(records(first, 1))
    first.abandon()
    (tmp_path / "identity.json").unlink()
    monkeypatch.setattr("execpos.bridge.journal.journal.time.time_ns", lambda: 0)
    second = opened(tmp_path)

    assert second.epoch == first.epoch + 1
    second.close()


# --- whose it is -----------------------------------------------------------------------------------------------------------------------


def test_a_second_bridge_is_refused_with_status_7_and_named(journal: Journal) -> None:
    with pytest.raises(Fenced, match=rf"process {os.getpid()}") as caught:
        opened(journal.folder)

    assert caught.value.exit_code == 7


def test_a_folder_of_another_bridge_or_env_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    for env, bridge_id in (("production", "b"), ("simulation", "other")):
        with pytest.raises(ConfigError, match="is of bridge 'b' in env simulation"):
            Journal.open(tmp_path, env=env, bridge_id=bridge_id)


def test_a_folder_that_cannot_be_made_is_a_dependency_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DependencyError, match="cannot be used"):
        opened(tmp_path / "file" / "j")


@pytest.mark.parametrize("name", ["identity.json", "state.json"])
def test_a_small_file_that_is_damaged_says_what_to_do(tmp_path: Path, name: str) -> None:
    opened(tmp_path).close()
    (tmp_path / name).write_bytes(b"\0\0")
    with pytest.raises(ContractError, match="damaged") as caught:
        opened(tmp_path)

    assert "move the file away" in caught.value.hint
    (tmp_path / name).unlink()
    opened(tmp_path).close()


def test_a_file_of_a_newer_format_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = opened(tmp_path)
    monkeypatch.setattr(writers, "Header", lambda **fields: segments.Header(format=2, **fields))
    made.append(records(made, 1))
    made.close()
    with pytest.raises(ContractError, match="has format 2, this program reads 1"):
        opened(tmp_path)


# --- the end of the newest file --------------------------------------------------------------------------------------------------------


def test_a_cut_at_every_byte_of_the_last_frame_leaves_the_valid_prefix(tmp_path: Path) -> None:
    template = opened(tmp_path / "template")
    template.append(records(template, 3))
    whole = newest(template.folder).stat().st_size
    template.append(records(template, 1))
    template.abandon()
    path = newest(template.folder)
    data = path.read_bytes()
    for cut in range(whole, len(data)):
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        for name in ("identity.json", "cursor"):
            (folder / name).write_bytes((template.folder / name).read_bytes())
        (folder / path.name).write_bytes(data[:cut])
        made = opened(folder)

        assert [entry.seq for entry in everything(made)] == [1, 2, 3]
        torn = list(folder.glob("*.torn"))
        assert [one.read_bytes() for one in torn] == ([data[whole:cut]] if cut > whole else [])
        assert made.status().torn == tuple(one.name for one in torn)
        assert (folder / path.name).stat().st_size == whole
        made.close()


def test_a_turned_bit_in_the_last_frame_is_refused_by_its_checksum(tmp_path: Path) -> None:
    template = opened(tmp_path / "template")
    template.append(records(template, 2))
    start = newest(template.folder).stat().st_size
    template.append(records(template, 1))
    template.abandon()
    path = newest(template.folder)
    data = path.read_bytes()
    for bit in range(8 * start, 8 * len(data), 7):
        folder = tmp_path / f"bit-{bit}"
        folder.mkdir()
        (folder / "identity.json").write_bytes((template.folder / "identity.json").read_bytes())
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        (folder / path.name).write_bytes(damaged)
        made = opened(folder)

        assert [entry.seq for entry in everything(made)] == [1, 2], bit
        # The number of the lost record may stand in Kafka already.
        assert (made.epoch > template.epoch, made.next_seq) == (True, 1)
        made.close()


def test_after_a_tail_was_cut_everything_goes_on_and_both_epochs_are_read(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(records(first, 2))
    first.abandon()
    with newest(tmp_path).open("ab") as file:
        file.write(b"half a fr")
    second = opened(tmp_path)
    second.append(records(second, 2))

    assert [(entry.epoch, entry.seq) for entry in everything(second)] == [
        *((first.epoch, seq) for seq in (1, 2)),
        *((second.epoch, seq) for seq in (1, 2)),
    ]
    assert second.status().backlog_records == 4
    second.close()


def test_a_file_without_a_header_at_the_end_is_set_aside(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(records(first, 1))
    first.close()
    (tmp_path / "000000000009.journal").write_bytes(b"\0" * 100)
    second = opened(tmp_path)

    assert second.status().torn == ("000000000009.journal.0.torn",)
    assert [entry.seq for entry in everything(second)] == [1]
    second.close()


def test_one_damaged_header_is_read_from_its_copy(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(records(first, 2))
    first.close()
    path = newest(tmp_path)
    length = len(segments.header_bytes(segments.read_header(path).header)) // 2  # type: ignore[union-attr]  # it has one
    for at in (0, 10, length - 1, length, 2 * length - 1):
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        copy = tmp_path / "copy"
        copy.mkdir(exist_ok=True)
        (copy / path.name).write_bytes(data)

        report = inspect(copy)
        assert [(one.first_seq, one.last_seq, one.damage) for one in report.segments] == [(1, 2, ())]


# --- when an epoch ends ----------------------------------------------------------------------------------------------------------------


def test_a_cursor_beyond_the_end_means_that_numbers_were_used_and_lost(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(records(first, 5))
    first.acknowledge(Position(first.epoch, 5))
    first.close()
    path = newest(tmp_path)
    frames = list(segments.frames_of(segments.read_header(path)))  # type: ignore[arg-type]  # it has a header
    os.truncate(path, frames[2].end)
    second = opened(tmp_path)

    assert second.epoch > first.epoch
    second.close()


def test_a_machine_that_went_down_under_a_bridge_ends_the_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(tmp_path)
    first.append(records(first, 1))
    first.abandon()
    monkeypatch.setattr(module, "boot_id", lambda: "another")
    second = opened(tmp_path)
    assert second.epoch > first.epoch
    second.append(records(second, 1))
    second.close()
    monkeypatch.setattr(module, "boot_id", lambda: "a third")
    third = opened(tmp_path)

    assert third.epoch == second.epoch, "it was closed cleanly before"
    third.close()


# --- damage in the middle --------------------------------------------------------------------------------------------------------------


def test_a_damaged_frame_in_the_middle_is_one_lost_record_that_is_named(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append(records(first, 5))
    first.close()
    path = newest(tmp_path)
    found = list(segments.frames_of(segments.read_header(path)))  # type: ignore[arg-type]  # it has a header
    data = bytearray(path.read_bytes())
    data[found[2].start + 20] ^= 4
    path.write_bytes(data)
    second = opened(tmp_path)

    assert [entry.seq for entry in everything(second)] == [1, 2, 4, 5]
    everything(second)
    (lost,) = second.status().lost
    assert (lost.epoch, lost.first, lost.last, lost.file) == (first.epoch, 3, 3, path.name)
    assert str(found[3].start) in lost.reason
    second.close()


def test_a_file_that_is_gone_is_lost_with_its_numbers(tmp_path: Path) -> None:
    first = opened(tmp_path, segment_bytes=1)
    for _ in range(3):
        first.append(records(first, 2))
    first.close()
    sorted(tmp_path.glob("*.journal"))[1].unlink()
    second = opened(tmp_path)

    assert [entry.seq for entry in everything(second)] == [1, 2, 5, 6]
    assert [(one.first, one.last) for one in second.status().lost] == [(3, 4)]
    second.close()


def test_bodies_of_an_older_schema_are_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = json.loads(avro.schema_text(RawExecEvent))
    older["fields"] = [*older["fields"], {"name": "gone_since", "type": "string", "default": ""}]
    made = opened(tmp_path)
    monkeypatch.setattr(writers, "SCHEMA", json.dumps(older))
    encode = segments._encode
    monkeypatch.setattr(segments, "_encode", lambda record: encode(record) + b"\x08more")
    original = records(made, 2)
    made.append(original)
    monkeypatch.undo()

    assert [decoded(entry) for entry in everything(made)] == original
    made.close()


# --- the disk says no ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [28, 5, 30])
def test_a_write_that_fails_leaves_nothing_and_may_be_made_again(journal: Journal, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    journal.append(records(journal, 1))
    again = records(journal, 3)

    def half(fd: int, data: bytes, at: int) -> int:
        if len(data) > 40:
            return original(fd, data[:40], at)
        raise OSError(code, os.strerror(code))

    original = os.pwrite
    monkeypatch.setattr("execpos.bridge.journal.writer.os.pwrite", half)
    for _ in range(3):
        with pytest.raises(OSError, match=os.strerror(code)):
            journal.append(again)
    assert journal.status().error == os.strerror(code)
    assert journal.next_seq == 2
    monkeypatch.undo()
    journal.append(again)

    assert journal.status().error == ""
    assert [entry.seq for entry in everything(journal)] == [1, 2, 3, 4]
    assert journal.status().lost == ()


def test_a_sync_that_fails_counts_as_not_written_when_every_batch_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = opened(tmp_path, fsync="always", fsync_interval_ms=60_000)
    made.append(records(made, 1))

    def fails(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("execpos.bridge.journal.writer.os.fdatasync", fails)
    with pytest.raises(OSError, match="Input/output"):
        made.append(records(made, 1))
    monkeypatch.undo()
    made.append(records(made, 1))

    assert [entry.seq for entry in everything(made)] == [1, 2]
    assert made.status().files == 2
    made.close()


def test_a_sync_in_the_background_that_fails_is_said_and_begins_a_new_file(tmp_path: Path) -> None:
    made = opened(tmp_path, fsync_interval_ms=60_000)
    made.append(records(made, 1))
    os.close(made._writer._fd)
    made._writer._fd = os.open("/dev/null", os.O_RDONLY)
    with pytest.raises(OSError, match="Invalid argument"):
        made._writer.sync()
    made.append(records(made, 1))

    assert made.status().files == 2
    made.close()


# --- cursor, retention, state ----------------------------------------------------------------------------------------------------------


def test_the_cursor_is_back_after_a_close_and_never_moves_back(tmp_path: Path) -> None:
    made = opened(tmp_path)
    made.append(records(made, 9))
    made.acknowledge(Position(made.epoch, 6))
    made.acknowledge(Position(made.epoch, 4))
    made.close()
    again = opened(tmp_path)

    assert again.acknowledged == Position(made.epoch, 6)
    assert again.status().backlog_records == 3
    assert 0 < again.status().backlog_bytes < newest(tmp_path).stat().st_size
    again.close()


@pytest.mark.parametrize("keep", range(41))
def test_a_cursor_cut_anywhere_is_an_older_one(tmp_path: Path, keep: int) -> None:
    made = opened(tmp_path, fsync_interval_ms=60_000)
    for seq in (1, 2):
        made.append(records(made, 1))
        made.acknowledge(Position(made.epoch, seq))
        made._note_cursor()
    made.close()
    os.truncate(tmp_path / "cursor", keep)

    assert read_cursor(tmp_path) == (Position(made.epoch, 2) if keep == 40 else Position(made.epoch, 1) if keep >= 20 else NOWHERE)


def test_only_files_that_kafka_has_are_deleted(tmp_path: Path) -> None:
    made = opened(tmp_path, segment_bytes=1, retain_bytes=0, fsync_interval_ms=60_000)
    for _ in range(5):
        made.append(records(made, 2))
    made.acknowledge(Position(made.epoch, 5))
    made.retain()
    assert made.status().files == 5, "the cursor is not on the disk yet"
    made._note_cursor()
    made.retain()

    assert [entry.seq for entry in everything(made, Position(made.epoch, 4))] == [5, 6, 7, 8, 9, 10]
    assert len(list(tmp_path.glob("*.journal"))) == 3
    assert made.status().lost == ()
    made.close()


def test_files_that_kafka_has_are_kept_for_their_time(tmp_path: Path) -> None:
    made = opened(tmp_path, segment_bytes=1, retain_hours=1.0, fsync_interval_ms=60_000)
    for _ in range(3):
        made.append(records(made, 1))
    made.acknowledge(made.last)
    made._note_cursor()
    old = min(tmp_path.glob("*.journal"))
    os.utime(old, (0, 0))
    made.retain()

    assert (old.exists(), made.status().files) == (False, 2)
    made.close()


def test_when_everything_was_deleted_the_numbers_still_go_on(tmp_path: Path) -> None:
    made = opened(tmp_path, retain_bytes=0)
    made.append(records(made, 4))
    made.acknowledge(made.last)
    made.close()
    newest(tmp_path).unlink()
    again = opened(tmp_path)

    assert (again.epoch, again.next_seq) == (made.epoch, 5)
    again.append(records(again, 1))
    assert [entry.seq for entry in everything(again, again.acknowledged)] == [5]
    assert again.status().lost == ()
    again.close()


def test_state_survives_and_changes_all_at_once(tmp_path: Path) -> None:
    made = opened(tmp_path)
    made.state.set("logins", {"2026-05-21": 3})
    made.state.update({"baseline": [1, 2], "gone": 1})
    made.state.set("gone", None)
    made.abandon()

    again = State(tmp_path)
    assert again.items() == {"logins": {"2026-05-21": 3}, "baseline": [1, 2]}
    assert again.get("nothing", 5) == 5


def test_state_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(tmp_path)
    state.set("a", 1)

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("execpos.bridge.journal.files.os.write", full)
    with pytest.raises(OSError, match="No space"):
        state.set("a", 2)

    assert (state.get("a"), State(tmp_path).get("a")) == (1, 1)


# --- what an operator asks ---------------------------------------------------------------------------------------------------------------


def test_inspect_counts_while_a_bridge_is_at_work(tmp_path: Path) -> None:
    made = opened(tmp_path, segment_bytes=1)
    made.append(records(made, 3))
    made.append(records(made, 2))
    made.acknowledge(Position(made.epoch, 4))
    made._note_cursor()
    report = inspect(tmp_path)

    assert (report.env, report.bridge_id, report.epoch, report.closed) == ("simulation", "b", made.epoch, False)
    assert (report.records, report.backlog_records, report.acknowledged.seq) == (5, 1, 4)
    assert [(one.first_seq, one.last_seq, one.records, one.damage) for one in report.segments] == [(1, 3, 3, ()), (4, 5, 2, ())]
    assert [(one.first_ts, one.last_ts) for one in report.segments] == [(1_000_001, 1_000_003), (1_000_004, 1_000_005)]
    assert not report.damaged
    made.close()
    assert inspect(tmp_path).closed
    msgspec.json.encode(report)


def test_inspect_names_damage_and_what_it_cost(tmp_path: Path) -> None:
    made = opened(tmp_path)
    made.append(records(made, 3))
    made.close()
    path = newest(tmp_path)
    found = list(segments.frames_of(segments.read_header(path)))  # type: ignore[arg-type]  # it has a header
    data = bytearray(path.read_bytes())
    data[found[1].end - 1] ^= 1
    path.write_bytes(bytes(data) + b"tail")
    before = path.read_bytes()
    report = inspect(tmp_path)

    (one,) = report.segments
    assert [(damage.start, damage.end) for damage in one.damage] == [(found[1].start, found[1].end), (len(data), len(data) + 4)]
    assert [(lost.first, lost.last) for lost in report.lost] == [(2, 2)]
    assert report.damaged
    assert path.read_bytes() == before


def test_replay_hands_out_the_same_bytes_again_and_again(tmp_path: Path) -> None:
    made = opened(tmp_path, segment_bytes=1)
    written = [entry for _ in range(4) for entry in made.append(records(made, 2))]
    first: list[Entry] = []
    second: list[Entry] = []
    assert replay(tmp_path, 2, 6, first.append) == (5, ())
    assert replay(tmp_path, 2, 6, second.append) == (5, ())

    assert first == second == written[1:6]
    made.close()


def test_replay_says_what_is_not_there(tmp_path: Path) -> None:
    made = opened(tmp_path, segment_bytes=1)
    for _ in range(3):
        made.append(records(made, 2))
    made.close()
    sorted(tmp_path.glob("*.journal"))[1].unlink()
    handed: list[Entry] = []
    count, lost = replay(tmp_path, 1, 100, handed.append)

    assert (count, [entry.seq for entry in handed]) == (4, [1, 2, 5, 6])
    assert [(one.first, one.last) for one in lost] == [(3, 4)]
    with pytest.raises(UsageError, match="of epoch 5"):
        replay(tmp_path, 1, 2, handed.append, epoch=5)


@pytest.mark.parametrize("ask", [inspect, lambda folder: replay(folder, 1, 2, lambda entry: None)])
def test_a_folder_without_a_journal_is_a_mistake(tmp_path: Path, ask: Any) -> None:
    with pytest.raises(UsageError, match="holds no journal"):
        ask(tmp_path)
