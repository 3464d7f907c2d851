"""No order can be placed, changed or cancelled: no code names such a call, and none is made when everything is driven."""

import ast
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import pytest

from execpos.brokers.protocol import BrokerAccount, BrokerError
from execpos.brokers.shioaji.api import Api
from shioaji_fake import ORDER_METHODS, Rig, Word
from shioaji_library import library

PACKAGE = Path(__file__).parents[2] / "processors" / "execpos"
ADAPTER = PACKAGE / "brokers" / "shioaji"

# Calls of the library that move an order or earmark shares or money for one, old names included; what it makes an order of; and the one
# that activates the certificate without which the broker takes no order.
FORBIDDEN = {
    *ORDER_METHODS,
    "update_qty",
    "update_price",
    "reserve_stock",
    "reserve_earmarking",
    "activate_ca",
    "StockOrder",
    "FuturesOrder",
    "ComboOrder",
}
# These stand for kinds of reports, in texts.
_KINDS_OF_REPORTS = {"StockOrder", "FuturesOrder"}
# Paths of the library's HTTP interface that move orders.
FORBIDDEN_PARTS = ("/order/place", "/order/update", "/order/cancel", "place_order", "cancel_order", "update_order", "comboorder")


def modules(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found
    return found


def words(tree: ast.AST) -> list[tuple[int, str, bool]]:
    """Return (line, word, whether it stands in a text) of everything in a module that could name a call."""
    found: list[tuple[int, str, bool]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.append((node.lineno, node.id, False))
        elif isinstance(node, ast.Attribute):
            found.append((node.lineno, node.attr, False))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append((node.lineno, node.name, False))
        elif isinstance(node, ast.alias):
            found += [(node.lineno, part, False) for part in (*node.name.split("."), node.asname or "")]
        elif isinstance(node, ast.keyword | ast.arg):
            found.append((node.lineno, node.arg or "", False))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append((node.lineno, node.value, True))
    return found


def offences(source: str) -> list[str]:
    return [
        f"{line}: {word[:60]}"
        for line, word, text in words(ast.parse(source))
        if (word in FORBIDDEN and not (text and word in _KINDS_OF_REPORTS)) or (text and any(part in word for part in FORBIDDEN_PARTS))
    ]


@pytest.mark.parametrize("module", modules(PACKAGE), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_names_a_call_that_moves_an_order(module: Path) -> None:
    assert offences(module.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "api.place_order(contract, order)",
        "getattr(api, 'cancel_order')(trade)",
        "from shioaji import StockOrder",
        "import shioaji.place_comboorder",
        "def update_order(): ...",
        "post('http://host/api/v1/order/place_order')",
        "call(place_order=1)",
        "api.activate_ca('x')",
    ],
)
def test_the_search_finds_what_it_is_for(source: str) -> None:
    assert offences(source)


@pytest.mark.parametrize("module", modules(ADAPTER), ids=lambda path: path.name)
def test_the_adapter_reaches_the_library_by_written_names_alone(module: Path) -> None:
    """A name that is made at run time could be any call: `getattr` with anything but a fixed name is not allowed, nor are its relatives."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    dynamic = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if called in {"eval", "exec", "methodcaller", "attrgetter", "__getattribute__", "__import__", "vars", "globals"}:
            dynamic.append(f"{node.lineno}: {called}")
        if called == "getattr" and not isinstance(node.args[1], ast.Constant):
            dynamic.append(f"{node.lineno}: getattr of {ast.unparse(node.args[1])}")
        if called == "import_module" and not isinstance(node.args[0], ast.Constant):
            dynamic.append(f"{node.lineno}: import_module")

    # Both read: a field of a row whose name the caller wrote, and a kind of contracts.
    allowed = {"fields.py": ["getattr of name"], "quotes.py": ["getattr of kind"]}
    assert [each.split(": ", 1)[1] for each in dynamic] == allowed.get(module.name, [])


def test_the_clients_type_has_no_such_call() -> None:
    assert not FORBIDDEN & set(dir(Api))
    assert get_type_hints(Api.login)


def test_the_double_has_every_such_call_of_the_real_library() -> None:
    """So that the test below would notice."""
    order_calls = {name for name in dir(library().Shioaji) if name in FORBIDDEN and name[0].islower()} - {"activate_ca"}

    assert order_calls == set(ORDER_METHODS)


def test_no_order_is_moved_when_everything_is_driven() -> None:
    rig = Rig()
    rig.desk.contracts = SimpleNamespace(status=Word("Fetched"), stocks={"2330": SimpleNamespace(code="2330")}, futures={}, options={})
    broker = rig.up()

    def everything() -> None:
        for account in (*broker.accounts(), BrokerAccount("S", "x", "y")):
            for question in (
                lambda account=account: broker.update_status(account),
                lambda account=account: broker.order_deal_records(account),
                lambda account=account: broker.trades(account),
                lambda account=account: broker.cache_health(account),
                lambda account=account: broker.positions(account),
                lambda account=account: broker.position_lots(account, 0),
                lambda account=account: broker.profit_loss(account, date(2026, 5, 1), date(2026, 5, 2)),
                lambda: broker.watch({("S", "2330"), ("F", "TXFF6")}),
                lambda: broker.watch(set()),
                broker.budget,
                broker.finished,
                broker.maintain,
            ):
                try:
                    question()
                except BrokerError:
                    continue

    everything()
    for name in ("TokenError", "SystemMaintenance", "ShioajiTimeoutError", "ServerError", "OrderOutcomeUnknownError"):
        good = dict(rig.desk.answers)
        rig.desk.answers = dict.fromkeys(good, type(name, (Exception,), {})("text"))
        everything()
        rig.run(30)
        rig.desk.answers = good
        rig.run(1_000)
        assert broker.session == "up"
        everything()
    for code in range(20):
        on_event: Any = rig.desk.client.on_event
        on_event(0, code, "", "")
    rig.run(90_000, step_s=60)
    broker.stop()

    assert len(rig.desk.calls) > 100
    assert rig.desk.asked("ORDER") == []
    with pytest.raises(AssertionError, match="about to be moved"):
        rig.desk.client.place_order()
    assert len(rig.desk.asked("ORDER")) == 1
