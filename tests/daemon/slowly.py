"""`python slowly.py SEED SECONDS PROGRAM [ARGUMENTS]`: a program of bin/ that pauses wherever the kernel changes hands.

Also the ipsecd that it starts is run so. What it is told (`finish` of a PF_KEY request) is checked against the state
file before the program hears it: an answer that is not in the file is written to standard error.
"""

import os
import random
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from ipsectools.daemon import autostart, client, embedded, listener, owner, ownership, pfkey_server, service
from ipsectools.kernel import kernel, store
from ipsectools.programs import run

SEED, SECONDS = sys.argv[1:3]
dice = random.Random(f"{SEED} {os.getpid()}")
ADD, EXT_SA = 3, 1


def pause():
    if dice.random() < 0.5:
        time.sleep(dice.random() * float(SECONDS))


def slow(owner, *names):
    for name in names:
        original = getattr(owner, name)

        def slowed(*arguments, _original=original, **more):
            pause()
            result = _original(*arguments, **more)
            pause()
            return result

        setattr(owner, name, slowed)


def spis_in_the_file(directory):
    """The SPIs of the state file, which another owns: of a copy. The log first: what it loses goes into the file."""
    with tempfile.TemporaryDirectory() as place:
        for name in ("state.db-wal", "state.db"):
            try:
                Path(place, name).write_bytes(Path(directory, name).read_bytes())
            except FileNotFoundError:
                continue
        database = sqlite3.connect(f"{place}/state.db")
        try:
            return {row[0] for row in database.execute("SELECT spi FROM sa")}
        except sqlite3.Error:
            return set()
        finally:
            database.close()


def spi_of(message):
    at = 16
    while int.from_bytes(message[at + 2 : at + 4], sys.byteorder) != EXT_SA:
        at += 8 * int.from_bytes(message[at : at + 2], sys.byteorder)
    return int.from_bytes(message[at + 4 : at + 8], "big")


def check_answers():
    sent = []
    send_ahead, finish = client.PfkeyConnection.send_ahead, client.PfkeyConnection.finish

    def remember(self, message):
        sent.append(message)
        send_ahead(self, message)

    def check(self):
        result = finish(self)
        message = sent.pop(0)
        if message[1] == ADD and result == 0:
            spi = spi_of(message)
            if spi not in spis_in_the_file(self._directory):
                sys.stderr.write(f"answered before it was in the state file: {spi:#x}\n")
        return result

    client.PfkeyConnection.send_ahead, client.PfkeyConnection.finish = remember, check


def start_slowly(directory, ready):
    options = ["--foreground", f"--ready-descriptor={ready}", f"--state={directory}"]
    return [sys.executable, os.path.abspath(__file__), SEED, SECONDS, "ipsecd", *options]


slow(owner, "connect", "_start")
slow(client, "connect")  # of `manage`
slow(client.PfkeyConnection, "_attach", "send_ahead")
slow(client.ControlDoor, "_attach")
slow(ownership, "acquire")
slow(ownership.Ownership, "release", "sign")
slow(embedded.EmbeddedKernel, "__init__", "shut")
slow(listener, "bind")
slow(kernel.Kernel, "_load", "close")
slow(store.Store, "_open", "close", "commit")
slow(service, "_own")
slow(service.Service, "_listen", "_abandon")
slow(pfkey_server.PfkeyServer, "close")
slow(pfkey_server.PfkeyClient, "_hello")
check_answers()
autostart.command = start_slowly

if __name__ == "__main__":
    run(sys.argv[3], sys.argv[4:])
