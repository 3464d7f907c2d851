"""Who a bridge's name belongs to. Pure.

Each start of a bridge takes an incarnation above every one that it knows of its name, and a random claim. Of two claims the greater one
holds: the higher incarnation, and of equal ones the claim that sorts later. Both sides compute the same, so exactly one goes on.
"""

from typing import NamedTuple

from execpos.domain.events import BridgeHeartbeat
from execpos.errors import Fenced


class Claim(NamedTuple):
    """One start of a bridge; claims compare as they win."""

    incarnation: int
    claim_id: str


class Claims:
    """Follows the heartbeats of one bridge's name. One thread.

    Args:
        bridge_id: the name.
        known_incarnation: the highest one that the journal knows.
        claim_id: random; of one length for all.
    """

    def __init__(self, bridge_id: str, known_incarnation: int, claim_id: str) -> None:
        self._bridge_id = bridge_id
        self._claim_id = claim_id
        self._highest = Claim(known_incarnation, "")
        self.own: Claim | None = None
        """What this start claims; None before `stake`."""

    def see(self, heartbeat: BridgeHeartbeat) -> None:
        """Take in a heartbeat of any bridge.

        Raises:
            Fenced: the name belongs to another start than this one.
        """
        if heartbeat.bridge_id != self._bridge_id:
            return
        found = Claim(heartbeat.incarnation, heartbeat.claim_id)
        self._highest = max(self._highest, found)
        if self.own is not None and found > self.own:
            raise Fenced(
                f"another bridge has claimed the name {self._bridge_id!r}: its incarnation is {found.incarnation}, "
                f"and this one's {self.own.incarnation}",
                hint="one bridge runs a broker login: stop the other one, or give this one a bridge.id of its own; its journal is kept",
                bridge_id=self._bridge_id,
                incarnation=found.incarnation,
            )

    def stake(self) -> Claim:
        """Return this start's claim, above everything seen until now; the same one at each call."""
        if self.own is None:
            self.own = Claim(self._highest.incarnation + 1, self._claim_id)
        return self.own
