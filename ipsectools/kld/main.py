"""kldload(8), kldstat(8) and kldunload(8): start ipsecd, look for it, stop it."""

from __future__ import annotations

import os
import sys

from ipsectools import bsdgetopt
from ipsectools.daemon import client, manage
from ipsectools.errno import EBUSY, ENOENT, strerror

FILE = "ipsec.ko"
"""The file that both modules are in (if_ipsec(4): the driver is part of the ipsec module)."""

FILE_ID = 2
"""As if loaded right after the kernel, which is file 1."""

MODULES = ("ipsec", "if_ipsec")

NAMES = frozenset([*MODULES, *(f"{module}.ko" for module in MODULES)])

USAGE = {
    "kldload": "usage: kldload [-nqv] file ...\n",
    "kldstat": "usage: kldstat [-hqv] [-i id] [-n filename]\n       kldstat [-q] [-m modname]\n",
    "kldunload": "usage: kldunload [-fnv] [-i id] [name ...]\n",
}


def main(argv: list[str]) -> int:
    """Runs the program named by `argv[0]`; returns its exit status."""
    program = argv[0]
    run = {"kldload": _load, "kldstat": _stat, "kldunload": _unload}[program]
    letters = {"kldload": "nqv", "kldstat": "hi:m:n:qv", "kldunload": "fi:nv"}[program]
    options: dict[str, str | None] = {}
    parser = bsdgetopt.getopt(argv, letters)
    for letter, argument in parser:
        if letter == bsdgetopt.BAD:
            return _usage(program)
        options[letter] = argument
    try:
        return run(options, argv[parser.index :])
    except client.ClientError as error:
        return _fail(program, str(error))


def _usage(program: str) -> int:
    sys.stderr.write(USAGE[program])
    return 1


def _fail(program: str, text: str) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"{program}: {text}\n")
    return 1


def _loaded() -> bool:
    return manage.status() is not None


def _load(options: dict[str, str | None], words: list[str]) -> int:
    if not words:
        return _usage("kldload")
    status = 0
    for word in words:
        if word not in NAMES:
            status = _fail("kldload", f"can't load {word}: {strerror(ENOENT)}")
        elif _loaded():
            if "n" not in options:
                status = _fail("kldload", f"can't load {word}: module already loaded or in kernel")
        else:
            os.environ.setdefault("IPSECTOOLS_IDLE", "0")  # what was loaded by hand stays
            manage.start()
            if "v" in options:
                sys.stdout.write(f"Loaded {word}, id={FILE_ID}\n")
    return status


def _stat(options: dict[str, str | None], words: list[str]) -> int:
    if words or ("m" in options and ("i" in options or "n" in options)):
        return _usage("kldstat")
    quiet = "q" in options
    loaded = _loaded()
    if "m" in options:
        module = options["m"]
        if not loaded or module not in MODULES:
            return 1 if quiet else _fail("kldstat", f"can't find module {module}: {strerror(ENOENT)}")
        if not quiet:
            sys.stdout.write(f"Id  Refs Name\n{MODULES.index(module) + 1:3d} {1:4d} {module}\n")
        return 0
    if "n" in options and (not loaded or options["n"] not in NAMES):
        return 1 if quiet else _fail("kldstat", f"can't find file {options['n']}: {strerror(ENOENT)}")
    if "i" in options and (not loaded or options["i"] != str(FILE_ID)):
        return 1 if quiet else _fail("kldstat", f"can't stat file id {options['i']}: {strerror(ENOENT)}")
    if not quiet:
        sys.stdout.write("Id Refs Address                Size Name\n")
        if loaded:
            sys.stdout.write(f"{FILE_ID:2d} {1:4d} 0x{0:016x} {0:8x} {FILE}\n")
            if "v" in options:
                modules = "".join(f"\t\t{number:2d} {name}\n" for number, name in enumerate(MODULES, 1))
                sys.stdout.write(f"\tContains modules:\n\t\tId Name\n{modules}")
    return 0


def _unload(options: dict[str, str | None], words: list[str]) -> int:
    if "i" in options:
        words = [*words, FILE if options["i"] == str(FILE_ID) else f"id {options['i']}"]
    if not words:
        return _usage("kldunload")
    status = 0
    for word in words:
        if word not in NAMES or not _loaded():
            status = _fail("kldunload", f"can't find file {word}")
        elif any(interface["reqid"] is not None for interface in client.open_control().call("LISTIF")):
            status = _fail("kldunload", f"can't unload file: {strerror(EBUSY)}")
        else:
            if "v" in options:
                sys.stdout.write(f"Unloading {FILE}, id={FILE_ID}\n")
            manage.stop()
    return status
