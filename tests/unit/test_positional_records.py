"""Wide records are made field by field, by position, on the hot path; no type checker sees two fields of one type change places."""

import ast
from pathlib import Path

import msgspec
import pytest

import execpos
from execpos.domain import events, normalize, positions

# A call with more arguments than this is not read for what stands where; it has to be checked.
_WIDE = 10

_CLASSES: dict[str, type[msgspec.Struct]] = {
    cls.__name__: cls
    for module in (events, normalize, positions)
    for cls in vars(module).values()
    if isinstance(cls, type) and issubclass(cls, msgspec.Struct)
}


def _wide_calls() -> list[tuple[str, ast.Call, type[msgspec.Struct]]]:
    return [
        (f"{path.stem}:{node.func.id}", node, _CLASSES[node.func.id])
        for path in sorted((Path(execpos.__file__).parent / "domain").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > _WIDE and node.func.id in _CLASSES
    ]


def test_the_hot_path_is_covered() -> None:
    assert {"deals:FillEvent", "reports:OrderEvent", "book:PositionDelta", "book:PositionState"} <= {name for name, _, _ in _wide_calls()}


@pytest.mark.parametrize(("name", "call", "record"), _wide_calls(), ids=lambda value: value if isinstance(value, str) else "")
def test_each_field_gets_its_argument(name: str, call: ast.Call, record: type[msgspec.Struct]) -> None:
    fields = record.__struct_fields__
    assert len(call.args) == len(fields), name
    assert not call.keywords
    for field, argument in zip(fields, call.args, strict=True):
        given = argument.attr if isinstance(argument, ast.Attribute) else argument.id if isinstance(argument, ast.Name) else field
        assert given == field or given not in fields, f"{name}: {ast.unparse(argument)} stands where {field} belongs"
