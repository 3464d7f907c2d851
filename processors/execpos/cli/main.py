"""The `execpos` command. Groups are imported only when called, so that `--help` answers at once."""

import importlib
import sys
from typing import NoReturn

import click

from execpos import __version__
from execpos.errors import ExecposError

# name -> (module in execpos.cli, attribute, one line of help); the help stands here so that `--help` imports no group.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "bridge": ("bridge", "bridge", "Look at the bridges and their journals."),
    "commands": ("commands", "commands", "Show what operators asked for and did."),
    "config": ("config", "config", "Check and show the configuration."),
    "discrepancies": ("discrepancies", "discrepancies", "Look at what differs from the broker; approve, reject or correct it."),
    "halt": ("halt", "halt", "Stop trading, everywhere or in one scope; needs nothing but Kafka."),
    "dead-letters": ("dead_letters", "dead_letters", "Show records that did not become state, and have one read again."),
    "demo": ("demo", "demo", "Run a simulated trading day through the whole pipeline and check the result."),
    "doctor": ("doctor", "doctor", "Check what this machine has and what it lacks."),
    "fills": ("fills", "fills", "Show fills from their topic."),
    "fold": ("fold", "fold", "Fold a file of broker callbacks into positions, without Kafka."),
    "intents": ("intents", "intents", "Say which strategy an order belongs to."),
    "positions": ("positions", "positions", "Show positions now and over time, and move them between strategies."),
    "run": ("run", "run", "Run one component until it is interrupted."),
    "rebuild": ("rebuild", "rebuild", "Fold the history anew, compare with the live books, put right what differs."),
    "reconcile": ("reconcile", "reconcile", "Compare accounts with the broker now."),
    "resume": ("resume", "resume", "Release a halt."),
    "status": ("status", "status", "Show whether trading goes on, and if not, why."),
    "snapshot": ("snapshot", "snapshot", "Ask the ledger for the whole book of an account, and show it."),
    "sim": ("sim", "sim", "Record or serve the simulated broker."),
    "schemas": ("schemas", "schemas", "Register and check the Avro schemas."),
    "topics": ("topics", "topics", "Compare the topics with their contract, and create them."),
    "clickhouse": ("clickhouse", "clickhouse", "Create, watch and verify the warehouse."),
    "up": ("up", "up", "Run Kafka, the schema registry and ClickHouse on this machine until interrupted."),
    "bench": ("bench", "bench", "Measure throughput and latency."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"execpos.cli.{module}"), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 (a wrong entry in COMMANDS is a mistake in this file)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in sorted(COMMANDS)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="execpos")
def cli() -> None:
    """Execution events and position state for Shioaji on Kafka, exactly once."""


def main() -> NoReturn:
    """Run the command line; errors of ours end with their own exit code and one clear message on stderr."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ExecposError as error:
        click.echo(f"execpos: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(0)
