"""One suite, several brokers."""

from collections.abc import Iterator

import pytest

from broker_harness import BROKERS, Fault, Harness, Make


@pytest.fixture(params=BROKERS)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Return a function that makes a harness with faults; each is closed in the end."""
    made: list[Harness] = []

    def one(*faults: Fault) -> Harness:
        made.append(BROKERS[request.param](faults))
        return made[-1]

    yield one
    for harness in made:
        harness.close()
