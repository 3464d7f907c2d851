"""What of the configuration nobody may read on a screen or in a log."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from execpos.settings.problem import Path as KeyPath

HIDDEN = "***"

_SECRET_KEY = re.compile(r"password|passphrase|secret|token|jaas|credential|private|\.pem$|(^|\.|api_?|access_?)key$", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


def is_secret(path: KeyPath, value: object) -> bool:
    """Return whether a value must not be shown: by the name of its key, or because it may be an address with a password."""
    return any(_SECRET_KEY.search(str(part)) for part in path) or (isinstance(value, str) and "@" in value)


def redacted(model: BaseModel) -> dict[str, Any]:
    """Return the model as plain data for people and for JSON, secrets hidden."""
    hidden: dict[str, Any] = _hide(model.model_dump(mode="json"), ())
    return hidden


def _hide(value: Any, path: KeyPath) -> Any:
    if isinstance(value, Mapping):
        return {key: _hide(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_hide(item, path) for item in value]
    if any(_SECRET_KEY.search(str(part)) for part in path[-1:]):
        return HIDDEN
    return _USERINFO.sub(f"{HIDDEN}@", value) if isinstance(value, str) else value
