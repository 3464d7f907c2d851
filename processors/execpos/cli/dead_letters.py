"""`execpos dead-letters`: records that did not become state, and having one read again."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli import connect
from execpos.cli.asking import agreed, by_option, new_id, now_us, reason_option, said_why, yes_option
from execpos.cli.config import config_option
from execpos.cli.moments import login, same_account, shown
from execpos.cli.output import json_option, print_json, stdout, table
from execpos.errors import CheckFailed, DependencyError, UsageError

if TYPE_CHECKING:
    from execpos.cli.records import Records
    from execpos.domain.events import Correction, DeadLetter

# How long to wait for the ledger when nothing is said, and how often to look.
_WAIT_S = 30.0
_LOOK_S = 0.05

Place = tuple[str, int, int]
"""Topic, partition and offset of the record."""

_SECOND_US = 1_000_000


@click.group(name="dead-letters")
def dead_letters() -> None:
    """Look at records that did not become state, and have one read again."""


def _place(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    try:
        partition, offset = value.split("/")
        return int(partition), int(offset)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no place like 7/1042: partition/offset", ctx, param) from error


place_argument = click.argument("place", metavar="PARTITION/OFFSET", callback=_place)
topic_option = click.option("--topic", default="raw", show_default=True, help="Where it stands: raw, intents or corrections.")


@dead_letters.command(name="list")
@click.option("--account", help="Only of this account: its key or its number.")
@click.option("--all", "every", is_flag=True, help="Also those that were replayed.")
@config_option
@json_option
def list_(*, config_dir: Path | None, account: str | None, every: bool, as_json: bool) -> None:
    """Show the records that wait, oldest first: every dead letter but those of exec.raw that a REPLAY brought into the book.

    With --json, one object goes to stdout: dead_letters, each with topic, partition, offset, disposition, reason, detail, account,
    position_key, at, age_s, replayed (id of the correction, empty when none).
    """
    records = _records(config_dir)
    replayed = _replayed(records)
    letters = [
        letter for letter in _letters(records).values() if same_account(letter.account, account) and (every or _at(letter) not in replayed)
    ]
    found = [_plain(letter, replayed) for letter in sorted(letters, key=lambda letter: letter.ts)]
    if as_json:
        print_json({"dead_letters": found})
        return
    if not found:
        stdout().print("no dead letter waits" if not every else "there are no dead letters")
        return
    columns = ["record", "disposition", "reason", "key or account", "age"]
    rows = [
        [
            f"{one['topic']} {one['partition']}/{one['offset']}",
            one["disposition"],
            one["reason"],
            one["position_key"] or one["account"],
            f"{one['age_s']:,.0f} s",
        ]
        for one in found
    ]
    stdout().print(table(f"{len(found)} dead letters wait", columns, rows, numeric=["age"]))


@dead_letters.command()
@place_argument
@topic_option
@config_option
@json_option
def show(*, config_dir: Path | None, place: tuple[int, int], topic: str, as_json: bool) -> None:
    """Show one dead letter with what its record holds; what cannot be read as text is shown as hexadecimal digits.

    With --json, one object goes to stdout: as an element of `list`, and record_key, record_value, ledger_epoch.
    """
    records = _records(config_dir)
    letter = _letter(records, place, topic)
    report = _plain(letter, _replayed(records)) | {
        "record_key": letter.record_key.decode(errors="replace"),
        "record_value": _text(records, letter),
        "ledger_epoch": letter.ledger_epoch,
    }
    if as_json:
        print_json(report)
        return
    for name, value in report.items():
        stdout().print(f"{name}: {value}", highlight=False, markup=False)


@dead_letters.command()
@place_argument
@reason_option
@by_option
@yes_option
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0), default=_WAIT_S, show_default=True, help="Seconds to wait for the ledger; 0: none."
)
@config_option
@json_option
def replay(
    *, config_dir: Path | None, place: tuple[int, int], reason: str, by: str | None, yes: bool, wait_s: float, as_json: bool
) -> None:
    """Have the ledger read a record of exec.raw again and apply it as if it came now, by the tables that the ledger was started with.

    What counts already is not counted again. The mark of its key stays until a QUALITY correction clears it. Exit status 6: the ledger
    says no; 4: no answer in time. With --json, one object goes to stdout: as an element of `list`, and correction_id, written, outcome,
    outcome_reason, outcome_detail.
    """
    from execpos.domain.events import CorrectionOutcome  # noqa: PLC0415 (`--help` must not pay for it)

    why = said_why(reason)
    records = _records(config_dir).learn()
    letter = _letter(records, place, "raw")
    if not letter.account:
        raise UsageError("its account cannot be told, so nothing can be replayed", hint="`execpos dead-letters show` has its bytes")
    if not agreed(f"Replay {letter.reason} of {letter.position_key or letter.account}?", yes=yes):
        raise UsageError("nothing was written", hint="answer yes, or give --yes")
    correction = _correction(letter, why, by or login())
    outcomes = records.follow("correction-outcomes", CorrectionOutcome)
    try:
        records.write("corrections", letter.account, correction)
        outcome: CorrectionOutcome | None = None
        deadline_s = time.monotonic() + wait_s
        while outcome is None and time.monotonic() < deadline_s:
            outcome = next((one for one in outcomes.poll() if one.correction_id == correction.correction_id), None)
            time.sleep(_LOOK_S)
    finally:
        outcomes.close()
    report: dict[str, Any] = _plain(letter, {}) | {"correction_id": correction.correction_id, "written": True}
    if outcome is not None:
        report |= {"outcome": outcome.outcome, "outcome_reason": outcome.reason, "outcome_detail": outcome.detail}
    if as_json:
        print_json(report)
    else:
        said = f"{outcome.outcome} {outcome.reason} {outcome.detail}".rstrip() if outcome is not None else "written"
        stdout().print(f"{correction.correction_id}: {said}", highlight=False, markup=False)
    if outcome is not None and outcome.outcome != "APPLIED":
        raise CheckFailed(f"the record does not count: {outcome.reason}, {outcome.detail}")
    if wait_s and outcome is None:
        raise DependencyError(
            f"no answer to {correction.correction_id} within {wait_s:.0f} s", hint="is the ledger running? it may still be applied"
        )


def _records(config_dir: Path | None) -> "Records":
    from execpos.cli.records import Records  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    settings = load(config_dir)
    return Records(connect.cluster(settings, "dead-letters"), settings)


def _letters(records: "Records") -> "dict[Place, DeadLetter]":
    """Return the newest dead letter of each record."""
    from execpos.domain.events import DeadLetter  # noqa: PLC0415 (`--help` must not pay for it)

    return {_at(letter): letter for _, letter in records.all("dead-letters", DeadLetter) if letter is not None}


def _at(letter: "DeadLetter") -> Place:
    return letter.source_topic, letter.source_partition, letter.source_offset


def _letter(records: "Records", place: tuple[int, int], topic: str) -> "DeadLetter":
    full = records.topic(topic)
    found = _letters(records).get((full, *place))
    if found is None:
        raise UsageError(f"{full} {place[0]}/{place[1]} is no dead letter", hint="`execpos dead-letters list --all` names them")
    return found


def _replayed(records: "Records") -> dict[Place, str]:
    """Return the records that a REPLAY brought in, and the id of the correction that did it."""
    from execpos.domain.events import Correction, CorrectionOutcome  # noqa: PLC0415 (`--help` must not pay for it)

    done = {
        one.correction_id
        for _, one in records.all("correction-outcomes", CorrectionOutcome)
        if one is not None and one.kind == "REPLAY" and (one.outcome == "APPLIED" or one.reason == "no_effect")
    }
    return {
        (one.source_topic, one.source_partition, one.source_offset): one.correction_id
        for _, one in records.all("corrections", Correction)
        if one is not None and one.correction_id in done
    }


def _correction(letter: "DeadLetter", reason: str, by: str) -> "Correction":
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.domain.correction_rules import BLANK  # noqa: PLC0415 (as above)
    from execpos.domain.ids import split  # noqa: PLC0415 (as above)

    parts = split(letter.position_key) if letter.position_key else []
    return msgspec.structs.replace(
        BLANK,
        correction_id=new_id("replay"),
        account=letter.account,
        kind="REPLAY",
        symbol=parts[4] if len(parts) > 5 else "",
        book=parts[5] if len(parts) > 5 else "",
        source_topic=letter.source_topic,
        source_partition=letter.source_partition,
        source_offset=letter.source_offset,
        reason=reason,
        evidence={"dead_letter": letter.reason},
        requested_by=by,
        ts=now_us(),
    )


def _plain(letter: "DeadLetter", replayed: dict[Place, str]) -> dict[str, Any]:
    return {
        "topic": letter.source_topic,
        "partition": letter.source_partition,
        "offset": letter.source_offset,
        "disposition": letter.disposition,
        "reason": letter.reason,
        "detail": letter.detail,
        "account": letter.account,
        "position_key": letter.position_key,
        "at": shown(letter.ts),
        "age_s": round(max(0, now_us() - letter.ts) / _SECOND_US, 1),
        "replayed": replayed.get(_at(letter), ""),
    }


def _text(records: "Records", letter: "DeadLetter") -> str:
    """Return the payload of a raw record, which is redacted JSON; of anything else the bytes in hexadecimal digits."""
    from execpos.codecs.avro import Decoder, schema_text  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.codecs.framing import schema_id  # noqa: PLC0415 (as above)
    from execpos.domain.events import RawExecEvent  # noqa: PLC0415 (as above)
    from execpos.errors import Park  # noqa: PLC0415 (as above)

    if letter.source_topic == records.topic("raw"):
        try:
            raw = Decoder(RawExecEvent, {schema_id(letter.record_value): schema_text(RawExecEvent)})(letter.record_value)
            return raw.payload.decode(errors="replace")
        except Park:
            pass
    return letter.record_value.hex()
