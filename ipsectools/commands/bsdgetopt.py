"""FreeBSD's getopt(3): order of processing, clusters, and the exact words of its complaints.

Parsing stops at the first word that is not an option (nothing is permuted), at `--` (which is skipped) and at a lone
`-`. Complaints go to standard error, named after the program: `PROG: illegal option -- x` and
`PROG: option requires an argument -- f`.

    for option, argument in (options := getopt(argv, "c:v")):
        ...
    operands = argv[options.index:]
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

BAD = "?"
"""The option given for an unknown letter or a missing argument (the complaint is already printed)."""


class Getopt:
    """Iterator of (option, argument) over `argv`; `argv[0]` is the program, `index` the next word to look at."""

    __slots__ = ("_argv", "_letters", "_long_options", "_program", "_rest", "index")

    def __init__(self, argv: Sequence[str], letters: str, long_options: Collection[str], program: str) -> None:
        self._argv = argv
        self._letters = letters
        self._long_options = long_options
        self._program = program
        self._rest = ""  # of the cluster being read
        self.index = 1

    def __iter__(self) -> Getopt:
        return self

    def __next__(self) -> tuple[str, str | None]:
        if not self._rest:
            word = self._argv[self.index] if self.index < len(self._argv) else ""
            if word[:2] == "--" and (found := self._long_option(word)):
                return found
            if word[:1] != "-" or word == "-":
                raise StopIteration
            if word == "--":
                self.index += 1
                raise StopIteration
            self._rest = word[1:]
        letter, self._rest = self._rest[0], self._rest[1:]
        position = -1 if letter == ":" else self._letters.find(letter)
        takes_argument = position >= 0 and self._letters[position + 1 : position + 2] == ":"
        argument = None
        if takes_argument and self._rest:
            argument, self._rest = self._rest, ""
        if not self._rest:
            self.index += 1
        if position < 0:
            return self._complain(f"illegal option -- {letter}")
        if takes_argument and argument is None:
            if self.index >= len(self._argv):
                return self._complain(f"option requires an argument -- {letter}")
            argument = self._argv[self.index]
            self.index += 1
        return letter, argument

    def _long_option(self, word: str) -> tuple[str, str | None] | None:
        """The long option that `word` is, if it is one of ours exactly; anything else is FreeBSD's to judge."""
        name, equals, value = word.partition("=")
        if name + ":" in self._long_options:
            self.index += 1
            if equals:
                return name, value
            if self.index >= len(self._argv):
                return self._complain(f"option requires an argument -- {name[2:]}")
            self.index += 1
            return name, self._argv[self.index - 1]
        if word in self._long_options and word != "--":
            self.index += 1
            return word, None
        return None

    def _complain(self, text: str) -> tuple[str, None]:
        sys.stderr.write(f"{self._program}: {text}\n")
        sys.stderr.flush()
        return BAD, None


def getopt(
    argv: Sequence[str], letters: str, long_options: Collection[str] = (), *, program: str | None = None
) -> Getopt:
    """Options of `argv` (with `argv[0]`, the program) by getopt(3)'s letters, where `x:` takes an argument.

    `long_options` are words beyond FreeBSD, as `--json`, or `--libxo:` if they take an argument (in the next word or
    after `=`); they are given with their dashes. `program` is the name in complaints; default: last part of `argv[0]`.
    """
    if program is None:
        program = (argv[0] if argv else "").rpartition("/")[2]
    return Getopt(argv, letters, long_options, program)
