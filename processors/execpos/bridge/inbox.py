"""Reads what others write for a bridge: claims on its name, requests to it, and what its accounts hold. A thread of its own.

Kafka and the registry may be away at any time, also at the start: everything here is tried again. Nothing of the bridge's other work waits
for it but publishing, which begins when the name is claimed and pauses when nobody could look for another claim for a while.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from execpos.bridge.claim import Claim, Claims
from execpos.bridge.heartbeats import HEARTBEATS_TOPIC
from execpos.bridge.held import POSITIONS_TOPIC, Held
from execpos.bridge.requests import REQUESTS_TOPIC, Answered, Ask
from execpos.bridge.tail import TIMEOUT_S, Connect, Following, Start, Tail, Wire, reached
from execpos.codecs.avro import Decoder
from execpos.domain.events import BridgeHeartbeat, BrokerRequest, PositionState
from execpos.errors import DependencyError, ExecposError, Park, Quit
from execpos.kafka.ports import Message
from execpos.telemetry.log import Logger

# Heartbeats come once a second and account; of more the newest suffice, because every start claims anew.
_HEARTBEATS_MAX = 50_000

# A claim has to be with Kafka before anything else is.
_CLAIM_S = 10.0

# Kafka that is away is asked again after so long.
_RETRY_S = 1.0

_log = Logger("bridge")


class InboxOptions(msgspec.Struct, frozen=True):
    """How often.

    Attributes:
        prefix: before every topic name.
        poll_s: time between two looks; a request or a claim is noticed so late.
        lease_s: publishing pauses when the last look at the claims is older. A bridge that was suspended finds out before it publishes.
    """

    prefix: str = ""
    poll_s: float = 0.25
    lease_s: float = 5.0


class Wanted(msgspec.Struct, frozen=True):
    """What a login that can be asked wants of the inbox.

    Attributes:
        ask: takes a request.
        serve: told once, when requests can be answered, with the topic's id.
        answered: where reading of the requests goes on.
        held: follows the positions.
        accounts: keys of the login's accounts; empty until they are known.
    """

    ask: Callable[[Ask], None]
    serve: Callable[[Wire, str], None]
    answered: Answered
    held: Held
    accounts: Callable[[], list[str]]


class Inbox:
    """See the module. `start` and `finish` once.

    Args:
        options: how often.
        connect: reaches Kafka and the registry.
        claims: of this bridge's name.
        write_claim: publishes the claim and waits for it; False when Kafka did not take it in time.
        on_claimed: told once, when the name is this bridge's; on the inbox's thread.
        required: topics, without prefix, that must be there beside those that are read.
        desk: what else is read, of a login that can be asked.
        monotonic_s: the clock.
    """

    def __init__(
        self,
        options: InboxOptions,
        connect: Connect,
        claims: Claims,
        write_claim: Callable[[Wire, Claim, float], bool],
        on_claimed: Callable[[Wire, Claim], None],
        *,
        required: Sequence[str] = (),
        desk: Wanted | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._connect = connect
        self._claims = claims
        self._write_claim = write_claim
        self._on_claimed = on_claimed
        self._required = required
        self._desk = desk
        self._monotonic_s = monotonic_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)
        self._looked_s = float("-inf")
        # Newest of each key in one look: of a topic that is not compacted yet that is a small part of what stands there.
        self._positions: dict[bytes, bytes | None] = {}
        self._state: Decoder[PositionState] | None = None
        self.claimed = threading.Event()
        """Set when the name is this bridge's."""
        self.error: ExecposError | None = None
        """What ended the thread before its time: Fenced, or what only an operator can cure."""
        self.away = ""
        """Why Kafka or the registry cannot be reached; empty while they can."""

    # --- any thread ---------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Stop reading; waits for an answer of Kafka that is under way, at most `timeout_s`."""
        self._stopping.set()
        self._thread.join(timeout_s)

    def may_publish(self) -> bool:
        """Say whether the name is this bridge's, as far as that was looked at a moment ago. Does not block."""
        return self.claimed.is_set() and self.error is None and self._monotonic_s() - self._looked_s < self._options.lease_s

    # --- the thread ---------------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._session()
                except Exception as error:
                    if not reached(error):
                        raise
                    self._is_away(error)
                    self._stopping.wait(_RETRY_S)
        except ExecposError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 (the thread's last words; the bridge raises them)
            self.error = Quit(f"the inbox stopped: {type(error).__name__}: {error}", hint="this is a defect; please report it")

    def _session(self) -> None:
        """Read until Kafka goes away or the bridge stops."""
        wire = self._connect()
        for topic in self._required:
            wire.cluster.partition_count(self._name(topic), TIMEOUT_S)
        heartbeats = Tail(wire.cluster, self._name(HEARTBEATS_TOPIC), None, lambda _id, _tp, low, high: max(low, high - _HEARTBEATS_MAX))
        tails, following = [heartbeats], Following(wire.cluster, [heartbeats])
        take = self._reader_of(wire)
        try:
            self._look(following, take)
            if not self.claimed.is_set():
                self._claim(wire, following, take)
            while not self._stopping.wait(self._options.poll_s):
                if self._desk is not None and len(tails) == 1 and (accounts := self._desk.accounts()):
                    tails += self._desk_tails(wire, self._desk, accounts)
                    following.close()
                    following = Following(wire.cluster, tails)
                self._look(following, take)
        finally:
            following.close()

    def _claim(self, wire: Wire, following: Following, take: Callable[[Message], None]) -> None:
        claim = self._claims.stake()
        if not self._write_claim(wire, claim, _CLAIM_S):
            raise DependencyError("Kafka did not take the bridge's claim in time", hint="is Kafka up?")
        # Whoever claimed at the same moment is seen now, by both.
        self._look(following, take)
        self._on_claimed(wire, claim)
        self.claimed.set()
        _log.info("name_claimed", incarnation=claim.incarnation, claim_id=claim.claim_id)

    def _look(self, following: Following, take: Callable[[Message], None]) -> None:
        began_s = self._monotonic_s()
        following.poll(take, self._stopping)
        self._hold()
        self._looked_s = began_s
        self.away = ""

    def _desk_tails(self, wire: Wire, desk: Wanted, accounts: list[str]) -> list[Tail]:
        keys = [account.encode() for account in accounts]

        def requests_from(topic_id: str, partition: int, low: int, high: int) -> int:
            del low, high
            return desk.answered.next_offset(topic_id, partition)

        beginning: Start = lambda _id, _partition, low, _high: low  # noqa: E731 (its name says what it does)
        requests = Tail(wire.cluster, self._name(REQUESTS_TOPIC), keys, requests_from)
        positions = Tail(wire.cluster, self._name(POSITIONS_TOPIC), keys, beginning)
        desk.serve(wire, requests.topic_id)
        return [requests, positions]

    def _reader_of(self, wire: Wire) -> Callable[[Message], None]:
        """Return what takes a record of any of the topics in."""
        heartbeat = Decoder(BridgeHeartbeat, wire.writers[BridgeHeartbeat])
        takers: dict[str, Callable[[Message], None]] = {self._name(HEARTBEATS_TOPIC): partial(self._take_heartbeat, heartbeat)}
        if self._desk is not None:
            request = Decoder(BrokerRequest, wire.writers[BrokerRequest])
            takers[self._name(REQUESTS_TOPIC)] = partial(self._take_request, self._desk, request)
            self._state = Decoder(PositionState, wire.writers[PositionState])
            takers[self._name(POSITIONS_TOPIC)] = self._take_position

        def take(message: Message) -> None:
            try:
                takers[message.topic()](message)
            except Park as error:
                at = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
                _log.warning("record_unreadable", why=error.what, **at)

        return take

    def _take_heartbeat(self, decode: Decoder[BridgeHeartbeat], message: Message) -> None:
        self._claims.see(decode(message.value() or b""))

    def _take_request(self, desk: Wanted, decode: Decoder[BrokerRequest], message: Message) -> None:
        request = decode(message.value() or b"")
        if request.account in desk.accounts():
            desk.ask(Ask(request, message.partition(), message.offset()))

    def _take_position(self, message: Message) -> None:
        self._positions[message.key() or b""] = message.value()

    def _hold(self) -> None:
        """Take in the positions of this look."""
        decode = self._state
        if self._desk is None or decode is None:
            return
        for key, value in self._positions.items():
            try:
                self._desk.held.see(key, decode(value) if value else None)
            except Park as error:
                _log.warning("record_unreadable", why=error.what, topic=self._name(POSITIONS_TOPIC))
        self._positions.clear()

    def _name(self, topic: str) -> str:
        return self._options.prefix + topic

    def _is_away(self, error: Exception) -> None:
        said = error.what if isinstance(error, ExecposError) else f"{type(error).__name__}: {error}"
        if not self.away:
            _log.warning("kafka_awaited", why=said)
        self.away = said
