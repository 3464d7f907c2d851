"""What the library says of its connection: the codes of its events, and what they mean here."""

from execpos.brokers.protocol import ConnectionKind

# The library's connection is Solace's; these are its codes of session events.
_UP = 0
_DOWN = 1
_CONNECT_FAILED = 2
_RECONNECTING = 12
_RECONNECTED = 13
# The messages go through another router now, and some may be lost: a reconnection, as far as what was missed is concerned.
_ROUTER_CHANGED = 17

KINDS: dict[int, ConnectionKind] = {
    _UP: "up",
    _DOWN: "down",
    _CONNECT_FAILED: "down",
    _RECONNECTING: "reconnecting",
    _RECONNECTED: "reconnected",
    _ROUTER_CHANGED: "reconnected",
}
"""Code -> what it means. Every other one is `other`: a message refused (3), a subscription failed (4) or done (16), a property (18, 19)."""
