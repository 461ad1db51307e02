"""The policy language of ipsec_set_policy(3): the text after -P to a policy extension."""

from __future__ import annotations

import re

from ipsectools.commands.setkey import errors, lalr
from ipsectools.commands.setkey.addresses import NO_NAME, numeric
from ipsectools.commands.setkey.names import ACTION, DIRECTION, LEVEL, MODE, PROTOCOL
from ipsectools.pfkey import policy as policies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_IN, _OUT = 1, 2
_IPSEC = 2
_TUNNEL = 2
_UNIQUE = 3

_TOKEN = re.compile(
    r"[ \t\n]*+(?:(?P<LEVEL_UNIQUE>unique:[0-9]++(?![A-Za-z0-9:._%]))"
    r"|(?P<ADDRESS>[A-Za-z0-9:._]++(?:%[A-Za-z0-9]++)?)"
    r"|(?P<SLASH>/)|(?P<MINUS>-)|(?P<STRAY>.))?"
)
_KEYWORDS = (
    dict.fromkeys(DIRECTION, "DIRECTION")
    | dict.fromkeys(ACTION, "ACTION")
    | dict.fromkeys(PROTOCOL, "PROTOCOL")
    | dict.fromkeys(["transport", "tunnel"], "MODE")
    | dict.fromkeys(LEVEL, "LEVEL")
    | {"me": "ME", "any": "ANY"}
)

_tables: lalr.Tables | None = None


class PolicyError(Exception):
    """The text is no policy. `text` is ipsec_strerror(3)'s, `detail` what libipsec itself says of it (or nothing)."""

    def __init__(self, text: str, detail: str = "") -> None:
        super().__init__(text, detail)
        self.text = text
        self.detail = detail


class Policy:
    """What a policy text says, in the numbers of netipsec/ipsec.h. A bare direction has action 0."""

    __slots__ = ("action", "direction", "requests")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, direction: int = 0, action: int = 0, requests: list[policies.Request] | None = None) -> None:
        self.direction = direction
        self.action = action
        self.requests = requests or []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and self.pack() == other.pack()

    def pack(self) -> bytes:
        """The policy extension as setkey sends it: without id, scope and priority."""
        return policies.policy(self.action, self.direction, policies.pack_requests(self.requests))


def parse(text: str, interface_index: Callable[[str], int], echo: Callable[[str], None]) -> Policy:
    """Reads a policy text. Raises PolicyError.

    `interface_index` gives the index of an interface's name or 0; `echo` gets characters that no token begins with,
    which FreeBSD's scanner writes to standard output.
    """
    global _tables
    if _tables is None:
        _tables = lalr.load("policy")
    reader = _Reader(interface_index)
    machine = lalr.Machine(_tables, reader.act)
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind is None:
            break
        token = match[kind]
        if kind == "STRAY":
            echo(token)
            continue
        if kind == "ADDRESS":
            kind = _KEYWORDS.get(token, kind)
        reader.tokens.append(token)
        if not machine.feed(kind, len(reader.tokens) - 1):
            raise PolicyError(errors.INVALID_ARGUMENT, f'syntax error while parsing "{token}"')
    if not machine.feed(lalr.END, -1):
        raise PolicyError(errors.INVALID_ARGUMENT, 'syntax error while parsing ""')
    return reader.policy


class _Reader:
    """The actions of policy.lark."""

    __slots__ = ("_interface_index", "_level", "_mode", "_protocol", "_reqid", "_sides", "policy", "tokens")

    def __init__(self, interface_index: Callable[[str], int]) -> None:
        self._interface_index = interface_index
        self.policy = Policy()
        self.tokens: list[str] = []
        self._next_request()

    def _next_request(self) -> None:
        self._protocol = self._mode = self._level = self._reqid = 0
        self._sides: list[bytes] = []

    def act(self, action: str, token: int) -> None:
        """An action of the grammar; `token` is the index of its token. Raises PolicyError."""
        text = self.tokens[token] if token >= 0 else ""
        if action == "direction":
            self.policy.direction = DIRECTION[text]
        elif action == "action":
            self.policy.action = ACTION[text]
        elif action == "protocol":
            self._protocol = PROTOCOL[text]
        elif action == "mode":
            self._mode = MODE[text]
        elif action == "level":
            self._level = LEVEL[text]
        elif action == "level_unique":
            self._level = _UNIQUE
            self._reqid = _atol(text.partition(":")[2]) & 0xFFFF
        elif action in ("source", "destination"):
            self._address(text)
        elif action in ("me_any", "any_me"):
            if self.policy.direction != (_OUT if action == "me_any" else _IN):
                raise PolicyError(errors.INVALID_DIRECTION)
        elif action == "incomplete":
            raise PolicyError(errors.FEW_ARGUMENTS)
        elif action == "request":
            self._request()

    def _address(self, text: str) -> None:
        address = numeric(text, self._interface_index)
        if address is None:
            raise PolicyError(NO_NAME, f'invalid IP address while parsing "{text}"')
        self._sides.append(address)

    def _request(self) -> None:
        if self.policy.action == _IPSEC:
            if not self._sides and self._mode == _TUNNEL:
                raise PolicyError(errors.INVALID_ADDRESS)
            if self._sides and self._sides[0][1] != self._sides[1][1]:
                raise PolicyError(errors.FAMILY_MISMATCH)
        self.policy.requests.append(
            policies.Request(self._protocol, self._mode, self._level, self._reqid, *self._sides)
        )
        self._next_request()


def _atol(digits: str) -> int:
    digits = digits.lstrip("0")
    return min(int(digits or "0"), (1 << 63) - 1) if len(digits) < 20 else (1 << 63) - 1
