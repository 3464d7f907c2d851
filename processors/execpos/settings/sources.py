"""Values from the environment and from secret files, and where each came from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from execpos.settings.model import Execution
from execpos.settings.problem import Path as KeyPath
from execpos.settings.problem import listed, refuse

PREFIX = "EXECPOS_"
DELIMITER = "__"

CONFIG_DIR = "EXECPOS_CONFIG_DIR"
"""Folder of the YAML files, when no `--config` is given."""

SECRETS_DIR = "EXECPOS_SECRETS_DIR"
"""Folder whose files are named like environment variables (EXECPOS_CLICKHOUSE__URL) and hold one value each."""

NOT_SETTINGS = frozenset({CONFIG_DIR, SECRETS_DIR, "EXECPOS_CACHE", "EXECPOS_HYPOTHESIS"})
"""Variables that say where things are; they are read before the settings, or without them."""

# Switches of the test suite; a test environment must be able to run the commands.
_TEST_PREFIX = "EXECPOS_TEST_"
# A secret is a line of text; a larger file is some other file.
_SECRET_LIMIT_BYTES = 65_536


class _Keys(BaseSettings, Execution):
    """What the environment may set. Never built: it tells pydantic-settings the keys."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter=DELIMITER)


class _Source(EnvSettingsSource):
    """Reads variables from a mapping that it is given, never from the process."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        super().__init__(_Keys)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._variables.items()}


class Variables:
    """Settings given as variables.

    Args:
        variables: names with the prefix -> values.
        kind: how messages name them.

    Raises:
        ConfigError: a name that is no setting, or a value that is not JSON where it must be.
    """

    def __init__(self, variables: Mapping[str, str], kind: str) -> None:
        self._kind = kind
        self._paths: dict[KeyPath, str] = {}
        wrong = []
        for name in sorted(variables):
            path = tuple(name.removeprefix(PREFIX).lower().split(DELIMITER))
            self._paths[path] = name
            if path[0] not in Execution.model_fields:
                allowed = listed(PREFIX + key.upper() for key in Execution.model_fields)
                wrong.append(f"{kind} {name}: unknown setting; they begin with one of {allowed}")
        if wrong:
            raise refuse(wrong)
        try:
            self.data: dict[str, Any] = _Source(variables)()
        except SettingsError as error:
            raise refuse([f"{kind}: {error}; lists and mappings are given as JSON"]) from error

    def origins(self) -> dict[str, str]:
        """Return key -> what set it, for every value."""
        return {".".join(map(str, path)): f"{self._kind} {name}" for path, name in self._paths.items()}

    def place(self, path: KeyPath) -> str:
        """Return which variable set the value at `path`, or an empty text."""
        for known, name in self._paths.items():
            lowered = tuple(str(part).lower() for part in path)
            if lowered[: len(known)] == known or known[: len(lowered)] == lowered:
                return f"{self._kind} {name}"
        return ""


def from_environment(environ: Mapping[str, str]) -> Variables:
    """Return the settings in `environ`."""
    chosen = {
        name: value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in NOT_SETTINGS and not name.startswith(_TEST_PREFIX)
    }
    return Variables(chosen, "environment variable")


def from_secret_files(environ: Mapping[str, str]) -> Variables:
    """Return the settings in the files of the secrets folder; files whose names do not begin with the prefix are not ours."""
    folder = environ.get(SECRETS_DIR, "")
    chosen: dict[str, str] = {}
    if folder:
        try:
            for file in sorted(Path(folder).iterdir()):
                if file.name.startswith(PREFIX) and file.is_file():
                    if file.stat().st_size > _SECRET_LIMIT_BYTES:
                        raise refuse([f"secret file {file.name}: larger than {_SECRET_LIMIT_BYTES} bytes"])
                    chosen[file.name] = file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise refuse([f"{SECRETS_DIR}={folder}: cannot be read: {error}"]) from error
    return Variables(chosen, "secret file")
