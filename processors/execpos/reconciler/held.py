"""What the reconciler keeps of one account between two transactions, and which records it reads for it."""

import msgspec

from execpos.codecs.avro import Decoder
from execpos.codecs.registry import Schemas
from execpos.domain.events import (
    BridgeHeartbeat,
    BrokerSnapshot,
    Command,
    CorrectionOutcome,
    DeadLetter,
    Discrepancy,
    FillEvent,
    PositionSnapshot,
    Progress,
    TradingControl,
)
from execpos.domain.reconciliation.state import State


class Held(msgspec.Struct, frozen=True):
    """One account; a change is a new one, so that an abort goes back by forgetting it.

    Attributes:
        partition: of the account in every account-keyed topic.
        state: what the domain knows.
        heard: the next offset of exec.control from which others were not heard yet.
        bridge_id: whose heartbeat came last; empty before the first.
        books: parts of a PositionSnapshot that is not whole yet.
        answers: parts of a BrokerSnapshot that is not whole yet.
        word: the state of the account's own TradingControl, as last written; empty before the first.
        equal_us: when a round last ended EQUAL, or when the account was first seen here, µs UTC.
        differences: discrepancy id -> kind, of those that are open.
    """

    partition: int
    state: State
    heard: int
    bridge_id: str = ""
    books: tuple[PositionSnapshot, ...] = ()
    answers: tuple[BrokerSnapshot, ...] = ()
    word: str = ""
    equal_us: int = 0
    differences: dict[str, str] = {}


class Decoders(msgspec.Struct, frozen=True):
    """Readers of every record that the reconciler consumes or restores from."""

    commands: Decoder[Command]
    broker_snapshots: Decoder[BrokerSnapshot]
    snapshots: Decoder[PositionSnapshot]
    outcomes: Decoder[CorrectionOutcome]
    heartbeats: Decoder[BridgeHeartbeat]
    fills: Decoder[FillEvent]
    progress: Decoder[Progress]
    dead_letters: Decoder[DeadLetter]
    discrepancies: Decoder[Discrepancy]
    controls: Decoder[TradingControl]

    @classmethod
    def of(cls, schemas: Schemas) -> "Decoders":
        """Return readers of all versions that the registry has."""
        writers = schemas.writers
        return cls(
            commands=Decoder(Command, writers[Command]),
            broker_snapshots=Decoder(BrokerSnapshot, writers[BrokerSnapshot]),
            snapshots=Decoder(PositionSnapshot, writers[PositionSnapshot]),
            outcomes=Decoder(CorrectionOutcome, writers[CorrectionOutcome]),
            heartbeats=Decoder(BridgeHeartbeat, writers[BridgeHeartbeat]),
            fills=Decoder(FillEvent, writers[FillEvent]),
            progress=Decoder(Progress, writers[Progress]),
            dead_letters=Decoder(DeadLetter, writers[DeadLetter]),
            discrepancies=Decoder(Discrepancy, writers[Discrepancy]),
            controls=Decoder(TradingControl, writers[TradingControl]),
        )
