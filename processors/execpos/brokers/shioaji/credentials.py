"""The key of a login, and how it is kept out of sight."""

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from execpos.errors import ConfigError

API_KEY = "SHIOAJI_API_KEY"
SECRET_KEY = "SHIOAJI_SECRET_KEY"  # noqa: S105 (the name of a variable, not a secret)

# A key is a line of about 44 characters; a larger file is some other file.
_SIZE_MAX = 4_096


class Credentials:
    """API key and secret key. Neither appears in `repr`, `str`, a pickle or an error."""

    __slots__ = ("api_key", "secret_key")

    def __init__(self, api_key: str, secret_key: str) -> None:
        self.api_key = api_key
        self.secret_key = secret_key

    def __repr__(self) -> str:
        return "Credentials(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not written anywhere")

    @classmethod
    def read(cls, environ: Mapping[str, str], secrets_dir: str = "") -> "Credentials":
        """Return them from files of the secrets folder named like the variables, else from the variables themselves.

        Raises:
            ConfigError: one is missing, empty or unreadable.
        """
        return cls(_read(API_KEY, environ, secrets_dir), _read(SECRET_KEY, environ, secrets_dir))


def _read(name: str, environ: Mapping[str, str], secrets_dir: str) -> str:
    file = Path(secrets_dir, name) if secrets_dir else None
    if file is None or not file.is_file():
        value = environ.get(name, "")
    else:
        try:
            if file.stat().st_size > _SIZE_MAX:
                raise ConfigError(f"secret file {name}: larger than {_SIZE_MAX} bytes", hint="it holds the key alone, on one line")
            value = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"secret file {name}: cannot be read: {type(error).__name__}", hint="check its mode and owner") from None
    value = value.strip()
    if not value:
        raise ConfigError(
            f"{name} is not set: the broker's key is missing",
            hint=f"put it into a file {name} in EXECPOS_SECRETS_DIR (mode 600), or into the environment",
        )
    return value
