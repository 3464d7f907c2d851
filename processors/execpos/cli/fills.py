"""`execpos fills`: what was filled, as committed."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli import connect
from execpos.cli.config import config_option
from execpos.cli.moments import same_account, shown
from execpos.cli.output import json_option, print_json, stderr, stdout
from execpos.errors import Park

if TYPE_CHECKING:
    from execpos.domain.events import FillEvent
    from execpos.kafka.ports import Cluster, Message, TopicPartition

# How far back in each partition the last fills are looked for; a rarer one needs ClickHouse.
_LOOK_BACK = 5_000

_ANSWER_S = 30.0
# How soon Ctrl-C is noticed.
_POLL_S = 0.2

_COLUMNS = f"{'taken (UTC)':<15} {'account':<32} {'symbol':<11} {'book':<10} {'strategy':<16} {'side':<4} {'quantity':>10} {'price':>12}"


@click.group()
def fills() -> None:
    """Show fills from the topic exec.fills."""


@fills.command()
@click.option("--follow", "-f", is_flag=True, help="Go on with what is committed from now on, until interrupted.")
@click.option("--last", type=click.IntRange(0, 5000), default=20, show_default=True, help="How many to begin with.")
@click.option("--account", help="Only this account: its key, or its number.")
@click.option("--symbol", help="Only this symbol.")
@click.option("--strategy", help="Only this strategy.")
@config_option
@json_option
def tail(
    *, config_dir: Path | None, follow: bool, last: int, account: str | None, symbol: str | None, strategy: str | None, as_json: bool
) -> None:
    """Print the last fills, oldest first, each revision as a line of its own; with --follow, also those that come.

    They are looked for among the last 5 000 records of each partition; one that cannot be read is named on stderr. With --json, each line
    is one object: fill_id, revision, account, symbol, book, strategy_id, side, quantity, price, fee_est, tax_est, cause, voided, quality,
    order_id, exchange_at, ingest_at.
    """
    from execpos.codecs.avro import Decoder  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.domain.events import FillEvent  # noqa: PLC0415 (as above)
    from execpos.kafka.ports import TopicPartition  # noqa: PLC0415 (as above)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    settings = load(config_dir)
    cluster = connect.cluster(settings, "fills")
    topic = f"{settings.kafka.prefix}exec.fills.v1"
    decode = Decoder(FillEvent, connect.schemas(settings).writers[FillEvent])

    def wanted(messages: "Iterable[Message]") -> "list[FillEvent]":
        found = []
        for message in messages:
            try:
                found.append(decode(message.value() or b""))
            except Park as error:
                where = f"{message.topic()} [{message.partition()}] at {message.offset()}"
                stderr().print(f"{where} cannot be read: {error}", highlight=False, markup=False)
        return [
            fill
            for fill in found
            if same_account(fill.account, account) and symbol in (None, fill.symbol) and strategy in (None, fill.strategy_id)
        ]

    tps = [TopicPartition(topic, partition) for partition in range(cluster.partition_count(topic, _ANSWER_S))]
    earlier, ends = _earlier(cluster, tps, wanted)
    show = _printer(as_json=as_json)
    for fill in sorted(earlier, key=lambda one: (one.ingest_ts, one.fill_seq))[-last:] if last else []:
        show(fill)
    if not follow:
        return
    reader = cluster.tail(ends, _ANSWER_S)
    try:
        while True:
            for fill in wanted(reader.poll(_POLL_S)):
                show(fill)
    finally:
        reader.close()


def _earlier(
    cluster: "Cluster", tps: "list[TopicPartition]", wanted: "Callable[[Iterable[Message]], list[FillEvent]]"
) -> "tuple[list[FillEvent], dict[TopicPartition, int]]":
    """Return the wanted ones of the last records, and where they end."""
    from execpos.kafka.ports import Span  # noqa: PLC0415 (`--help` must not pay for it)

    marks = cluster.watermarks(tps, _ANSWER_S)
    spans = [Span(tp, max(mark.low, mark.high - _LOOK_BACK), mark.high) for tp, mark in marks.items() if mark.low < mark.high]
    reader = cluster.reader()
    try:
        return wanted(reader.read(spans, _ANSWER_S)), {tp: mark.high for tp, mark in marks.items()}
    finally:
        reader.close()


def _printer(*, as_json: bool) -> "Callable[[FillEvent], None]":
    if as_json:
        return lambda fill: print_json(_plain(fill))
    console = stdout()
    console.print(_COLUMNS, highlight=False, soft_wrap=True, style="bold")

    def show(fill: "FillEvent") -> None:
        from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

        note = "" if fill.cause in {"CALLBACK", "CATCHUP"} and fill.revision == 1 else f"  {fill.cause} r{fill.revision}"
        note += "  voided" if fill.voided else ""
        note += f"  {fill.quality}" if fill.quality != "CONFIRMED" else ""
        line = (
            f"{shown(fill.ingest_ts)[11:26]:<15} {fill.account:<32} {fill.symbol:<11} {fill.book:<10} {fill.strategy_id:<16} "
            f"{fill.side:<4} {fill.quantity:>10,} {text(fill.price):>12}{note}"
        )
        console.print(line, highlight=False, soft_wrap=True, markup=False)

    return show


def _plain(fill: "FillEvent") -> dict[str, Any]:
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    return {
        "fill_id": fill.fill_id,
        "revision": fill.revision,
        "account": fill.account,
        "symbol": fill.symbol,
        "book": fill.book,
        "strategy_id": fill.strategy_id,
        "side": fill.side,
        "quantity": fill.quantity,
        "price": text(fill.price),
        "fee_est": text(fill.fee_est),
        "tax_est": text(fill.tax_est),
        "cause": fill.cause,
        "voided": fill.voided,
        "quality": fill.quality,
        "order_id": fill.order_id,
        "exchange_at": shown(fill.exchange_ts),
        "ingest_at": shown(fill.ingest_ts),
    }
