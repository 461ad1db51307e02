"""sysctl(8): reads and sets the emulated kernel's part of the tree, in FreeBSD's formats.

Names outside that part go to the host's own sysctl, when there is one. The exit status is the number of words that
failed, as FreeBSD has it.
"""

from __future__ import annotations

import sys

from ipsectools.commands import bsdgetopt
from ipsectools.daemon import client, limits
from ipsectools.errno import EPERM, KernelError, from_host, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.answers import Leaf, StructureName

OPTIONS = "AabB:def:hiNnoqtTwWxX"

ROOTS = (
    "net.inet.ipsec",
    "net.inet6.ipsec6",
    "net.inet.esp",
    "net.inet.ah",
    "net.key",
    "net.fibs",
    "kern.features.ipsec",
)
"""The emulated kernel alone answers for a name at or below one of these, also if it does not exist."""

FREEBSD = ("net.inet.", "net.inet6.", "net.key", "net.fibs", "kern.features")
"""What no Linux has."""

USAGE = """usage: sysctl [-bdehiNnoqtTWx] [ -B <bufsize> ] [-f filename] name[=value] ...
       sysctl [-bdehNnoqtTWx] [ -B <bufsize> ] -a
"""

EX_NOINPUT = 66
CTLTYPE_OPAQUE = 5

TYPES = {
    "int": ("integer", 4, -(2**31), 2**31 - 1),
    "unsigned int": ("unsigned integer", 4, 0, 2**32 - 1),
    "unsigned long": ("unsigned long", 8, 0, 2**64 - 1),
}
"""FreeBSD's name of a numeric type, its bytes, its least and its greatest value."""

STRUCTURES: dict[str, tuple[StructureName, str]] = {
    "net.inet.esp.stats": ("esp", "S,espstat"),
    "net.inet.ah.stats": ("ah", "S,ahstat"),
    "net.inet.ipsec.ipsecstats": ("ipsec", "S,ipsecstat"),
    "net.inet6.ipsec6.ipsecstats": ("ipsec6", "S,ipsecstat"),
}
"""Where the numbers of an opaque variable are in the answer to STATISTICS, and its format."""

LETTERS = {
    "A": "all opaque",
    "a": "all",
    "b": "binary",
    "d": "describe",
    "e": "equals",
    "i": "ignore",
    "N": "name_only",
    "n": "value_only",
    "o": "opaque",
    "q": "quiet",
    "t": "show_type",
    "T": "tunable",
    "W": "writable",
    "x": "hexadecimal",
    "X": "all hexadecimal",
}
"""What the letters of sysctl(8) set. -h groups digits (not in the C locale), -w is of old, -B is for nothing here."""


class Options:
    """What the command line asked for."""

    __slots__ = ("file", *sorted({name for names in LETTERS.values() for name in names.split()}))

    def __init__(self) -> None:
        self.all = self.binary = self.describe = self.equals = self.hexadecimal = self.ignore = False
        self.name_only = self.opaque = self.quiet = self.show_type = self.tunable = False
        self.value_only = self.writable = False
        self.file: str | None = None


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status: how many words failed (at most 255), 1 for a wrong command line."""
    options = Options()
    argv = ["sysctl", *arguments]
    parser = bsdgetopt.getopt(argv, OPTIONS)
    for letter, argument in parser:
        if letter == bsdgetopt.BAD:
            return _usage()
        if letter == "f":
            options.file = argument
        for name in LETTERS.get(letter, "").split():
            setattr(options, name, True)
    words = argv[parser.index :]
    if options.name_only and options.value_only:
        return _usage()
    if not (options.all or words or options.file):
        return _usage()
    try:
        return _Run(options).run(words)
    except client.ClientError as error:
        sys.stderr.write(f"sysctl: {error}\n")
        return 1


def _usage() -> int:
    sys.stderr.write(USAGE)
    return 1


class _Run:
    """One run: the door, the options, how many words failed, and where in a file the current word is."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.door = client.open_control()
        self.failures = 0
        self.where = ""
        self.hidden = False
        self._tree: list[Leaf] | None = None

    def run(self, words: list[str]) -> int:
        if self.options.all and not words:
            for leaf in self.tree():
                self.show(leaf)
            self.hand_over("-a")
        if self.options.file is not None and not self.read_file(self.options.file):
            return EX_NOINPUT
        for word in words:
            if not self.one(word):
                break
        return min(self.failures, 255)

    def tree(self) -> list[Leaf]:
        """Empty if it is `hidden`: in a kernel of root's, while the host's part is everybody's to read."""
        if self._tree is None:
            try:
                self._tree = self.door.call("SYSCTLLIST")
            except KernelError as error:
                if error.errno != EPERM:
                    raise
                self.hidden, self._tree = True, []
                limits.advice = ""  # nobody may have asked for it
        return self._tree

    def read_file(self, path: str) -> bool:
        """Does what the lines of a file say; False if it cannot be read."""
        try:
            with open(0 if path == "-" else path, encoding="utf-8", errors="surrogateescape") as file:
                lines = file.read().splitlines()
        except OSError as error:
            self.fail(f"{path}: {strerror(from_host(error.errno or 0))}")
            return False
        for number, line in enumerate(lines, 1):
            word = line.partition("#")[0].strip()
            self.where = f" at line {number}"
            if word and not self.one(word):
                break
        self.where = ""
        return True

    def one(self, word: str) -> bool:
        """One name or assignment. False: the rest is not to be looked at."""
        name, value = split(word)
        if value is not None and (self.options.tunable or self.options.writable):
            self.fail("Can't set variables when using -T or -W")
            sys.stderr.write(USAGE)
            return False
        leaf = next((leaf for leaf in self.tree() if leaf["name"] == name), None)
        below = [leaf for leaf in self.tree() if leaf["name"].startswith(name + ".")]
        if leaf is not None:
            if value is None or self.options.describe:
                self.show(leaf)
            else:
                self.set(leaf, value, word)
        elif self.hidden and name.startswith(FREEBSD):
            limits.advise()
            self.fail(f"{word}{self.where}: {strerror(EPERM)}")
        elif not _is_ours(name):
            for each in below if value is None else ():
                self.show(each)
            self.hand_over(word, known=bool(below))
        elif not below:
            self.unknown(name)
        elif value is not None:
            self.fail(f"oid '{name}' isn't a leaf node{self.where}")
        else:
            for each in below:
                self.show(each)
        return True

    # showing

    def show(self, leaf: Leaf) -> None:
        options = self.options
        if (options.writable and not leaf["writable"]) or (options.tunable and not leaf["tunable"]):
            return
        name, end = leaf["name"], "" if options.binary else "\n"
        if options.name_only:
            sys.stdout.write(name + end)
            return
        is_about = options.describe or options.show_type
        if options.binary and not is_about:
            sys.stdout.flush()
            sys.stdout.buffer.write(self.bytes_of(leaf))
            return
        text = self.about(leaf) if is_about else self.value_text(leaf)
        if text is not None:
            sys.stdout.write(("" if options.value_only else name + self.separator()) + text + end)

    def about(self, leaf: Leaf) -> str:
        """What -t and -d show."""
        texts = []
        if self.options.show_type:
            texts.append(_type_name(leaf))
        if self.options.describe:
            texts.append(leaf["description"])
        return self.separator().join(texts)

    def value_text(self, leaf: Leaf) -> str | None:
        """The value as text; None for a structure, which is shown on request only."""
        value = leaf["value"]
        if value is not None:
            return self.number(leaf, value)
        if not (self.options.opaque or self.options.hexadecimal):
            return None
        data = self.bytes_of(leaf)
        shown = data if self.options.hexadecimal else data[:16]
        rest = "..." if len(shown) < len(data) else ""
        return f"Format:{STRUCTURES[leaf['name']][1]} Length:{len(data)} Dump:0x{shown.hex()}{rest}"

    def number(self, leaf: Leaf, value: int | str) -> str:
        if not (self.options.hexadecimal and isinstance(value, int)):
            return str(value)
        size = TYPES[leaf["type"]][1]
        # as printf's %#0*x has it: no prefix before a zero, but its width
        return f"{value & (1 << size * 8) - 1:#0{2 + size * 2}x}" if value else "0" * (2 + size * 2)

    def bytes_of(self, leaf: Leaf) -> bytes:
        """The value as the kernel has it in memory."""
        value = leaf["value"]
        if value is None:
            values = self.door.call("STATISTICS")[STRUCTURES[leaf["name"]][0]]
            return b"".join(each.to_bytes(8, sys.byteorder) for each in values)
        if isinstance(value, str):
            return value.encode() + b"\0"
        size = TYPES[leaf["type"]][1]
        return int(value & (1 << size * 8) - 1).to_bytes(size, sys.byteorder)

    def separator(self) -> str:
        return "=" if self.options.equals else ": "

    # setting

    def set(self, leaf: Leaf, text: str, word: str) -> None:
        name = leaf["name"]
        if leaf["value"] is None:  # to be cleared by a program that knows its layout
            self.fail(f"oid '{name}' is type {CTLTYPE_OPAQUE}, cannot set that{self.where}")
            return
        if not leaf["writable"]:
            if leaf["tunable"]:
                self.fail(f"oid '{name}' is a read only tunable{self.where}")
                sys.stderr.write("sysctl: Tunable values are set in /boot/loader.conf\n")
            else:
                self.fail(f"oid '{name}' is read only{self.where}")
            return
        if not text:
            self.fail("empty numeric value")
            return
        value = parse_number(text, leaf["type"])
        if value is None:
            self.fail(f"invalid {_type_name(leaf)} '{text}'{self.where}")
            return
        options = self.options
        end = "" if options.binary else "\n"
        before = name if options.name_only else self.number(leaf, leaf["value"])
        if not (options.value_only or options.name_only):
            before = name + self.separator() + before
        try:
            _, new = self.door.call("SYSCTLSET", name=name, value=value)
        except KernelError as error:
            sys.stdout.write(before + end)
            detail = f" ({error.detail})" if error.detail else ""
            self.fail(f"{word}{self.where}: {strerror(error.errno)}{detail}")
            return
        leaf["value"] = new
        after = name if options.name_only else self.number(leaf, new)
        sys.stdout.write(before + ("" if options.binary else " -> ") + after + end)

    # failures, and the host's part

    def fail(self, text: str) -> None:
        self.failures += 1
        sys.stdout.flush()
        sys.stderr.write(f"sysctl: {text}\n")

    def unknown(self, name: str) -> None:
        if self.options.ignore:
            return
        if self.options.quiet:
            self.failures += 1
        else:
            self.fail(f"unknown oid '{name}'{self.where}")

    def hand_over(self, word: str, known: bool = False) -> None:
        """Lets the host's sysctl answer for a word; if it is `known` to us, its not knowing it is no failure."""
        from ipsectools.commands import hosttool

        options = self.options
        if options.describe or options.show_type or options.tunable or options.writable or options.binary:
            program = None  # Linux's sysctl has nothing of this kind
        else:
            program = hosttool.find("sysctl")
        if program is None:
            if not known and word != "-a":
                self.unknown(split(word)[0])
            return
        import subprocess

        sys.stdout.flush()
        flags = (("e", options.ignore), ("N", options.name_only), ("n", options.value_only))
        letters = "".join(letter for letter, is_set in flags if is_set)
        command = [program, *([f"-{letters}"] if letters else []), word]
        silent = subprocess.DEVNULL if known or options.quiet or word == "-a" else None
        result = subprocess.run(command, check=False, stderr=silent)
        if result.returncode and not known and word != "-a":
            self.failures += 1


def _is_ours(name: str) -> bool:
    return any(name == root or name.startswith(root + ".") for root in ROOTS)


def _type_name(leaf: Leaf) -> str:
    known = TYPES.get(leaf["type"])
    return known[0] if known else "string" if leaf["type"] == "string" else "opaque"


def split(word: str) -> tuple[str, str | None]:
    """`name`, `name=value` or `name:value` as a name and its value (None: there is none); quotes around it go."""
    ends = [at for at in (word.find("="), word.find(":")) if at >= 0]
    if not ends:
        return word.strip().rstrip("."), None
    value = word[min(ends) + 1 :].lstrip()
    if value[:1] in ("'", '"'):
        value = value[1:-1] if len(value) > 1 and value[-1] == value[0] else value[1:]
    return word[: min(ends)].strip().rstrip("."), value


def parse_number(text: str, kind: str) -> int | None:
    """A number as strtol(3) with base 0 reads it, whole; None if it is none or does not fit `kind`."""
    digits = text.lstrip()
    sign = -1 if digits[:1] == "-" else 1
    if digits[:1] in ("-", "+"):
        digits = digits[1:]
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[:1] == "0" and len(digits) > 1 else 10
    if base == 16:
        digits = digits[2:]
    if not digits.isascii() or not digits.isalnum() or len(digits) > 64:
        return None
    try:
        number = sign * int(digits, base)
    except ValueError:
        return None
    _, _, low, high = TYPES[kind]
    return number if low <= number <= high else None
