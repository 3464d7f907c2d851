"""`execpos bridge journal`: what stands in a bridge's journal, and publishing parts of it once more."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from execpos.cli import connect
from execpos.cli.config import config_option
from execpos.cli.output import json_option, print_json, stderr, stdout, table
from execpos.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from execpos.bridge.journal.inspection import JournalReport
    from execpos.bridge.republish import Republisher
    from execpos.settings import Settings

# Longest time without an acknowledgement.
_TIMEOUT_S = 30.0

# Beyond every number that a record can have.
_LAST_SEQ = 1 << 62

folder_argument = click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.group()
def journal() -> None:
    """Look into the journal of a bridge. Both commands may be used while the bridge runs."""


def folder_of(settings: "Settings", env: str) -> Path:
    """Return the folder of the configured bridge's journal; of an installation of its own (kafka.prefix) another one."""
    return Path(settings.bridge.journal.folder) / f"{settings.kafka.prefix}{settings.bridge.id}" / env


def _chosen(folder: Path | None, settings: "Settings") -> Path:
    chosen = folder or folder_of(settings, settings.env)
    if not chosen.is_dir():
        raise UsageError(f"there is no journal {chosen}", hint="give the folder of one bridge and env")
    return chosen


@journal.command()
@folder_argument
@config_option
@json_option
def inspect(*, folder: Path | None, config_dir: Path | None, as_json: bool) -> None:
    """Read every record of a journal and show what is there; exit status 6 when something is lost, damaged or was refused by Kafka.

    FOLDER is that of one bridge and env; by default the configured bridge's. Nothing is changed. With --json, one object goes to stdout:
    folder, env, bridge_id, epoch, closed, acknowledged (epoch and number), records, backlog_records, bytes, segments (file, epoch,
    first_seq, last_seq, records, bytes, created_ts, first_ts, last_ts, current_schema, damage), lost (epoch, first, last, file, reason),
    unreadable, torn, parked, damaged.
    """
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.bridge.journal import inspection  # noqa: PLC0415 (as above)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    report = inspection.inspect(_chosen(folder, load(config_dir)))
    if as_json:
        print_json({**msgspec.to_builtins(report), "damaged": report.damaged})
    else:
        _show(report)
    if report.damaged or report.torn or report.parked:
        lost = sum(one.last - one.first + 1 for one in report.lost)
        raise CheckFailed(
            f"{lost} records lost, {len(report.unreadable)} files unreadable, {len(report.torn)} tails cut, {len(report.parked)} refused",
            hint="docs/operating.md says what each means and what to do",
        )


def _show(report: "JournalReport") -> None:
    columns = ["file", "epoch", "first", "last", "records", "bytes", "damaged", "from (UTC)", "to (UTC)"]
    rows = [
        [
            one.file,
            str(one.epoch),
            f"{one.first_seq:,}",
            f"{one.last_seq:,}",
            f"{one.records:,}",
            f"{one.bytes:,}",
            f"{sum(part.end - part.start for part in one.damage):,}",
            _time(one.first_ts),
            _time(one.last_ts),
        ]
        for one in report.segments
    ]
    title = f"Journal of {report.bridge_id} ({report.env}), epoch {report.epoch}, {report.backlog_records:,} records not acknowledged"
    stdout().print(table(title, columns, rows, numeric=columns[1:7]))
    for one in report.lost:
        stderr().print(f"lost: {one.first} to {one.last} of epoch {one.epoch}, {one.file}: {one.reason}")


@journal.command()
@folder_argument
@config_option
@click.option("--from", "first", type=click.IntRange(1), default=1, show_default=True, help="First number (bridge_seq).")
@click.option("--to", "last", type=click.IntRange(1), default=_LAST_SEQ, help="Last number; by default the last one there is.")
@click.option("--epoch", type=click.IntRange(1), help="Whose numbers these are; by default the newest epoch's.")
@click.option("--yes", is_flag=True, help="Publish. Without it, the records are only counted.")
@json_option
def replay(*, folder: Path | None, config_dir: Path | None, first: int, last: int, epoch: int | None, yes: bool, as_json: bool) -> None:
    """Publish records of a journal to exec.raw once more, with the numbers that they have; for a topic that lost them.

    The ledger counts none twice: what it knows is a duplicate. With --json, one object goes to stdout: folder, records, published, lost.
    """
    from execpos.bridge.journal import inspection  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    settings = load(config_dir)
    chosen = _chosen(folder, settings)
    count, lost = inspection.replay(chosen, first, last, lambda _: None, epoch or 0)
    published = 0
    if yes:
        publish = _republisher(settings)
        count, lost = inspection.replay(chosen, first, last, publish, epoch or 0)
        published = publish.finish()
    missing = sum(one.last - one.first + 1 for one in lost)
    if as_json:
        print_json({"folder": str(chosen), "records": count, "published": published, "lost": missing})
    else:
        click.echo(f"{published:,} records published" if yes else f"{count:,} records would be published; add --yes to do it")
    if missing:
        stderr().print(f"{missing:,} records of the journal cannot be read any more")


def _republisher(settings: "Settings") -> "Republisher":
    from execpos.bridge.options import RAW_TOPIC  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.bridge.publisher import Target  # noqa: PLC0415 (as above)
    from execpos.bridge.republish import Republisher  # noqa: PLC0415 (as above)
    from execpos.domain.events import RawExecEvent  # noqa: PLC0415 (as above)

    wire = connect.wire(settings, f"{settings.bridge.id}-replay")()
    topic = settings.kafka.prefix + RAW_TOPIC
    wire.cluster.partition_count(topic, _TIMEOUT_S)
    target = Target(wire.cluster.idempotent_producer(f"{settings.bridge.id}-replay"), topic, wire.ids[RawExecEvent])
    return Republisher(target, _TIMEOUT_S)


def _time(ts_us: int) -> str:
    return datetime.fromtimestamp(ts_us / 1e6, UTC).strftime("%m-%d %H:%M:%S") if ts_us else ""
