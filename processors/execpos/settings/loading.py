"""Reads the files, the environment and the secret files, and makes one frozen `Settings` of them or one error that names every mistake."""

import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import orjson
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from execpos import resources
from execpos.domain.rules import Attribution, Rules
from execpos.settings import consistency, sources
from execpos.settings.model import Execution
from execpos.settings.problem import Path as KeyPath
from execpos.settings.problem import Problem, listed, refuse
from execpos.settings.secrecy import is_secret
from execpos.settings.tables import AccountEntry, AccountsFile, CalendarFile, FeesFile, InstrumentsFile
from execpos.settings.yamlfile import YamlFile

FILES: dict[str, type[BaseModel]] = {
    "execution.yaml": Execution,
    "instruments.yaml": InstrumentsFile,
    "fees.yaml": FeesFile,
    "calendar.yaml": CalendarFile,
    "accounts.yaml": AccountsFile,
}
"""Every file of the configuration and what it holds; those that a folder lacks are taken as shipped."""

_OPTIONAL = "accounts.yaml"

ModelT = TypeVar("ModelT", bound=BaseModel)


class Settings(Execution):
    """The whole configuration, resolved once; handed down, never looked up."""

    instruments: InstrumentsFile
    fees: FeesFile
    calendar: CalendarFile
    accounts: tuple[AccountEntry, ...] = ()
    origins: Annotated[dict[str, str], Field(default_factory=dict)]
    """File -> where it was read."""
    overrides: Annotated[dict[str, str], Field(default_factory=dict)]
    """Key of execution.yaml -> the variable or secret file that set it."""

    def rules(self) -> Rules:
        """Return the domain's rules. Each call makes new tables with memos of their own: one call a thread."""
        odd_lots = frozenset(lot for lot, shares in self.instruments.lots.items() if shares == 1)
        return Rules(
            instruments=self.instruments.build(),
            fees=self.fees.build(odd_lots),
            calendar=self.calendar.build(),
            cost_methods=dict(self.positions.cost_method),
            attribution=Attribution(self.attribution.custom_field, dict(self.attribution.custom_field_map)),
            window_sessions=self.window.sessions,
            combo=self.combo,
            max_lots=self.positions.max_lots,
        )


def load(config_dir: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in force: YAML, then EXECPOS_ variables, then secret files; the later wins.

    Blocks on a few small files; may be called again, and reads everything anew.

    Args:
        config_dir: folder of the YAML files; by default EXECPOS_CONFIG_DIR, else the shipped one. A file that it lacks is taken as shipped.
        environ: variables; those of the process by default.

    Raises:
        ConfigError: one or more values are unknown, of the wrong type or contradict each other; it names each by file and line.
    """
    environ = os.environ if environ is None else environ
    files = _open(config_dir or (Path(chosen) if (chosen := environ.get(sources.CONFIG_DIR)) else None))
    wrong: list[str] = []
    parsed = {name: _strict(file, FILES[name], wrong) for name, file in files.items()}
    variables, secrets = sources.from_environment(environ), sources.from_secret_files(environ)
    if wrong:
        raise refuse(wrong)

    def place(name: str, path: KeyPath) -> str:
        if name == "execution.yaml":
            return secrets.place(path) or variables.place(path) or files[name].place(path)
        return files[name].place(path)

    accounts = parsed.get(_OPTIONAL)
    merged: dict[str, Any] = {
        **_merge(_merge(files["execution.yaml"].data, variables.data), secrets.data),
        "instruments": parsed["instruments.yaml"],
        "fees": parsed["fees.yaml"],
        "calendar": parsed["calendar.yaml"],
        "accounts": accounts.accounts if isinstance(accounts, AccountsFile) else (),
        "origins": {name: file.shown for name, file in files.items()},
        "overrides": {**variables.origins(), **secrets.origins()},
    }
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        found = _problems(error, Execution, hidden=lambda path: bool(secrets.place(path)))
        raise refuse([problem.text(place("execution.yaml", problem.path)) for problem in found]) from None
    contradictions = [("execution.yaml", problem) for problem in consistency.problems(settings)]
    contradictions += consistency.problems_with_tables(settings)
    for name, model in parsed.items():
        if isinstance(model, InstrumentsFile | FeesFile | CalendarFile | AccountsFile):
            contradictions += [(name, problem) for problem in model.problems()]
    if contradictions:
        raise refuse([problem.text(place(name, problem.path)) for name, problem in contradictions])
    return settings


def _open(config_dir: Path | None) -> dict[str, YamlFile]:
    shipped = resources.folder("config")
    folder = shipped if config_dir is None else config_dir
    if not folder.is_dir():
        raise refuse([f"{folder}: there is no such folder"])
    strange = [
        f"{file}: unknown file; known: {listed(FILES)} (and *.example.yaml, which is not read)"
        for file in sorted(folder.iterdir())
        if file.suffix in {".yaml", ".yml"} and file.name not in FILES and not file.name.endswith(".example.yaml")
    ]
    if strange:
        raise refuse(strange)
    if not any((folder / name).is_file() for name in FILES):
        raise refuse([f"{folder}: holds none of {listed(FILES)}"])
    opened = {}
    for name in FILES:
        own = folder / name
        if own.is_file():
            opened[name] = YamlFile(own, f"config/{name}" if folder == shipped else str(own))
        elif name != _OPTIONAL:
            opened[name] = YamlFile(shipped / name, f"config/{name}")
    return opened


def _strict(file: YamlFile, model: type[ModelT], wrong: list[str]) -> ModelT | None:
    """Return the file as its model, types taken literally; add what is wrong to `wrong`."""
    try:
        return model.model_validate_json(orjson.dumps(file.data), strict=True)
    except (orjson.JSONEncodeError, RecursionError) as error:
        wrong.append(f"{file.shown}:1: holds a value that JSON does not know: {error}")
    except ValidationError as error:
        wrong.extend(problem.text(file.place(problem.path)) for problem in _problems(error, model))
    return None


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _problems(error: ValidationError, model: type[BaseModel], hidden: Callable[[KeyPath], bool] = lambda _: False) -> list[Problem]:
    """Return what pydantic found; `hidden` tells whose values must not be shown."""
    details = error.errors(include_url=False)
    paths = [detail["loc"] for detail in details]
    return [
        _problem(detail, model, hidden)
        for detail in details
        # A list whose items are wrong also counts as too short; only the items are worth a line.
        if detail["type"] != "too_short" or not any(path != detail["loc"] and path[: len(detail["loc"])] == detail["loc"] for path in paths)
    ]


def _problem(detail: ErrorDetails, model: type[BaseModel], hidden: Callable[[KeyPath], bool]) -> Problem:
    path = detail["loc"]
    kind, given = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        allowed = _keys_at(model, path[:-1])
        near = difflib.get_close_matches(str(path[-1]), allowed, 1)
        return Problem(path, f"unknown key{f', did you mean {near[0]}?' if near else ''}; allowed here: {listed(allowed)}")
    if kind == "missing":
        return Problem(path, "is missing")
    showable = isinstance(given, str | int | float | bool) and not is_secret(path, given) and not hidden(path)
    shown = f", and not {given!r}" if showable else ""
    text = detail["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return Problem(path, f"must be {text}{shown}" if text != detail["msg"] else f"{detail['msg']}{shown}")


def _keys_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys that `model` allows at `path`; it follows models, and containers of models."""
    here: Any = model
    for part in path:
        if isinstance(here, type) and issubclass(here, BaseModel) and part in here.model_fields:
            here = here.model_fields[str(part)].annotation
        else:
            here = _element(here)
    return list(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else []


def _element(annotation: Any) -> Any:
    """Return the model that a dict or tuple holds, or the annotation itself."""
    is_model: Callable[[Any], bool] = lambda a: isinstance(a, type) and issubclass(a, BaseModel)  # noqa: E731 (used once, below)
    for argument in get_args(annotation):
        if is_model(argument):
            return argument
        if (found := _element(argument)) is not argument and is_model(found):
            return found
    return annotation
