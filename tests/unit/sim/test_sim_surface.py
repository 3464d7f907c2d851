"""The simulated client has the surface of the real one: names and order of arguments, as the library's own stub has them.

The last arguments of a method may be missing, where the simulator has no use for them.
"""

import ast
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from execpos.brokers.sim.api import SimApi

_OWN = {name for name in vars(SimApi) if name.startswith(("_", "sim_"))}


def source() -> ast.Module:
    """Return the library's stub; the module itself is not imported."""
    spec = importlib.util.find_spec("shioaji")
    if spec is None or spec.origin is None:
        pytest.skip("the broker's library is not installed")
    return ast.parse((Path(spec.origin).parent / "_core.pyi").read_text(encoding="utf-8"))


def stub() -> dict[str, list[str]]:
    """Return the arguments of each method of the real client."""
    tree = source()
    (client,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Shioaji"]
    methods = [node for node in client.body if isinstance(node, ast.FunctionDef)]
    return {node.name: [each.arg for each in (*node.args.args, *node.args.kwonlyargs)][1:] for node in methods}


def test_every_method_of_the_simulated_client_is_one_of_the_real_client() -> None:
    real = stub()
    for name in vars(SimApi).keys() - _OWN:
        assert name in real, name
        member = vars(SimApi)[name]
        if not isinstance(member, property):
            mine = list(inspect.signature(member).parameters)[1:]
            assert mine == real[name][: len(mine)], name


def test_nothing_of_the_simulated_client_trades() -> None:
    assert not {name for name in vars(SimApi) if "order" in name} - {
        "order_deal_records",
        "set_order_callback",
        "clear_order_callback",
        "_on_order",
    }
    assert {"place_order", "update_order", "cancel_order", "place_comboorder"} <= stub().keys()


def fields(tree: ast.Module, name: str) -> set[str]:
    """Return the fields of an answer's class: what is annotated, and properties."""
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    made = {node.target.id for node in found.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    return made | {node.name for node in found.body if isinstance(node, ast.FunctionDef) and node.decorator_list}


def test_answers_have_the_fields_of_the_real_ones(stage: Callable[..., Any]) -> None:
    tree = source()
    played = stage(limits=False).login().play()
    api = played.api
    stock, futures = played.account(), played.account("F")
    answers: dict[str, Any] = {}
    for kind, account in (("Stock", stock), ("Future", futures)):
        answers[f"{kind}Position"] = api.list_positions(account)[0]
        answers[f"{kind}PositionDetail"] = api.list_position_detail(account, 0)[0]
        answers[f"{kind}ProfitLoss"] = api.list_profit_loss(account)[0]
        answers[f"{kind}ProfitDetail"] = api.list_profit_loss_detail(account, 0)[0]
        answers[f"{kind}ProfitLossSummary"] = api.list_profit_loss_summary(account).profitloss_summary[0]
    answers["ProfitLossTotal"] = api.list_profit_loss_summary().total
    answers["ProfitLossSummaryTotal"] = api.list_profit_loss_summary()
    answers["AccountBalance"] = api.account_balance()
    answers["Margin"] = api.margin()
    answers["TradingLimits"] = api.trading_limits()
    answers["SettlementV1"] = api.settlements()[0]
    answers["UsageOut"] = api.usage()
    answers["Snapshot"] = api.snapshots([next(iter(api.contracts.stocks))])[0]

    for name, answer in answers.items():
        assert set(answer.keys()) == fields(tree, name), name
