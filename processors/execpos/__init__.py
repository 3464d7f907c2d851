"""Exactly-once execution events and position state for Shioaji on Kafka."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from execpos.client.gate import RiskGate
    from execpos.client.intents import IntentWriter
    from execpos.client.runner import StrategyRunner
    from execpos.client.view import PositionView

__version__ = "0.1.0.dev0"

__all__ = ["IntentWriter", "PositionView", "RiskGate", "StrategyRunner", "__version__"]

# Where each name of the client library is; imported when it is asked for, so that `import execpos` stays light.
_CLIENT = {"IntentWriter": "intents", "PositionView": "view", "RiskGate": "gate", "StrategyRunner": "runner"}


def __getattr__(name: str) -> object:
    if name not in _CLIENT:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module  # noqa: PLC0415 (as above)

    return getattr(import_module(f"{__name__}.client.{_CLIENT[name]}"), name)
