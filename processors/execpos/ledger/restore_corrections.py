"""Takes corrections back at a restart, from their outcomes: which ids were answered, and the entries that are no fills.

Synthetic fills come back with the other fills, and what a corporate action made of its rows stands in their bases.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from execpos.codecs.avro import Decoder
from execpos.domain import ids
from execpos.domain.correction_rules import entry_of_outcome
from execpos.domain.events import CorrectionOutcome
from execpos.errors import ContractError
from execpos.ledger.state import PartitionState

if TYPE_CHECKING:
    from execpos.ledger.restore import Topics


def restore(states: Mapping[int, PartitionState], context: "Topics", topic: str, decode: Decoder[CorrectionOutcome]) -> None:
    """Read the outcomes of `states`' partitions into their accounts, whose rows are there already and whose fills may follow. May block.

    Raises:
        ContractError: an outcome changed a row that was never published.
    """
    for done, message in enumerate(context.read_all(topic, list(states))):
        if done % 1000 == 0:
            context.progress("corrections", done, 0)
        outcome = decode(message.value() or b"")
        account = states[message.partition()].pipeline.account(outcome.account)
        ordinal = ids.session_ordinal(outcome.session_id)
        if outcome.reason != "outside_window":
            account.corrections[outcome.correction_id] = ordinal
        account.next_seq = max((account.next_seq, *(seq + 1 for seq in outcome.seqs)))
        for item in outcome.entries:
            position = account.book.rows.get((item.symbol, item.book, item.strategy_id))
            if position is None:
                if ordinal < account.oldest_session():
                    continue  # a row that was flat for so long that it was forgotten
                what = f"correction {outcome.correction_id} has no row for {item.strategy_id} of {item.symbol} on its partition"
                raise ContractError(what, hint="the state of this partition cannot be trusted; rebuild it from exec.raw as the manual says")
            account.book.replay(position, entry_of_outcome(item))
