"""`execpos intents`: says whose an order is."""

from pathlib import Path

import click

from execpos.cli import connect
from execpos.cli.config import config_option
from execpos.cli.moments import one_account
from execpos.cli.output import json_option, print_json, stdout, table
from execpos.errors import UsageError


@click.group()
def intents() -> None:
    """Say which strategy an order belongs to."""


@intents.command()
@click.option("--account", required=True, help="Its key, or its number if only one has it.")
@click.option("--strategy", required=True, help="The owner.")
@click.option("--order-id", default="", help="The broker's id of the order; or --seqno.")
@click.option("--seqno", default="", help="The platform's number of the order.")
@click.option("--session", default="", help="Session in which it was placed, as 2026-05-21D. [default: the one of now]")
@click.option("--tag", "tags", multiple=True, metavar="NAME=TEXT", help="Free text for the strategy's own use. Can be given again.")
@click.option("--yes", is_flag=True, help="Write it; without this, only show it.")
@config_option
@json_option
def add(
    *,
    config_dir: Path | None,
    account: str,
    strategy: str,
    order_id: str,
    seqno: str,
    session: str,
    tags: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> None:
    """Give an order to a strategy, before or after it was filled.

    What was filled already moves to the strategy as if it had been known from the start; NET stays as it is. A fill older than the window
    stays where it is (`execpos positions transfer` moves quantity). With --json, one object goes to stdout: intent_id (empty without
    --yes), account, strategy_id, session_id, order_id, seqno, tags, written.
    """
    import time  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.client.intents import IntentWriter  # noqa: PLC0415 (as above)
    from execpos.client.link import Link  # noqa: PLC0415 (as above)
    from execpos.domain.ids import session_id  # noqa: PLC0415 (as above)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    if bool(order_id) == bool(seqno):
        raise UsageError("give either --order-id or --seqno")
    named = dict(_tag(tag) for tag in tags)
    settings = load(config_dir)
    key = one_account(connect.cluster(settings, "intents"), settings.kafka.prefix, account)
    chosen = session or session_id(time.time_ns() // 1000)
    intent_id = ""
    if yes:
        with IntentWriter(Link.of(settings, "intents")) as writer:
            intent_id = writer.place(strategy, key, order_id=order_id, seqno=seqno, session_id=chosen, tags=named)
    report = {"intent_id": intent_id, "account": key, "strategy_id": strategy, "session_id": chosen, "order_id": order_id, "seqno": seqno}
    if as_json:
        print_json({**report, "tags": named, "written": yes})
        return
    rows = [[name, text] for name, text in (*report.items(), *named.items()) if text]
    stdout().print(table("Intent", ["what", "is"], rows))
    stdout().print("Written." if yes else "Nothing was written; add --yes to do it.")


def _tag(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise UsageError(f"--tag {text!r} is not NAME=TEXT")
    return name, value
