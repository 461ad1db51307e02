"""kldload(8), kldstat(8) and kldunload(8): start ipsecd, look for it, stop it; and TCP signatures in its kernel."""

from __future__ import annotations

import os
import sys

from ipsectools.commands import bsdgetopt
from ipsectools.daemon import client, limits, manage
from ipsectools.errno import EBUSY, ENOENT, EPERM, KernelError, strerror

FILE = "ipsec.ko"
"""The file that is ipsecd."""

TCPMD5 = "tcpmd5.ko"
"""The file without which the kernel refuses SAs of TCP signatures. It needs the other one."""

FILES = {FILE: ("ipsec", "if_ipsec"), TCPMD5: ("tcpmd5",)}
"""The modules in each file (if_ipsec(4): the driver is part of the ipsec module), in the order of their ids."""

FILE_ID = {FILE: 2, TCPMD5: 3}
"""As if loaded right after the kernel, which is file 1."""

MODULE_ID = {module: number for number, module in enumerate([*FILES[FILE], *FILES[TCPMD5]], 1)}

FILE_OF = {name: file for file, modules in FILES.items() for each in modules for name in (each, f"{each}.ko")}
"""By what a file may be called: the name of a module, or that with the ending of a file."""

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


def _loaded() -> list[str]:
    """The files that are loaded."""
    if manage.status() is None:
        return [FILE] if manage.is_served_for_others() else []
    return [FILE, *client.open_control().call("KLDSTAT")]


def _load(options: dict[str, str | None], words: list[str]) -> int:
    if not words:
        return _usage("kldload")
    status = 0
    for word in words:
        file, loaded = FILE_OF.get(word), _loaded()
        if file is None:
            status = _fail("kldload", f"can't load {word}: {strerror(ENOENT)}")
        elif file in loaded:
            if "n" not in options:
                status = _fail("kldload", f"can't load {word}: module already loaded or in kernel")
        else:
            try:
                if FILE not in loaded:
                    os.environ.setdefault("IPSECTOOLS_IDLE", "0")  # what was loaded by hand stays
                    manage.start()
                if file not in _loaded():  # the state file may say that it is
                    client.open_control().call("KLDLOAD", file=file)
            except (client.ClientError, KernelError) as error:
                status = _fail("kldload", f"can't load {word}: {error}")
                continue
            if "v" in options:
                sys.stdout.write(f"Loaded {word}, id={FILE_ID[file]}\n")
    return status


def _stat(options: dict[str, str | None], words: list[str]) -> int:
    if words or ("m" in options and ("i" in options or "n" in options)):
        return _usage("kldstat")
    quiet = "q" in options
    files = _loaded()
    if "m" in options:
        module = options["m"]
        if not any(module in FILES[file] for file in files):
            return 1 if quiet else _fail("kldstat", f"can't find module {module}: {strerror(ENOENT)}")
        if not quiet:
            sys.stdout.write(f"Id  Refs Name\n{MODULE_ID[str(module)]:3d} {1:4d} {module}\n")
        return 0
    if "n" in options:
        files = [file for file in files if file == FILE_OF.get(str(options["n"]))]
        if not files:
            return 1 if quiet else _fail("kldstat", f"can't find file {options['n']}: {strerror(ENOENT)}")
    if "i" in options:
        files = [file for file in files if str(FILE_ID[file]) == options["i"]]
        if not files:
            return 1 if quiet else _fail("kldstat", f"can't stat file id {options['i']}: {strerror(ENOENT)}")
    if not quiet:
        sys.stdout.write("Id Refs Address                Size Name\n")
        for file in files:
            sys.stdout.write(f"{FILE_ID[file]:2d} {1:4d} 0x{0:016x} {0:8x} {file}\n")
            if "v" in options:
                modules = "".join(f"\t\t{MODULE_ID[name]:2d} {name}\n" for name in FILES[file])
                sys.stdout.write(f"\tContains modules:\n\t\tId Name\n{modules}")
    return 0


def _unload(options: dict[str, str | None], words: list[str]) -> int:
    if "i" in options:
        named = [file for file, number in FILE_ID.items() if str(number) == options["i"]]
        words = [*words, *(named or [f"id {options['i']}"])]
    if not words:
        return _usage("kldunload")
    status = 0
    for word in words:
        file = FILE_OF.get(word)
        if file is None or file not in _loaded():
            status = _fail("kldunload", f"can't find file {word}")
            continue
        try:
            _unload_file(file, verbose="v" in options)
        except KernelError as error:
            status = _fail("kldunload", f"can't unload file: {strerror(error.errno)}")
    return status


def _unload_file(file: str, *, verbose: bool) -> None:
    """Raises KernelError: EBUSY while it is needed, EPERM if it is root's."""
    if manage.is_served_for_others():
        limits.advise()
        raise KernelError(EPERM)
    door = client.open_control()
    if file == FILE:
        if any(interface["reqid"] is not None for interface in door.call("LISTIF")):
            raise KernelError(EBUSY)
    else:
        door.call("KLDUNLOAD", file=file)
    if verbose:
        sys.stdout.write(f"Unloading {file}, id={FILE_ID[file]}\n")
    if file == FILE:
        manage.stop()
