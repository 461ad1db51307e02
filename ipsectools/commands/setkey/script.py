"""Script mode: statements in, requests out, each as soon as its `;` has been read."""

from __future__ import annotations

from ipsectools.commands.setkey import lalr
from ipsectools.commands.setkey.actions import Actions, Failure
from ipsectools.commands.setkey.lexer import COMPLETE, END, ILLEGAL, Lexer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from ipsectools.commands.setkey.addresses import Resolver
    from ipsectools.commands.setkey.algorithms import Algorithms
    from ipsectools.commands.setkey.statements import Statement

    class Printer(Protocol):
        """Where messages go: an Output, or what looks like one."""

        def write(self, text: str, /) -> None: ...

        def write_error(self, text: str, /) -> None: ...

        def flush(self) -> None: ...


_LARGEST_PLAN = 64  # tokens
_MOST_PLANS = 1024


class Script:
    """Reads a script from `read` (see Lexer) and gives each statement to `execute`, with its line.

    `execute` says whether it could do anything with the statement; if not, that ends the script like an error in it.

    What the parser does depends on the kinds of a statement's tokens alone. So the actions that it ran for one
    statement are kept as a plan (action, its token, the token read when it ran) and run again, without the parser, for
    the next statement of the same shape. What is not a whole correct statement always goes through the parser.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        output: Printer,
        resolver: Resolver,
        algorithms: Algorithms,
        execute: Callable[[Statement, int], bool],
    ) -> None:
        self._lexer = Lexer(read)
        self._output = output
        self._execute = execute
        self._actions = Actions(
            resolver,
            algorithms,
            complain=self._complain,
            write=output.write,
            write_error=output.write_error,
            execute=self._run,
        )
        self._machine = lalr.Machine(lalr.load("grammar"), self._act)
        self._plans: dict[tuple[str, ...], list[tuple[Callable[[str], None], int, int]]] = {}
        self._plan: list[tuple[Callable[[str], None], int, int]] = []
        self._latest = 0  # the token read last, as far as the actions are concerned
        self._fed = 0  # tokens of the statement that the parser has seen

    def run(self) -> int:
        """Does the whole script. The exit status: 0, or 1 after an error in it (an answer of the kernel is none)."""
        lexer = self._lexer
        while True:
            found = lexer.scan()
            try:
                if found == COMPLETE:
                    self._complete()
                    lexer.begin()
                    continue
                self._feed()
                if found == ILLEGAL:
                    self._output.write(f"line {lexer.line}: Syntax error at [{lexer.illegal}]\n")
                    return 1
                if found == END:
                    if self._machine.untouched:
                        return 0
                    self._latest = len(lexer.kinds)
                    self._machine.feed(lalr.END, self._latest)
                    return self._syntax_error()
            except Failure:
                return self._failed()
            except _SyntaxError:
                return self._syntax_error()
            self._output.flush()
            lexer.refill()

    def _complete(self) -> None:
        kinds = self._lexer.kinds
        if self._fed == 0 and (plan := self._plans.get(tuple(kinds))) is not None:
            self._actions.begin()
            texts = self._lexer.texts
            for action, token, latest in plan:
                self._latest = latest
                action(texts[token])
            return
        whole = self._fed == 0
        self._feed()
        if whole and len(kinds) <= _LARGEST_PLAN and len(self._plans) < _MOST_PLANS:
            self._plans[tuple(kinds)] = self._plan
        self._fed = 0
        self._machine.restart()

    def _feed(self) -> None:
        """Gives the parser the tokens it has not seen. Raises Failure or _SyntaxError."""
        kinds = self._lexer.kinds
        if self._fed == 0 and kinds:
            self._actions.begin()
            self._plan = []
        while self._fed < len(kinds):
            self._latest = index = self._fed
            self._fed += 1
            kind = kinds[index]
            if kind != "COMMENT" and not self._machine.feed(kind, index):
                raise _SyntaxError

    def _act(self, name: str, token: int) -> None:
        action = getattr(self._actions, name)
        self._plan.append((action, token, self._latest))
        action(self._lexer.texts[token])

    def _run(self, statement: Statement) -> None:
        if not self._execute(statement, self._lexer.line):
            raise Failure

    def _complain(self, text: str) -> None:
        lexer = self._lexer
        self._output.write(f"line {lexer.line_of(self._latest)}: {text} at [{lexer.shown(self._latest)}]\n")

    def _syntax_error(self) -> int:
        self._complain("syntax error")
        return self._failed()

    def _failed(self) -> int:
        self._output.write(f"parse failed, line {self._lexer.line_of(self._latest)}.\n")
        return 1


class _SyntaxError(Exception):
    """A token that cannot stand where it does."""
