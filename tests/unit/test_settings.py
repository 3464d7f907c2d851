"""The configuration: precedence, strictness, and errors that name file, line, key and what is allowed."""
# ruff: noqa: E501 (a table of cases reads best with one case a line)

import re
from pathlib import Path

import pytest
import yaml

from execpos import resources
from execpos.errors import ConfigError
from execpos.settings import FILES, Settings, load
from execpos.settings.model import Execution
from execpos.settings.schema import schemas
from execpos.settings.secrecy import redacted
from execpos.settings.tables import AccountsFile
from execpos.settings.yamlfile import YamlFile

SHIPPED = resources.folder("config")


def folder(tmp_path: Path, **files: str) -> Path:
    """Write files (name without .yaml -> text) into a folder of its own."""
    made = tmp_path / "config"
    made.mkdir(exist_ok=True)
    for name, text in files.items():
        (made / f"{name}.yaml").write_text(text, encoding="utf-8")
    return made


def mistakes(tmp_path: Path, environ: dict[str, str] | None = None, **files: str) -> list[str]:
    """Load and return the problems that the error names, the folder cut off."""
    chosen = folder(tmp_path, **files) if files else None
    with pytest.raises(ConfigError) as caught:
        load(chosen, environ or {})
    assert caught.value.exit_code == 3
    problems = caught.value.fields["problems"]
    assert isinstance(problems, list)
    return [problem.replace(f"{chosen}/", "") for problem in problems]


def edited(name: str, *edits: tuple[str, str]) -> str:
    """Return a shipped file with some text replaced."""
    text = resources.text("config", name)
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


# --- what is shipped -------------------------------------------------------------------------------------------------------------------


def test_the_shipped_configuration_is_in_order() -> None:
    settings = load(environ={})

    assert settings.env == "simulation"
    assert settings.origins == {f"{name}.yaml": f"config/{name}.yaml" for name in ("execution", "instruments", "fees", "calendar")}


def test_the_shipped_execution_file_shows_every_key_with_its_default() -> None:
    assert Execution().model_dump(mode="json") == YamlFile(SHIPPED / "execution.yaml", "x").data


def test_the_json_schemas_are_current() -> None:
    for name, text in schemas().items():
        assert (SHIPPED / name).read_text(encoding="utf-8") == text, "run: python -m execpos.settings.schema"


def test_every_file_names_its_schema_and_nothing_else_lies_in_the_folder() -> None:
    for name in FILES:
        file = SHIPPED / (name if (SHIPPED / name).exists() else name.replace(".yaml", ".example.yaml"))
        assert file.read_text(encoding="utf-8").startswith(f"# yaml-language-server: $schema={name.replace('.yaml', '.schema.json')}\n")
    assert {file.suffix or file.name for file in SHIPPED.iterdir()} == {".yaml", ".json", "scenarios"}


def test_the_example_of_accounts_is_in_order(tmp_path: Path) -> None:
    settings = load(folder(tmp_path, accounts=resources.text("config", "accounts.example.yaml")), {})

    assert [(a.market, a.broker_id) for a in settings.accounts] == [("S", "9A95"), ("F", "F002000")]
    assert AccountsFile.model_fields.keys() == {"accounts"}


def test_the_settings_are_frozen() -> None:
    settings = load(environ={})

    with pytest.raises(ValueError, match="frozen"):
        settings.env = "production"


def test_the_rules_are_those_of_the_settings(tmp_path: Path) -> None:
    text = "combo: legs\nwindow: {sessions: 4}\nattribution: {custom_field: mapped, custom_field_map: {M1: momentum}}\npositions: {max_lots: 9}"
    rules = load(folder(tmp_path, execution=text), {}).rules()

    assert (rules.combo, rules.window_sessions, rules.max_lots) == ("legs", 4, 9)
    assert (rules.attribution.custom_field, rules.attribution.custom_field_map) == ("mapped", {"M1": "momentum"})
    assert rules.cost_methods["derivative"] == "fifo"
    assert rules.fees.odd_lots == {"Odd", "IntradayOdd"}


def test_every_call_makes_rules_with_tables_of_their_own() -> None:
    settings = load(environ={})

    assert settings.rules().calendar is not settings.rules().calendar


# --- precedence ------------------------------------------------------------------------------------------------------------------------


def test_secret_files_go_before_the_environment_and_that_before_yaml(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "EXECPOS_CLICKHOUSE__URL").write_text("http://u:p@secret:8123\n")
    (secrets / "someone-elses-secret").write_text("not ours")
    environ = {
        "EXECPOS_CLICKHOUSE__URL": "http://environment:8123",
        "EXECPOS_LEDGER__BATCH_MAX": "7",
        "EXECPOS_SECRETS_DIR": str(secrets),
        "PATH": "/bin",
    }
    text = "clickhouse: {url: 'http://yaml:8123', database: from_yaml}\nledger: {batch_max: 5, poll_ms: 20}"

    settings = load(folder(tmp_path, execution=text), environ)

    assert settings.clickhouse.url == "http://u:p@secret:8123"
    assert settings.clickhouse.database == "from_yaml"
    assert (settings.ledger.batch_max, settings.ledger.poll_ms) == (7, 20)
    assert settings.overrides == {
        "clickhouse.url": "secret file EXECPOS_CLICKHOUSE__URL",
        "ledger.batch_max": "environment variable EXECPOS_LEDGER__BATCH_MAX",
    }


def test_mappings_and_numbers_come_from_the_environment_too() -> None:
    environ = {"EXECPOS_KAFKA__CLIENT": '{"security.protocol": "SSL"}', "EXECPOS_HALT__AUDIT_BREACH": "false", "EXECPOS_ENV": "replay"}

    settings = load(environ=environ)

    assert settings.kafka.client == {"security.protocol": "SSL"}
    assert (settings.halt.audit_breach, settings.env) == (False, "replay")


def test_the_folder_may_come_from_the_environment_and_lack_files(tmp_path: Path) -> None:
    made = folder(tmp_path, execution="env: production")

    settings = load(environ={"EXECPOS_CONFIG_DIR": str(made)})

    assert settings.env == "production"
    assert settings.origins["execution.yaml"] == str(made / "execution.yaml")
    assert settings.origins["fees.yaml"] == "config/fees.yaml"


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert load(folder(tmp_path, execution="# nothing\n"), {}).ledger == load(environ={}).ledger


# --- mistakes --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "env: simulation\nledger:\n  batch_maxx: 5\n",
            "execution.yaml:3: ledger.batch_maxx: unknown key, did you mean batch_max?; allowed here: batch_max, instance",
        ),
        ("ledgr: {}\n", "execution.yaml:1: ledgr: unknown key, did you mean ledger?; allowed here: attribution, bridge"),
        ("\nenv: live\n", "execution.yaml:2: env: must be 'production', 'simulation' or 'replay', and not 'live'"),
        ("ledger:\n  poll_ms: '50'\n", "execution.yaml:2: ledger.poll_ms: must be integer, and not '50'"),
        ("ledger:\n  poll_ms: 0.5\n", "execution.yaml:2: ledger.poll_ms: must be integer, and not 0.5"),
        ("ledger:\n  poll_ms: true\n", "execution.yaml:2: ledger.poll_ms: must be integer, and not True"),
        ("halt:\n  recovery_seconds: 120s\n", "execution.yaml:2: halt.recovery_seconds: must be number, and not '120s'"),
        ("halt:\n  estimated_share: 20\n", "execution.yaml:2: halt.estimated_share: must be less than or equal to 1, and not 20"),
        ("halt:\n  audit_breach: yes\n", "execution.yaml:2: halt.audit_breach: must be boolean, and not 'yes'"),
        ("ledger: 5\n", "execution.yaml:1: ledger: must be an object"),
        ("kafka:\n  bootstrap_servers: localhost\n", "execution.yaml:2: kafka.bootstrap_servers:"),
        ("kafka:\n  prefix: a/b\n", "execution.yaml:2: kafka.prefix:"),
        (
            "reconciliation:\n  auto_correct:\n    limits:\n      STK: {quantity: 1}\n",
            "execution.yaml:4: reconciliation.auto_correct.limits.STK.notional_twd: is missing",
        ),
        (
            "reconciliation:\n  auto_correct:\n    limits:\n      STOCK: {quantity: 1, notional_twd: 1}\n",
            "execution.yaml:4: reconciliation.auto_correct.limits.STOCK",
        ),
        (
            "reconciliation:\n  auto_correct:\n    limits:\n      STK:\n        quantity: 1\n        notional_twd: 1\n        notional: 1\n",
            "execution.yaml:7: reconciliation.auto_correct.limits.STK.notional: unknown key, did you mean notional_twd?; allowed here: notional_twd, quantity",
        ),
        ("- 1\n", "execution.yaml:1: the file must be a mapping"),
        ("env: [\n", "execution.yaml:2: not valid YAML"),
        ("env: replay\nenv: production\n", "execution.yaml:2: the key 'env' stands on line 1 already"),
        ("1: x\n", "execution.yaml:1: the key '1' must be text"),
        ("kafka: &a\n  client: *a\n", "execution.yaml:1: nested too deeply"),
        ("env: !!python/object:os.system x\n", "execution.yaml:1: not valid YAML"),
        ("halt: {heartbeat_gap_s: !!float .inf}\n", "execution.yaml:1: halt.heartbeat_gap_s"),
    ],
)
def test_a_mistake_in_a_file_is_named_by_line_key_and_what_is_allowed(tmp_path: Path, text: str, expected: str) -> None:
    found = mistakes(tmp_path, execution=text)

    assert len(found) == 1
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "ledger:\n  transaction_timeout_ms: 30000\n  session_timeout_ms: 30000\n",
            "execution.yaml:3: ledger.session_timeout_ms: 30000 must be above ledger.transaction_timeout_ms (30000)",
        ),
        (
            "reconciler:\n  session_timeout_ms: 9000\n",
            "execution.yaml:2: reconciler.session_timeout_ms: 9000 must be above reconciler.transaction_timeout_ms (10000)",
        ),
        (
            "reconciliation:\n  auto_correct:\n    limits:\n      FUT:\n        quantity: 6\n        notional_twd: 1\n",
            "execution.yaml:5: reconciliation.auto_correct.limits.FUT.quantity: 6 must not be above halt.unexplained_quantity.FUT (5)",
        ),
        (
            "halt:\n  unexplained_notional_twd: {STK: 1, ETF: 2000000, WRT: 500000, FUT: 25000000, OPT: 500000}\n",
            "execution.yaml:1: reconciliation.auto_correct.limits.STK.notional_twd: 500000 must not be above",
        ),
        (
            "halt:\n  daily_auto_correct_notional_twd_per_account: 1\n",
            "execution.yaml:1: reconciliation.auto_correct.daily_notional_twd_per_account: 5000000 must not be above",
        ),
        ("reconciliation:\n  settle_s: 300\n", "execution.yaml:2: reconciliation.settle_s: 300.0 must be below"),
        (
            "bridge:\n  heartbeat_interval_s: 6\n",
            "execution.yaml:2: bridge.heartbeat_interval_s: 6.0 must be at most half of halt.heartbeat_gap_s (10), or it halts",
        ),
        (
            "bridge:\n  lease_s: 2\n  request_poll_ms: 600\n",
            "execution.yaml:2: bridge.lease_s: 2.0 s must be at least four times bridge.request_poll_ms (600), or publishing stutters",
        ),
        (
            "bridge:\n  journal:\n    retain_bytes: 1048576\n",
            "execution.yaml:3: bridge.journal.retain_bytes: 1048576 must be 0 or at least bridge.journal.segment_bytes (67108864)",
        ),
        ("ledger:\n  poll_ms: 1001\n", "execution.yaml:2: ledger.poll_ms: 1001 must not be above ledger.progress_interval_ms (1000)"),
        ("halt:\n  progress_age_s: 0.9\n", "execution.yaml:2: halt.progress_age_s: 0.9 s must be at least twice"),
        ("attribution:\n  custom_field: mapped\n", "execution.yaml:1: attribution.custom_field_map: must not be empty"),
        ("attribution:\n  custom_field_map: {a: b}\n", "execution.yaml:2: attribution.custom_field_map: has no effect"),
        ("kafka:\n  client:\n    acks: 1\n", "execution.yaml:3: kafka.client.acks: execpos sets it itself"),
        (
            "positions:\n  cost_method: {cash: fifo, margin: fifo, short: fifo, sbl: fifo, derivative: fifo}\n",
            "execution.yaml:2: positions.cost_method: book 'emerging' of instruments.yaml has no cost method",
        ),
        (
            "halt:\n  unexplained_quantity: {STK: 9999, ETF: 9999, WRT: 9999, FUT: 5}\n",
            "execution.yaml:2: halt.unexplained_quantity: security type OPT",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = mistakes(tmp_path, execution=text)

    assert len(found) == 1
    assert found[0].startswith(expected)


def test_a_cost_method_for_a_book_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    text = edited("execution.yaml", ("derivative: fifo", "derivative: fifo\n    cahs: fifo"))

    (found,) = mistakes(tmp_path, execution=text)

    assert re.match(r"execution.yaml:\d+: positions.cost_method.cahs: unknown book; known: cash, derivative", found)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("STOCK.cash", "unknown security type 'STOCK'; known: ETF, FUT"),
        ("STK.cahs", "unknown book 'cahs'; known: cash, derivative"),
        ("STK.", "unknown book ''; known: cash"),
    ],
)
def test_a_cost_method_for_a_type_or_its_book_that_does_not_exist_is_refused(tmp_path: Path, key: str, expected: str) -> None:
    text = edited("execution.yaml", ("derivative: fifo", f"derivative: fifo\n    {key}: fifo"))

    (found,) = mistakes(tmp_path, execution=text)

    assert expected in found
    assert f"positions.cost_method.{key}: " in found


def test_a_cost_method_may_be_said_for_a_security_type_and_for_one_in_its_book(tmp_path: Path) -> None:
    text = edited("execution.yaml", ("derivative: fifo", "derivative: fifo\n    STK.cash: day_pair_average\n    OPT: average"))
    (tmp_path / "execution.yaml").write_text(text, "utf-8")

    methods = load(tmp_path, environ={}).rules().cost_methods

    assert (methods["STK.cash"], methods["OPT"], methods["cash"]) == ("day_pair_average", "average", "average")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("taxes: {stock: stock_day_trade}", "taxes: {stock: stock_daytrade}", "day_trade.taxes.stock: unknown tax 'stock_daytrade'"),
        ("books: [cash]", "books: [cahs]", "day_trade.books: unknown book 'cahs'"),
        ("lots: [Common, Fixing]", "lots: [Comon]", "day_trade.lots: unknown order lot 'Comon'; known: Block"),
        ("option: option_settlement}", "option: optional}", "settlement.option: unknown tax 'optional'"),
    ],
)
def test_a_rule_of_taxes_that_names_what_does_not_exist_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    (found,) = mistakes(tmp_path, fees=edited("fees.yaml", (old, new)))

    assert expected in found


INSTRUMENTS = (
    ("fee: stock, tax: stock}", "fee: stok, tax: stock}", "products.stock.fee: 'stok' is not in fees.yaml; known: future, option, stock"),
    ("fee: stock, tax: etf}", "fee: stock, tax: efts}", "products.etf.tax: 'efts' is not in fees.yaml"),
    ("TXF: index_future_200", "TXF: index_future_2000", "roots.TXF: unknown product 'index_future_2000'; known: bond_etf"),
    ("TXF: index_future_200", "TXF: stock", "roots.TXF: product 'stock' is of market S, and here only F may stand"),
    ("TXF: index_future_200", "TXFF6: index_future_200", "roots.TXFF6.[key]: "),
    ("'91\\d{2}|91\\d{4}'", "'91(\\d{2}'", "stocks.5.pattern: '91(\\\\d{2}' is no regular expression"),
    ("Netting: cash", "Netting: derivative", "books.Netting: 'derivative' is the book of futures and options"),
    ("Odd: 1\n  Intra", "Odd: 0\n  Intra", "lots.Odd: must be greater than or equal to 1, and not 0"),
    (
        "overrides: []",
        "overrides: [{full_code: CD1F6, product: stock, multiplier: 2100}]",
        "overrides.0.product: product 'stock' is of market S",
    ),
    (
        "overrides: []",
        "overrides: [{full_code: CD1F6, product: stock_future, valid_from: 2026-06-01, valid_to: 2026-05-01}]",
        "overrides.0.valid_to: 2026-05-01 is before valid_from 2026-06-01",
    ),
    (
        "multiplier: 1, currency: TWD, fee: stock, tax: exempt",
        "multiplier: 1000, currency: TWD, fee: stock, tax: exempt",
        "products.reit.multiplier: must be 1 for stocks",
    ),
)


@pytest.mark.parametrize(("old", "new", "expected"), INSTRUMENTS)
def test_a_mistake_in_the_instruments_is_named(tmp_path: Path, old: str, new: str, expected: str) -> None:
    (found,) = mistakes(tmp_path, instruments=edited("instruments.yaml", (old, new)))

    place, _, what = found.partition(": ")
    assert re.fullmatch(r"instruments\.yaml:\d+", place)
    assert what.startswith(expected)


FEES = (
    ("valid_to: 2026-12-31", "valid_to: 2026-12-30", "taxes.bond_etf.1: its valid_from must be the day after"),
    ("valid_from: 2027-01-01", "valid_from: 2027-01-02", "taxes.bond_etf.1: its valid_from must be the day after"),
    (", valid_to: 2026-12-31", "", "taxes.bond_etf.1: its valid_from must be the day after"),
    ("valid_from: 2027-01-01", "valid_from: 2027-01-01, valid_to: 2030-01-01", "taxes.bond_etf.1.valid_to: the last entry must have none"),
    (
        "rate_per_billion: 3_000_000, sides: [SELL]",
        "rate_per_billion: 0.003, sides: [SELL]",
        "taxes.stock.0.rate_per_billion: must be integer",
    ),
    (
        "rate_per_billion: 3_000_000, sides: [SELL]",
        "rate_per_billion: 3_000_000, sides: [SELL], books: [cash]",
        "taxes.stock: needs an entry for every book",
    ),
    (
        "rate_per_billion: 3_000_000, sides: [SELL]",
        "rate_per_billion: 3_000_000, sides: [sell]",
        "taxes.stock.0.sides.0: must be 'BUY' or 'SELL', and not 'sell'",
    ),
    ("valid_to: 2026-12-31", "valid_to: 2026-13-31", "taxes.bond_etf.0.valid_to: must be "),
    ("rounding: floor}", "rounding: down}", "fees.stock.0.rounding: must be 'floor', 'half_up' or 'none', and not 'down'"),
)


@pytest.mark.parametrize(("old", "new", "expected"), FEES)
def test_a_mistake_in_the_fees_is_named(tmp_path: Path, old: str, new: str, expected: str) -> None:
    (found,) = mistakes(tmp_path, fees=edited("fees.yaml", (old, new)))

    place, _, what = found.partition(": ")
    assert re.fullmatch(r"fees\.yaml:\d+", place)
    assert what.startswith(expected)


CALENDAR = (
    ("- 2026-05-01  #", "- 2026-05-02  #", "closed.*.29: 2026-05-02 is a Saturday; here stand only Mondays to Fridays"),
    ("- 2026-05-01  #", "- 2027-05-03  #", "closed.*.29: 2027-05-03 is outside known_from..known_until"),
    ("- 2026-02-18\n", "- 2026-02-17\n", "closed.*.23: 2026-02-17 stands twice"),
    ("extra: {}", "extra: {S: [2026-05-25]}", "extra.S.0: 2026-05-25 is a Monday; here stand only weekends"),
    ("start: '09:00'", "start: '9:00'", "sessions.0.start: "),
    ("start: '09:00'", "start: 09:00:00", "sessions.0.start: "),
    ("known_until: 2026-12-31", "known_until: 2026-02-30", "known_until: "),
)


@pytest.mark.parametrize(("old", "new", "expected"), CALENDAR)
def test_a_mistake_in_the_calendar_is_named(tmp_path: Path, old: str, new: str, expected: str) -> None:
    found = mistakes(tmp_path, calendar=edited("calendar.yaml", (old, new)))

    assert any(re.match(r"calendar\.yaml:\d+: ", what) and expected in what for what in found)


def test_an_account_that_stands_twice_is_refused(tmp_path: Path) -> None:
    entry = "  - {market: S, broker_id: 9A95, account_id: '1'}\n"

    (found,) = mistakes(tmp_path, accounts=f"accounts:\n{entry}{entry}")

    assert found == "accounts.yaml:3: accounts.1: S|9A95|1 stands twice"


def test_several_mistakes_are_named_at_once(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path, execution="env: live\nledger: {poll_ms: x}\n", fees=edited("fees.yaml", ("rounding: floor}", "rounding: down}"))
    )

    assert len(found) == 3


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("EXECPOS_LEDGR__BATCH_MAX", "5", "unknown setting; they begin with one of EXECPOS_ATTRIBUTION"),
        ("EXECPOS_LEDGER__BATCH_MAXX", "5", "unknown key, did you mean batch_max?"),
        ("EXECPOS_LEDGER__BATCH_MAX", "five", "must be "),
        ("EXECPOS_LEDGER__SESSION_TIMEOUT_MS", "10000", "must be above ledger.transaction_timeout_ms"),
        ("EXECPOS_EVN", "production", "unknown setting"),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(tmp_path: Path, name: str, value: str, expected: str) -> None:
    (found,) = mistakes(tmp_path, {name: value})

    assert f"environment variable {name}: " in found
    assert expected in found


def test_a_mapping_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, {"EXECPOS_KAFKA__CLIENT": "acks=1"})

    assert "environment variable" in found
    assert "JSON" in found


def test_a_file_that_is_not_known_and_a_folder_that_is_not_there_are_refused(tmp_path: Path) -> None:
    assert "unknown file; known: accounts.yaml" in mistakes(tmp_path, execution="env: replay", executoin="env: production")[0]
    with pytest.raises(ConfigError, match="no such folder"):
        load(tmp_path / "nowhere", {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds none of"):
        load(tmp_path / "empty", {})


def test_bytes_that_are_no_text_and_files_that_are_too_large_are_refused(tmp_path: Path) -> None:
    made = folder(tmp_path, execution="")
    (made / "execution.yaml").write_bytes(b"env: \xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(made, {})
    (made / "execution.yaml").write_bytes(b"#" * 2_000_000)
    with pytest.raises(ConfigError, match="larger than"):
        load(made, {})


# --- secrets ---------------------------------------------------------------------------------------------------------------------------


def test_secrets_are_hidden_when_shown() -> None:
    client = '{"sasl.password": "hunter2", "ssl.key.pem": "hunter2", "sasl.username": "desk"}'
    settings = load(environ={"EXECPOS_KAFKA__CLIENT": client, "EXECPOS_CLICKHOUSE__URL": "http://desk:hunter2@db:8123"})

    shown = redacted(settings)

    assert "hunter2" not in yaml.safe_dump(shown)
    assert shown["kafka"]["client"]["sasl.username"] == "desk"
    assert shown["clickhouse"]["url"] == "http://***@db:8123"
    assert shown["reconciliation"]["auto_correct"]["daily_count_per_key"] == 3


def test_a_mistake_in_a_secret_does_not_show_it(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "EXECPOS_CLICKHOUSE__URL").write_text("https//u:hunter2@db")
    (secrets / "EXECPOS_KAFKA__CLIENT").write_text('{"sasl.password": ["hunter2"]}')

    found = mistakes(tmp_path, {"EXECPOS_SECRETS_DIR": str(secrets)})

    assert found
    assert all("secret file EXECPOS_" in what for what in found)
    assert "hunter2" not in "".join(found)


def test_settings_hold_no_more_than_the_files() -> None:
    assert Settings.model_fields.keys() - Execution.model_fields.keys() == {
        "instruments",
        "fees",
        "calendar",
        "accounts",
        "origins",
        "overrides",
    }
