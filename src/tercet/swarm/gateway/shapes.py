"""Whether a value fits a JSON schema, as far as models need to be told: the keywords that describe shapes.

Patterns, formats and arithmetic are left to whoever uses the value; a keyword that is not known here passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["find_fault"]

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "integer": (int,),
    "number": (int, float),
}
_DEEPEST = 32


def find_fault(value: Any, schema: Mapping[str, Any]) -> str:
    """The first thing about `value` that does not fit `schema`, for the model to read; empty when it fits.

    A schema that is none, as strangers' tools may have, is passed over.
    """
    try:
        return next(_faults(value, schema, schema, "the answer", 0), "")
    except (TypeError, ValueError, AttributeError):
        return ""


def _faults(value: Any, schema: Any, root: Mapping[str, Any], where: str, depth: int) -> Iterator[str]:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return
    if "$ref" in schema:
        yield from _faults(value, _resolve(schema["$ref"], root), root, where, depth + 1)
    yield from _plain_faults(value, schema, where)
    for part in schema.get("allOf", ()):
        yield from _faults(value, part, root, where, depth + 1)
    for among in ("anyOf", "oneOf"):
        choices = schema.get(among, ())
        if choices and all(next(_faults(value, choice, root, where, depth + 1), "") for choice in choices):
            yield f"{where} fits none of its {len(choices)} allowed shapes"
    if isinstance(value, dict):
        yield from _object_faults(value, schema, root, where, depth)
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from _faults(item, schema.get("items"), root, f"{where}[{place}]", depth + 1)


def _plain_faults(value: Any, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    kinds = schema.get("type")
    if kinds is not None and not any(_is_a(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        yield f"{where} must be of type {kinds}"
    if "const" in schema and value != schema["const"]:
        yield f"{where} must be {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} must be one of {schema['enum']!r}"
    size = len(value) if isinstance(value, str | list) else None
    least, most = ("minLength", "maxLength") if isinstance(value, str) else ("minItems", "maxItems")
    if size is not None and not schema.get(least, 0) <= size <= schema.get(most, size):
        yield f"{where} has {size} parts, which is out of bounds"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{where} is out of bounds"


def _object_faults(
    value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], where: str, depth: int
) -> Iterator[str]:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{where} lacks {name!r}"
    for name, item in value.items():
        inner = properties.get(name, schema.get("additionalProperties", True))
        if inner is False:
            yield f"{where} has {name!r}, which is not allowed"
        else:
            yield from _faults(item, inner, root, f"{where}.{name}", depth + 1)


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    return isinstance(value, _TYPES.get(kind, (object,)))


def _resolve(reference: Any, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for part in filter(None, str(reference).removeprefix("#").split("/")):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
