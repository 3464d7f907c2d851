"""`execpos bridge`: how the bridges are, and what stands in their journals."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli import connect
from execpos.cli.config import config_option
from execpos.cli.journal import journal
from execpos.cli.moments import brief
from execpos.cli.output import json_option, print_json, stderr, stdout, table
from execpos.errors import CheckFailed

if TYPE_CHECKING:
    from execpos.domain.events import BridgeHeartbeat

# Longest wait for one answer of Kafka.
_TIMEOUT_S = 15.0


@click.group()
def bridge() -> None:
    """Look at the bridges: what they say of themselves, and their journals."""


bridge.add_command(journal)


@bridge.command()
@config_option
@json_option
def status(*, config_dir: Path | None, as_json: bool) -> None:
    """Show the newest heartbeat of each bridge and account; exit status 6 when one needs an operator, or none is there.

    With --json, one object goes to stdout: bridges, a list of the heartbeats as contracts/execution.md has them, each with age_s and
    problems (a list of texts; empty when all is well).
    """
    from execpos.bridge.overview import Limits, newest, problems  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    settings = load(config_dir)
    beats = newest(connect.wire(settings, "bridge-status")(), settings.kafka.prefix, _TIMEOUT_S)
    now_us = time.time_ns() // 1000
    halt = settings.halt
    limits = Limits(halt.heartbeat_gap_s, halt.recovery_seconds, halt.journal_backlog)
    found = [(beat, problems(beat, now_us, limits)) for beat in beats]
    if as_json:
        print_json({"bridges": [_plain(beat, now_us, wrong) for beat, wrong in found]})
    else:
        _show(found, now_us)
    if not beats:
        raise CheckFailed("no bridge has said anything", hint="start one: `execpos run bridge`")
    count = sum(bool(wrong) for _, wrong in found)
    if count:
        raise CheckFailed(f"{count} of {len(found)} bridge accounts need an operator", hint="docs/operating.md says what to do")


def _plain(beat: "BridgeHeartbeat", now_us: int, wrong: list[str]) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    return {**msgspec.structs.asdict(beat), "age_s": round((now_us - beat.ts) / 1_000_000, 3), "problems": wrong}


def _show(found: "list[tuple[BridgeHeartbeat, list[str]]]", now_us: int) -> None:
    columns = ["bridge", "account", "said", "session", "reports", "backlog", "open gaps", "cache", "caught up"]
    rows = [
        [
            beat.bridge_id,
            beat.account or "not known yet",
            f"{beat.kind} {(now_us - beat.ts) / 1_000_000:,.1f} s",
            beat.session,
            f"{beat.callbacks:,}",
            f"{beat.backlog_records:,}",
            f"{beat.open_gaps:,} of {beat.gaps:,}",
            beat.cache_health,
            datetime.fromtimestamp(beat.last_catchup_ts / 1e6, UTC).strftime("%H:%M:%S") if beat.last_catchup_ts else "never",
        ]
        for beat, _ in found
    ]
    title = f"Bridges at {brief(now_us)} UTC"
    stdout().print(table(title, columns, rows, numeric=["reports", "backlog", "open gaps"]))
    for beat, wrong in found:
        for text in wrong:
            stdout().print(f"{beat.bridge_id} {beat.account}: {text}", highlight=False, soft_wrap=True, markup=False)
    for beat, _ in found:
        if beat.suspended_until_ts > now_us:
            until = datetime.fromtimestamp(beat.suspended_until_ts / 1e6, UTC)
            stderr().print(f"{beat.bridge_id}: the broker is not asked before {until:%H:%M:%S} UTC")
