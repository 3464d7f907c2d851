from typing import Any, TypeAlias

# (field, code as in `compiled`, what the code needs) of each field of a record, in order.
_Plan: TypeAlias = tuple[tuple[str, int, object], ...]

ABI: int

class Encoder:
    def __init__(self, fields: _Plan, header: bytes) -> None: ...
    def __call__(self, record: Any, /) -> bytes: ...

class Decoder:
    def __init__(self, fields: _Plan, record: type[Any]) -> None: ...
    def __call__(self, body: bytes, at: int, /) -> tuple[Any, int]: ...
