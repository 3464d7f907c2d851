"""Which symbols the accounts of a login hold, as exec.positions says."""

from collections.abc import Callable, Collection

from execpos.bridge.marks import Symbol
from execpos.domain.events import PositionState
from execpos.domain.ids import NET, WHOLE_ACCOUNT, split

POSITIONS_TOPIC = "exec.positions.v1"


class Held:
    """Follows the NET rows. `see` on one thread; `symbols` may be read by any."""

    def __init__(self, accounts: Callable[[], Collection[str]]) -> None:
        self._accounts = accounts
        self._rows: dict[bytes, Symbol] = {}
        self.symbols: frozenset[Symbol] = frozenset()
        """Market and full code of what is held now; replaced as a whole."""

    def see(self, key: bytes, state: PositionState | None) -> None:
        """Take in a record of the topic; None is a key that was forgotten."""
        before = self._rows.pop(key, None)
        if (
            state is not None
            and state.strategy_id == NET
            and state.quantity
            and state.symbol != WHOLE_ACCOUNT
            and state.account in self._accounts()
        ):
            market = split(state.account)[1]
            self._rows[key] = ("F" if market == "F" else "S", state.symbol)
        if self._rows.get(key) != before:
            self.symbols = frozenset(self._rows.values())
