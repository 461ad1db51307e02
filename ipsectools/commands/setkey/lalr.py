"""LALR(1) parsing by tables that Lark makes, with byacc's timing.

FreeBSD's setkey and libipsec are byacc programs, and when byacc acts can be seen from outside: a state that can only
reduce one rule reduces it before another token is read (so a host name is looked up, and complained about, before
anything is known of what follows it), and a state that can shift never reduces unless the next token allows it. Lark's
own runtime always reads first, hence this small machine over Lark's tables. It also keeps Lark, which takes 80 ms to
import and to work out the tables, out of a normal run: the tables are kept in the package's `__pycache__`.

`python -m ipsectools.commands.setkey.lalr` makes these files (for an installation its users cannot write to).
"""

from __future__ import annotations

import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

END = "$END"
"""The terminal after the last one."""

GRAMMARS = {"grammar": "statement", "policy": "policy"}
"""The grammar files of this package and their start symbols."""

_FORMAT = 1
_PUNCTUATION = frozenset(["SEMICOLON", "SLASH", "LSQB", "RSQB", "MINUS"])
_HERE = os.path.dirname(os.path.abspath(__file__))


class Tables:
    """What the machine runs on; states and rules are numbers.

    `moves[state][terminal]` is a state to shift to, or -1 - rule to reduce by; `gotos[state][nonterminal]` a state;
    `defaults[state]` the rule that is reduced without looking, or -1; `rules[rule]` is (length, nonterminal, action,
    position of the terminal whose text the action gets, or -1).
    """

    __slots__ = ("accept", "defaults", "gotos", "moves", "rules", "start")

    def __init__(
        self,
        start: int,
        accept: int,
        moves: list[dict[str, int]],
        gotos: list[dict[str, int]],
        defaults: list[int],
        rules: list[tuple[int, str, str, int]],
    ) -> None:
        self.start = start
        self.accept = accept
        self.moves = moves
        self.gotos = gotos
        self.defaults = defaults
        self.rules = rules


class Machine:
    """One parse. `act(action, value)` is called for every reduced rule that has an action; it may raise."""

    __slots__ = ("_act", "_states", "_tables", "_values")

    def __init__(self, tables: Tables, act: Callable[[str, int], None]) -> None:
        self._tables = tables
        self._act = act
        self._states = [tables.start]
        self._values: list[int] = []

    def restart(self) -> None:
        """Forgets everything read."""
        del self._states[1:]
        self._values.clear()

    @property
    def accepted(self) -> bool:
        """Whether what was read is a whole sentence."""
        return self._states[-1] == self._tables.accept

    @property
    def untouched(self) -> bool:
        """Whether nothing was read yet."""
        return len(self._states) == 1

    def feed(self, terminal: str, value: int) -> bool:
        """Reads one terminal; `value` is what actions get for it. False: it cannot stand here (a syntax error)."""
        tables = self._tables
        states = self._states
        while True:
            move = tables.moves[states[-1]].get(terminal)
            if move is None:
                return terminal == END and self.accepted
            if move >= 0:
                break
            self._reduce(-1 - move, value)
        states.append(move)
        self._values.append(value)
        while (rule := tables.defaults[states[-1]]) >= 0:
            self._reduce(rule, value)
        return True

    def _reduce(self, rule: int, latest: int) -> None:
        length, symbol, action, position = self._tables.rules[rule]
        states = self._states
        values = self._values
        base = len(values) - length
        value = values[base + position] if position >= 0 else latest
        del values[base:], states[base + 1 :]
        states.append(self._tables.gotos[states[-1]][symbol])
        values.append(latest)
        if action:
            self._act(action, value)


def load(name: str) -> Tables:
    """The tables of `name`.lark in this package: from the cache, or made by Lark (and cached if that is possible)."""
    with open(f"{_HERE}/{name}.lark", encoding="ascii") as file:
        text = file.read()
    path = f"{_HERE}/__pycache__/{name}.tables"
    try:
        with open(path, "rb") as cache:
            known = marshal.loads(cache.read())
        if known[:2] == (_FORMAT, text):
            return Tables(*known[2])
    except (OSError, ValueError, EOFError, TypeError, IndexError):
        pass
    parts = _make(text, GRAMMARS[name])
    _save(path, marshal.dumps((_FORMAT, text, parts)))
    return Tables(*parts)


def _save(path: str, data: bytes) -> None:
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except OSError:
        return  # no place for it: the next run works the tables out again
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)


def _make(
    text: str, start: str
) -> tuple[int, int, list[dict[str, int]], list[dict[str, int]], list[int], list[tuple[int, str, str, int]]]:
    from lark import Lark
    from lark.lexer import Lexer
    from lark.parsers.lalr_analysis import Shift

    class NoLexer(Lexer):
        """Terminals come from outside."""

        def __init__(self, configuration: object) -> None:
            pass

        def lex(self, *arguments: object) -> object:  # type: ignore[override]
            raise NotImplementedError

    lark = Lark(text, parser="lalr", lexer=NoLexer, start=start, maybe_placeholders=False)
    table = lark.parse_interactive("").parser_state.parse_conf.parse_table
    rules: list[tuple[int, str, str, int]] = []
    number_of: dict[object, int] = {}
    count = len(table.states)
    moves: list[dict[str, int]] = [{} for _ in range(count)]
    gotos: list[dict[str, int]] = [{} for _ in range(count)]
    for state, actions in table.states.items():
        for symbol, (kind, target) in actions.items():
            if kind is not Shift:
                if target not in number_of:
                    number_of[target] = len(rules)
                    rules.append(_rule(target))
                moves[state][str(symbol)] = -1 - number_of[target]
            elif symbol == END or symbol.isupper():
                moves[state][str(symbol)] = target
            else:
                gotos[state][str(symbol)] = target
    first = table.start_states[start]
    defaults = [-1] * count
    for state, row in enumerate(moves):
        targets = set(row.values())
        if len(targets) == 1 and (move := targets.pop()) < 0:
            defaults[state] = -1 - move
    return first, gotos[first][start], moves, gotos, defaults, rules


def _rule(rule: object) -> tuple[int, str, str, int]:
    expansion = rule.expansion  # type: ignore[attr-defined]
    position = -1
    for index, symbol in enumerate(expansion):
        if symbol.is_term and symbol.name not in _PUNCTUATION and not symbol.name.startswith("OPTION_"):
            position = index
    return len(expansion), str(rule.origin.name), str(rule.alias or ""), position  # type: ignore[attr-defined]


if __name__ == "__main__":
    for grammar in GRAMMARS:
        load(grammar)
