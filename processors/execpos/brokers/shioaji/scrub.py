"""Takes what is personal or secret out of the library's texts, before they go into errors, logs and topics."""

from collections.abc import Iterable

from execpos.brokers.shioaji.errors import TEXT_MAX
from execpos.domain.redact import MASK, mask

# Shorter ones would be found in half of all texts.
_LENGTH_MIN = 2


class Scrubber:
    """Knows the words that may not go on: the keys of the login, and who its accounts belong to. They live in memory alone."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._words: set[str] = set()
        self.learn(secrets)

    def learn(self, words: Iterable[object]) -> None:
        """Note more words."""
        self._words.update(each for each in words if type(each) is str and len(each) >= _LENGTH_MIN)

    def text(self, value: object) -> str:
        """Return a text without them, on one line, cut to a reasonable length. Never raises."""
        try:
            found = str(value)
        except Exception as error:  # noqa: BLE001 (a foreign object may raise anything)
            return f"[unreadable {type(value).__name__}: {type(error).__name__}]"
        # The longest first: one may stand in another.
        for each in sorted(self._words, key=len, reverse=True):
            found = found.replace(each, MASK)
        return " ".join(mask(found).split())[:TEXT_MAX]
