"""Operations of the control door: what one does, and the language in which it says which arguments it takes."""

from __future__ import annotations

from ipsectools.errno import EINVAL, ENXIO, KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ipsectools.kernel.interfaces.interface import Interface
    from ipsectools.kernel.state import KernelState

    Check = Callable[[Any], bool]
    Perform = Callable[[KernelState, dict[str, Any]], Any]


class Operation:
    """One row of the table: what it does and which arguments it takes.

    `arguments`: words of name and sort (see CHECKS); a `?` marks one that may be absent or None.
    """

    __slots__ = ("_checks", "_optional", "arguments", "needs_privilege", "perform")

    def __init__(self, perform: Perform, arguments: str, *, needs_privilege: bool = True) -> None:
        self.perform = perform
        self.arguments = arguments
        self.needs_privilege = needs_privilege
        self._checks: dict[str, Check] = {}
        self._optional: set[str] = set()
        for word in arguments.split():
            name, _, kind = word.partition(":")
            if kind.endswith("?"):
                self._optional.add(name)
            self._checks[name] = CHECKS[kind.rstrip("?")]

    def check(self, args: object) -> dict[str, Any]:
        """The arguments, complete: absent ones are None. EINVAL."""
        if not isinstance(args, dict) or not args.keys() <= self._checks.keys():
            raise KernelError(EINVAL)
        checked: dict[str, Any] = {}
        for name, check in self._checks.items():
            value = args.get(name)
            if value is None and name in self._optional:
                checked[name] = None
            elif check(value):
                checked[name] = value
            else:
                raise KernelError(EINVAL)
        return checked


def _is_text(value: Any) -> bool:
    """A text that a C program could give. How long it may be is checked where it belongs."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        # Arguments that are not UTF-8 come as Python has them, with lone surrogates of one kind.
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _is_within(least: int, most: int) -> Check:
    return lambda value: type(value) is int and least <= value <= most


def _are_words(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) <= 16 and all(map(_is_text, value))


CHECKS: dict[str, Check] = {
    "text": _is_text,
    "i32": _is_within(-(1 << 31), (1 << 31) - 1),
    "u32": _is_within(0, (1 << 32) - 1),
    "words": _are_words,
    "family": lambda value: value in ("inet", "inet6") if isinstance(value, str) else False,
    "value": lambda value: _is_text(value) or _is_within(-(1 << 63), (1 << 64) - 1)(value),
}


def interface_of(state: KernelState, args: dict[str, Any]) -> Interface:
    interface = state.interfaces.by_name(args["name"])
    if interface is None:
        raise KernelError(ENXIO)
    return interface


def on_interface(function: Callable[..., Any], *names: str) -> Perform:
    """An operation on the interface `name`, with these arguments."""

    def perform(state: KernelState, args: dict[str, Any]) -> Any:
        return function(state, interface_of(state, args), *(args[name] for name in names))

    return perform


OPERATIONS: dict[str, Operation] = {}
"""All operations by name: those in `control`, and those that kinds of interfaces have of their own."""
