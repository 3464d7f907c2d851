"""The clients have every method that is used of them, and take it with the arguments that it is called with."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from execpos.brokers.shioaji.api import Api
from execpos.brokers.sim.api import SimApi
from shioaji_fake import FakeApi
from shioaji_library import library

CLIENTS: dict[str, Callable[[], Any]] = {"real": lambda: library().Shioaji, "simulator": lambda: SimApi, "scripted": lambda: FakeApi}


def methods() -> Iterator[tuple[str, inspect.Signature]]:
    for name, member in vars(Api).items():
        if inspect.isfunction(member) and not name.startswith("_"):
            yield name, inspect.signature(member)


METHODS = dict(methods())


def test_the_list_of_what_is_used_is_not_empty() -> None:
    assert len(METHODS) > 20


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", METHODS)
def test_a_client_takes_each_call_as_it_is_made(client: str, name: str) -> None:
    method: Any = getattr(CLIENTS[client](), name)
    parameters = list(METHODS[name].parameters.values())[1:]
    positional = [object() for each in parameters if each.kind is not inspect.Parameter.KEYWORD_ONLY]
    keywords = {each.name: object() for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}

    inspect.signature(method).bind(object(), *positional, **keywords)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_has_its_contracts_as_a_property(client: str) -> None:
    assert not callable(inspect.getattr_static(CLIENTS[client](), "contracts"))


def test_the_type_checker_takes_the_simulator_for_a_client() -> None:
    """Kept by the type checker."""

    def takes(api: type[Api]) -> type[Api]:
        return api

    assert takes(SimApi) is SimApi
    assert takes(FakeApi) is FakeApi
