"""Rules between settings: each value may be right by itself and the whole still wrong."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from execpos.domain.instruments import DERIVATIVE
from execpos.settings.model import Execution
from execpos.settings.problem import Problem, listed

if TYPE_CHECKING:
    from execpos.settings import Settings

SET_BY_EXECPOS = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "group.id",
        "group.instance.id",
        "isolation.level",
        "message.max.bytes",
        "partition.assignment.strategy",
        "partitioner",
        "session.timeout.ms",
        "transaction.timeout.ms",
        "transactional.id",
    }
)
"""Settings of the client library on which exactly-once rests; `kafka.client` may not touch them."""


def problems(settings: Execution) -> Iterator[Problem]:
    """Yield what contradicts itself within execution.yaml."""
    for key in sorted(SET_BY_EXECPOS & settings.kafka.client.keys()):
        yield Problem(("kafka", "client", key), "execpos sets it itself, because exactly-once rests on it; remove it")
    ledger = settings.ledger
    if ledger.session_timeout_ms <= ledger.transaction_timeout_ms:
        yield Problem(
            ("ledger", "session_timeout_ms"),
            f"{ledger.session_timeout_ms} must be above ledger.transaction_timeout_ms ({ledger.transaction_timeout_ms}): "
            "a dead owner's transaction must end before its partitions move",
        )
    reconciler = settings.reconciler
    if reconciler.session_timeout_ms <= reconciler.transaction_timeout_ms:
        yield Problem(
            ("reconciler", "session_timeout_ms"),
            f"{reconciler.session_timeout_ms} must be above reconciler.transaction_timeout_ms ({reconciler.transaction_timeout_ms}): "
            "a dead owner's transaction must end before its accounts move",
        )
    if ledger.poll_ms > ledger.progress_interval_ms:
        yield Problem(
            ("ledger", "poll_ms"), f"{ledger.poll_ms} must not be above ledger.progress_interval_ms ({ledger.progress_interval_ms})"
        )
    halt = settings.halt
    if halt.progress_age_s * 1000 < 2 * ledger.progress_interval_ms:
        yield Problem(
            ("halt", "progress_age_s"),
            f"{halt.progress_age_s} s must be at least twice ledger.progress_interval_ms ({ledger.progress_interval_ms}), "
            "or it halts in good health",
        )
    yield from _bridge(settings)
    yield from _attribution(settings)
    yield from _reconciliation(settings)


def _bridge(settings: Execution) -> Iterator[Problem]:
    bridge, halt = settings.bridge, settings.halt
    if halt.heartbeat_gap_s < 2 * bridge.heartbeat_interval_s:
        yield Problem(
            ("bridge", "heartbeat_interval_s"),
            f"{bridge.heartbeat_interval_s} must be at most half of halt.heartbeat_gap_s ({halt.heartbeat_gap_s}), "
            "or it halts in good health",
        )
    if bridge.lease_s * 1000 < 4 * bridge.request_poll_ms:
        yield Problem(
            ("bridge", "lease_s"),
            f"{bridge.lease_s} s must be at least four times bridge.request_poll_ms ({bridge.request_poll_ms}), or publishing stutters",
        )
    if bridge.journal.retain_bytes and bridge.journal.retain_bytes < bridge.journal.segment_bytes:
        yield Problem(
            ("bridge", "journal", "retain_bytes"),
            f"{bridge.journal.retain_bytes} must be 0 or at least bridge.journal.segment_bytes ({bridge.journal.segment_bytes})",
        )


def _attribution(settings: Execution) -> Iterator[Problem]:
    attribution = settings.attribution
    if attribution.custom_field == "mapped" and not attribution.custom_field_map:
        yield Problem(("attribution", "custom_field_map"), "must not be empty when attribution.custom_field is mapped")
    if attribution.custom_field != "mapped" and attribution.custom_field_map:
        yield Problem(("attribution", "custom_field_map"), f"has no effect while attribution.custom_field is {attribution.custom_field}")


def _reconciliation(settings: Execution) -> Iterator[Problem]:
    halt, reconciliation = settings.halt, settings.reconciliation
    auto = reconciliation.auto_correct
    if reconciliation.settle_s >= reconciliation.interval_s:
        yield Problem(
            ("reconciliation", "settle_s"),
            f"{reconciliation.settle_s} must be below reconciliation.interval_s ({reconciliation.interval_s})",
        )
    for kind, limit in auto.limits.items():
        for name, value, halts, where in (
            ("quantity", limit.quantity, halt.unexplained_quantity.get(kind), "unexplained_quantity"),
            ("notional_twd", limit.notional_twd, halt.unexplained_notional_twd.get(kind), "unexplained_notional_twd"),
        ):
            if halts is not None and value > halts:
                yield Problem(
                    ("reconciliation", "auto_correct", "limits", kind, name),
                    f"{value} must not be above halt.{where}.{kind} ({halts}): what halts trading cannot be corrected unasked",
                )
    if auto.daily_notional_twd_per_account > halt.daily_auto_correct_notional_twd_per_account:
        yield Problem(
            ("reconciliation", "auto_correct", "daily_notional_twd_per_account"),
            f"{auto.daily_notional_twd_per_account} must not be above halt.daily_auto_correct_notional_twd_per_account "
            f"({halt.daily_auto_correct_notional_twd_per_account})",
        )


def problems_with_tables(settings: "Settings") -> Iterator[tuple[str, Problem]]:
    """Yield (file, problem) for what contradicts between the files."""
    instruments, fees = settings.instruments, settings.fees
    for name, product in instruments.products.items():
        if product.fee not in fees.fees:
            yield "instruments.yaml", Problem(("products", name, "fee"), f"{product.fee!r} is not in fees.yaml; known: {listed(fees.fees)}")
        if product.tax not in fees.taxes:
            yield (
                "instruments.yaml",
                Problem(("products", name, "tax"), f"{product.tax!r} is not in fees.yaml; known: {listed(fees.taxes)}"),
            )
    yield from _books(settings)
    kinds = {product.security_type for product in instruments.products.values()}
    for key, given in (
        ("unexplained_quantity", settings.halt.unexplained_quantity.keys()),
        ("unexplained_notional_twd", settings.halt.unexplained_notional_twd.keys()),
    ):
        for kind in sorted(kinds - given):
            yield "execution.yaml", Problem(("halt", key), f"security type {kind} of instruments.yaml has no limit; add it")


def _books(settings: "Settings") -> Iterator[tuple[str, Problem]]:
    books = {DERIVATIVE, *settings.instruments.books.values()}
    kinds = {product.security_type for product in settings.instruments.products.values()}
    methods = settings.positions.cost_method
    for book in sorted(books - methods.keys()):
        yield "execution.yaml", Problem(("positions", "cost_method"), f"book {book!r} of instruments.yaml has no cost method; add it")
    for key in sorted(methods.keys() - books - kinds):
        kind, dot, book = key.partition(".")
        if not dot:
            what = f"unknown book; known: {listed(books)}; or a security type: {listed(kinds)}"
        elif kind not in kinds:
            what = f"unknown security type {kind!r}; known: {listed(kinds)}"
        elif book not in books:
            what = f"unknown book {book!r}; known: {listed(books)}"
        else:
            continue
        yield "execution.yaml", Problem(("positions", "cost_method", key), what)
    yield from _shelves_of_fees(settings, books)


def _shelves_of_fees(settings: "Settings", books: set[str]) -> Iterator[tuple[str, Problem]]:
    fees = settings.fees
    for where, entries in (("fees", fees.fees), ("taxes", fees.taxes)):
        for name, rates in entries.items():
            for position, rate in enumerate(rates):
                for book in sorted(set(rate.books) - books):
                    path = (where, name, position, "books")
                    yield "fees.yaml", Problem(path, f"unknown book {book!r}; known: {listed(books)}")
    for book in sorted(set(fees.day_trade.books) - books):
        yield "fees.yaml", Problem(("day_trade", "books"), f"unknown book {book!r}; known: {listed(books)}")
    lots = settings.instruments.lots
    for lot in sorted(set(fees.day_trade.lots) - lots.keys()):
        yield "fees.yaml", Problem(("day_trade", "lots"), f"unknown order lot {lot!r}; known: {listed(lots)}")
