"""Compares the warehouse with the committed records of the topics: counts, keys, exact sums, and every column by digest.

It reads each topic from its first kept record to the end that is committed when it starts, waits until ClickHouse has read as far, and
compares range by range. Rows whose records the topic has forgotten are not looked at. It changes nothing and may run at any time.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from clickhouse_connect.driver.client import Client

from execpos.recorder import groups
from execpos.recorder.client import errors_named
from execpos.recorder.committed import Reader
from execpos.recorder.compare import Comparison, LatestComparison, RowComparison
from execpos.recorder.options import Options
from execpos.recorder.results import Difference, TableResult
from execpos.recorder.tables import TABLES, Table

# The consumer commits four times a second.
_LAG_PAUSE_S = 0.1


def verify(
    client: Client,
    options: Options,
    *,
    wait_s: float = 30.0,
    tables: Sequence[Table] = TABLES,
    progress: Callable[[str, int], None] = lambda _table, _records: None,
) -> list[TableResult]:
    """Compare and return the result of each table. Blocks: each topic is read once.

    Args:
        client: from `client.connect`.
        options: where everything is.
        wait_s: how long ClickHouse may take in all to read what is committed at the start.
        tables: which to compare.
        progress: called with a table's name and the number of its records compared so far.

    Raises:
        DependencyError: ClickHouse, Kafka, the registry or a topic is not there.
        ContractError: ClickHouse refused a query, as when a table is missing.
    """
    options.check()
    partitions = groups.check_topics(options, [options.topic(table.topic) for table in tables])
    extents = groups.extents(options, [(topic, partition) for topic, count in partitions.items() for partition in range(count)])
    patience = _Patience(options, time.monotonic() + wait_s)
    results = []
    for table in tables:
        with errors_named(client, f"comparing {options.database}.{table.name}"):
            comparison = (LatestComparison if table.latest_by_key else RowComparison)(client, options, table)
            _read_all(options, table, extents, comparison, patience, progress)
            results.append(comparison.result())
    return results


def _read_all(
    options: Options,
    table: Table,
    extents: Mapping[tuple[str, int], groups.Extent],
    comparison: Comparison,
    patience: "_Patience",
    progress: Callable[[str, int], None],
) -> None:
    topic = options.topic(table.topic)
    reader = Reader(options, table)
    try:
        for (_, partition), extent in sorted(each for each in extents.items() if each[0][0] == topic):
            for chunk in reader.chunks(partition, extent.low, extent.end):
                read_to = patience.wait(table, partition, chunk[-1].offset)
                if read_to <= chunk[-1].offset:
                    detail = f"ClickHouse has read up to offset {read_to}, the topic holds {chunk[-1].offset + 1 - read_to} more up to here"
                    comparison.differences.append(Difference("lag", table.name, partition, read_to, detail))
                comparison.add(partition, [entry for entry in chunk if entry.offset < read_to])
                progress(table.name, comparison.records)
    finally:
        reader.close()


class _Patience:
    """Waits for ClickHouse's groups, in all until one deadline."""

    def __init__(self, options: Options, deadline: float) -> None:
        self._options = options
        self._deadline = deadline
        self._read_to: dict[tuple[str, int], int] = {}

    def wait(self, table: Table, partition: int, offset: int) -> int:
        """Return how far the table's group has read in the partition: past `offset`, or less when time is over."""
        key = (self._options.topic(table.topic), partition)
        while self._read_to.get(key, 0) <= offset:
            self._read_to.update(groups.committed(self._options, self._options.group(table.name), [key]))
            if self._read_to.get(key, 0) <= offset:
                if time.monotonic() >= self._deadline:
                    break
                time.sleep(_LAG_PAUSE_S)
        return self._read_to.get(key, 0)
