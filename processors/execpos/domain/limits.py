"""How long what others write may be in a record of ours, so that no record grows beyond what its topic takes.

Free text is cut, and says so. A name that identifies something is never cut, because two cut names may be one: a record with a longer
one cannot become state. All lengths are far above what any broker has sent.
"""

from hashlib import sha256

# Broker numbers and codes: the longest seen has 10 characters. A position keeps up to 2 x max_lots fill ids, each made of four of them,
# which in their worst encoding (4 bytes a character) are 280 KB at the 256 lots of the default.
NAME_CHARS_MAX = 32

# Receipts, and what strategies call themselves and their intents: the longest receipt seen has 28 characters.
ID_CHARS_MAX = 256

# env, market and two names of NAME_CHARS_MAX characters fill 270 bytes at most.
ACCOUNT_BYTES_MAX = 300

# Words of the broker and the memo of an order, of which the longest seen has 19 characters.
WORD_CHARS_MAX = 64

# What the broker says to people.
MESSAGE_CHARS_MAX = 1_000

# What we say of a record that did not become state; it may quote the record.
DETAIL_CHARS_MAX = 2_000

# The year 2100, µs since the epoch: a later moment comes from a broken clock, and no calendar reaches it.
TS_US_MAX = 4_102_444_800_000_000

# The largest record that exec.raw takes. A dead letter that holds it has 64 KiB left for what it says about it.
RECORD_BYTES_MAX = 270_336


# Room for what says that a text was cut.
_MARK_CHARS = 32


def cut(text: str, chars_max: int) -> str:
    """Return a text, or as much of its beginning as leaves room to say how long it was; never more than `chars_max` (> 32) characters."""
    return text if len(text) <= chars_max else f"{text[: chars_max - _MARK_CHARS]}… (cut, {len(text)} characters)"


def kept(key: bytes, value: bytes) -> tuple[bytes, bytes, str]:
    """Return as much of a record's key and value as a dead letter holds, and a note on what is missing; empty when nothing is."""
    if len(key) + len(value) <= RECORD_BYTES_MAX:
        return key, value, ""
    digest = sha256(key + value).hexdigest()
    note = f"; key of {len(key)} and value of {len(value)} bytes cut to {RECORD_BYTES_MAX}, sha256 of both {digest}: read it at its source"
    key = key[:RECORD_BYTES_MAX]
    return key, value[: RECORD_BYTES_MAX - len(key)], note
