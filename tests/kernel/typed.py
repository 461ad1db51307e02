"""Holds values that came through a door against the types of `ipsectools.answers`."""

from __future__ import annotations

from types import UnionType
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict


def differences(value: Any, kind: Any, where: str = "") -> list[str]:
    """How a value, as it comes out of JSON, differs from its type."""
    if is_typeddict(kind):
        if not isinstance(value, dict):
            return [f"{where}: {value!r} is no {kind.__name__}"]
        members = get_type_hints(kind, include_extras=True)
        found = [f"{where}: unknown {name}" for name in value.keys() - members.keys()]
        for name, member in members.items():
            is_optional = get_origin(member) is NotRequired
            if name in value:
                found += differences(value[name], get_args(member)[0] if is_optional else member, f"{where}.{name}")
            elif not is_optional:
                found.append(f"{where}: without {name}")
        return found
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        tried = [differences(value, each, where) for each in arguments]
        return min(tried, key=len)
    if origin is list:
        if not isinstance(value, list):
            return [f"{where}: {value!r} is no list"]
        return [each for item in value for each in differences(item, arguments[0], f"{where}[]")]
    if origin is dict:
        if not isinstance(value, dict):
            return [f"{where}: {value!r} is no dict"]
        return [each for item in value.values() for each in differences(item, arguments[1], f"{where}[]")]
    if origin is Literal:
        return [] if value in arguments else [f"{where}: {value!r}"]
    return [] if type(value) is kind else [f"{where}: {value!r} is no {kind.__name__}"]
