"""Connections to ClickHouse and the registry, with errors that say what to do."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from execpos.errors import ContractError, DependencyError

# A server that is there accepts at once, also on a loaded machine; one that is not should not hold a command up.
_CONNECT_TIMEOUT_S = 10
_REGISTRY_TIMEOUT_S = 10.0
# ClickHouse's own code of a failed connection over its HTTP interface, and of a query that found no memory or took too long, is a number;
# no number means that nothing answered.


def connect(url: str) -> Client:
    """Return a client of the ClickHouse at `url`; blocks until it has answered.

    Raises:
        DependencyError: nothing answers there.
    """
    try:
        return clickhouse_connect.get_client(dsn=url, connect_timeout=_CONNECT_TIMEOUT_S, autogenerate_session_id=False)
    except (ClickHouseError, OSError) as error:
        raise _unreachable(url, error) from error


@contextmanager
def errors_named(client: Client, what: str) -> Iterator[None]:
    """Turn the driver's errors inside the block into ours: unreachable, or refused with ClickHouse's own words."""
    try:
        yield
    except OperationalError as error:
        raise _unreachable(client.url if hasattr(client, "url") else "ClickHouse", error) from error
    except ClickHouseError as error:
        if getattr(error, "code", None) is None:
            raise _unreachable(client.url if hasattr(client, "url") else "ClickHouse", error) from error
        raise ContractError(
            f"{what}: ClickHouse refused: {error}", hint="see the statement in schemas/", code=getattr(error, "code", None)
        ) from error


def _unreachable(url: str, error: Exception) -> DependencyError:
    shown = urlsplit(url)
    place = f"{shown.scheme}://{shown.hostname}:{shown.port}"  # without user and password
    first_line = str(error).partition("\n")[0]
    return DependencyError(
        f"ClickHouse does not answer at {place}: {first_line}",
        hint="start it (`execpos up` starts an embedded one), or name another with --clickhouse-url",
        url=place,
    )


def check_registry(url: str) -> None:
    """Make sure that the registry answers; blocks at most ten seconds.

    While it is away ClickHouse would file good records under errors.

    Raises:
        DependencyError: it does not answer.
    """
    get_registry(url, "subjects")


def get_registry(url: str, path: str) -> bytes:
    """Return the answer to GET `url`/`path`.

    Raises:
        DependencyError: the registry does not answer, or answers with an error other than 404.
        KeyError: it has no such thing (404).
    """
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/{path}", timeout=_REGISTRY_TIMEOUT_S) as reply:  # noqa: S310 (the address is a setting)
            return bytes(reply.read())
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise KeyError(path) from error
        raise DependencyError(f"the schema registry at {url} answers with status {error.code}", hint="see its log", url=url) from error
    except (OSError, ValueError) as error:
        raise DependencyError(
            f"the schema registry does not answer at {url}: {error}",
            hint="start it (`execpos up` starts one), or name another with --registry-url",
            url=url,
        ) from error
