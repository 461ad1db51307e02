"""`ipsectools pfkey-run PROGRAM [ARGS]`: a program compiled on Linux finds PF_KEY here."""

from __future__ import annotations

import os
import sys

from ipsectools import preload
from ipsectools.daemon import client, manage

USAGE = "usage: ipsectools pfkey-run PROGRAM [ARGUMENTS]\n"


def main(arguments: list[str]) -> int:
    """Becomes PROGRAM with the library preloaded. Returns only if that fails: 1, or 126/127 as env(1)."""
    if not arguments or arguments[0].startswith("-"):
        sys.stderr.write(USAGE)
        return 2
    library = preload.library()
    if library is None:
        sys.stderr.write(
            "ipsectools: the preload library was not built: install a C compiler and run `make venv' again\n"
        )
        return 1
    directory = client.state_directory()
    manage.start(directory)  # ipsecd is there before the program looks for it
    socket = os.path.join(directory, "pfkey")
    others = [path for path in os.environ.get("LD_PRELOAD", "").split(":") if path and path != library]
    environment = {**os.environ, "IPSECTOOLS_PFKEY": socket, "LD_PRELOAD": ":".join([library, *others])}
    try:
        os.execvpe(arguments[0], arguments, environment)
    except OSError as error:
        sys.stderr.write(f"ipsectools: {arguments[0]}: {error.strerror}\n")
        return 127 if isinstance(error, FileNotFoundError) else 126
