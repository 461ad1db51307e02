"""sysctl(8): reads and sets the emulated kernel's part of the tree, in FreeBSD's formats.

Names outside that part go to the host's own sysctl, when there is one.
"""

from __future__ import annotations

import sys

from ipsectools import bsdgetopt
from ipsectools.daemon import client
from ipsectools.errno import ENOENT, EPERM, KernelError, from_host, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPTIONS = "AabB:def:hiNnoqtTWxX"

ROOTS = (
    "net.inet.ipsec",
    "net.inet6.ipsec6",
    "net.inet.esp",
    "net.inet.ah",
    "net.key",
    "net.fibs",
    "kern.features.ipsec",
)
"""The subtrees that the emulated kernel has. A name at or below one of them is ours, found or not."""

USAGE = """usage: sysctl [-bdehiNnoqTtWx] [ -B <bufsize> ] [-f filename] name[=value] ...
       sysctl [-bdehNnoqTtWx] [ -B <bufsize> ] -a
"""

TYPE_NAMES = {
    "int": "integer",
    "unsigned int": "unsigned integer",
    "unsigned long": "unsigned long",
    "string": "string",
}


class Options:
    """What the command line asked for; the letters of sysctl(8)."""

    __slots__ = (
        "all",
        "describe",
        "equals",
        "file",
        "hexadecimal",
        "ignore",
        "name_only",
        "quiet",
        "show_type",
        "tunable",
        "value_only",
        "writable",
    )

    def __init__(self) -> None:
        self.all = self.describe = self.equals = self.hexadecimal = self.ignore = self.name_only = False
        self.quiet = self.show_type = self.tunable = self.value_only = self.writable = False
        self.file: str | None = None


LETTERS = {
    "A": "all",
    "a": "all",
    "X": "all",
    "d": "describe",
    "e": "equals",
    "i": "ignore",
    "N": "name_only",
    "n": "value_only",
    "q": "quiet",
    "t": "show_type",
    "T": "tunable",
    "W": "writable",
    "x": "hexadecimal",
}


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status (0, or 1 if anything failed)."""
    options = Options()
    argv = ["sysctl", *arguments]
    parser = bsdgetopt.getopt(argv, OPTIONS)
    for letter, argument in parser:
        if letter == bsdgetopt.BAD:
            return _usage()
        if letter == "f":
            options.file = argument
        elif (
            letter in LETTERS
        ):  # b, B, h and o change how structures and large numbers look; plain numbers stay as they are
            setattr(options, LETTERS[letter], True)
    words = argv[parser.index :]
    if (options.name_only and options.value_only) or not (options.all or words or options.file):
        return _usage()
    try:
        return _Run(options).run([] if options.all else words)
    except client.ClientError as error:
        sys.stderr.write(f"sysctl: {error}\n")
        return 1


def _usage() -> int:
    sys.stderr.write(USAGE)
    return 1


def is_ours(name: str) -> bool:
    """True if the emulated kernel answers for `name`: it lies at or below one of our roots, or leads only to them."""
    return any(name == root or name.startswith(root + ".") for root in ROOTS)


class _Run:
    """One run: the door, the options, and whether something failed."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.door = client.open_control()
        self.status = 0
        self._tree: list[dict[str, Any]] | None = None

    def run(self, words: list[str]) -> int:
        if self.options.all:
            for leaf in self.tree():
                self.show(leaf)
            self.hand_over(["-a"])
            return self.status
        if self.options.file is not None:
            words = [*words, *self.lines_of(self.options.file)]
        for word in words:
            self.one(word)
        return self.status

    def tree(self) -> list[dict[str, Any]]:
        if self._tree is None:
            self._tree = self.door.call("SYSCTLLIST")
        return self._tree

    def lines_of(self, path: str) -> list[str]:
        try:
            with sys.stdin if path == "-" else open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines = [line.split("#")[0].strip() for line in file]
        except OSError as error:
            self.fail(f"{path}: {strerror(from_host(error.errno or 0))}")
            return []
        return ["".join(line.split(maxsplit=0)) for line in lines if line]

    def one(self, word: str) -> None:
        name, separator, value = _split(word)
        if not is_ours(name):
            below = [] if separator else [leaf for leaf in self.tree() if leaf["name"].startswith(name + ".")]
            for leaf in below:
                self.show(leaf)
            self.hand_over([word], quiet=bool(below))
            return
        leaves = [leaf for leaf in self.tree() if leaf["name"] == name]
        if not leaves:
            branch = [leaf for leaf in self.tree() if leaf["name"].startswith(name + ".")]
            if branch and separator:
                self.fail(f"oid '{name}' isn't a leaf node")
            elif branch:
                for leaf in branch:
                    self.show(leaf)
            elif not self.options.ignore:
                self.fail(f"unknown oid '{name}'")
        elif separator:
            self.set(leaves[0], value)
        else:
            self.show(leaves[0])

    def show(self, leaf: dict[str, Any]) -> None:
        options = self.options
        if (options.writable and not leaf["writable"]) or (options.tunable and not leaf["tunable"]):
            return
        name = leaf["name"]
        if options.name_only:
            text = name
        else:
            if options.show_type:
                value = TYPE_NAMES.get(leaf["type"], "opaque")
            elif options.describe:
                value = leaf["description"]
            elif leaf["value"] is None:
                return  # a structure: FreeBSD too shows it only on request
            else:
                value = self.format(leaf["value"])
            text = value if options.value_only else f"{name}{self.separator()}{value}"
        sys.stdout.write(text + "\n")

    def format(self, value: int | str) -> str:
        if self.options.hexadecimal and isinstance(value, int):
            return f"0x{value & 0xFFFFFFFF:x}" if value < 0 else f"0x{value:x}"
        return str(value)

    def separator(self) -> str:
        return "=" if self.options.equals else ": "

    def set(self, leaf: dict[str, Any], text: str) -> None:
        name = leaf["name"]
        if not leaf["writable"]:
            if leaf["tunable"]:
                self.fail(f"oid '{name}' is a read only tunable")
                sys.stderr.write("sysctl: Tunable values are set in /boot/loader.conf\n")
            else:
                self.fail(f"oid '{name}' is read only")
            return
        value: int | str = text
        if leaf["type"] != "string":
            number = parse_number(text, leaf["type"])
            if number is None:
                self.fail(f"invalid {TYPE_NAMES.get(leaf['type'], 'value')} '{text}'")
                return
            value = number
        try:
            old, new = self.door.call("SYSCTLSET", name=name, value=value)
        except KernelError as error:
            if error.errno == ENOENT and self.options.ignore:
                return
            self.fail(
                f"{name}={text}: {strerror(error.errno)}" if error.errno != EPERM else f"{name}: {strerror(EPERM)}"
            )
            return
        leaf["value"] = new
        if self.options.quiet:
            return
        change = f"{self.format(old)} -> {self.format(new)}"
        if self.options.name_only:
            sys.stdout.write(f"{name}\n")
        elif self.options.value_only:
            sys.stdout.write(f"{change}\n")
        else:
            sys.stdout.write(f"{name}{self.separator()}{change}\n")

    def fail(self, text: str) -> None:
        self.status = 1
        if not self.options.quiet:
            sys.stdout.flush()
            sys.stderr.write(f"sysctl: {text}\n")

    def hand_over(self, words: list[str], quiet: bool = False) -> None:
        """Lets the host's sysctl answer for `words`; with `quiet` its not knowing them is no failure."""
        from ipsectools import hosttool

        program = hosttool.find("sysctl")
        if program is None:
            if not quiet and not self.options.ignore and words != ["-a"]:
                self.fail(f"unknown oid '{_split(words[0])[0]}'")
            return
        import subprocess

        sys.stdout.flush()
        letters = "".join(
            letter
            for letter, name in (("e", "ignore"), ("N", "name_only"), ("n", "value_only"), ("q", "quiet"))
            if getattr(self.options, name)
        )
        command = [program, *(["-" + letters] if letters else []), *words]
        result = subprocess.run(command, check=False, stderr=subprocess.DEVNULL if quiet else None)
        if result.returncode and not quiet:
            self.status = 1


def _split(word: str) -> tuple[str, str, str]:
    """`name=value` (or FreeBSD's older `name: value`) in three parts; the separator is empty if there is no value."""
    name, separator, value = word.partition("=")
    return name.strip().rstrip("."), separator, value.strip()


def parse_number(text: str, kind: str) -> int | None:
    """A number as strtol(3) with base 0 reads it, whole; None if it is none or does not fit `kind`."""
    digits = text.strip()
    sign = -1 if digits[:1] == "-" else 1
    digits = digits.lstrip("+-") if digits[:2] not in ("--", "++", "+-", "-+") else ""
    base = 16 if digits[:2].lower() == "0x" else 8 if digits[:1] == "0" and len(digits) > 1 else 10
    try:
        number = sign * int(digits[2:] if base == 16 else digits, base)
    except ValueError:
        return None
    if "_" in digits:
        return None
    low, high = {"int": (-(2**31), 2**31 - 1), "unsigned int": (0, 2**32 - 1)}.get(kind, (0, 2**64 - 1))
    return number if low <= number <= high else None
