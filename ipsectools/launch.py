"""What `bin/*` run, with `python -I -S`: finds the package and its libraries without `site`, and runs one program.

    python -I -S .../ipsectools/launch.py PROGRAM [ARGUMENT ...]

`site` would cost each command a third of its start-up time. This file is compiled anew at each start: keep it short.
"""

import os
import sys

_PACKAGE = os.path.dirname(os.path.realpath(__file__))
_VENV = os.path.dirname(os.path.dirname(sys.executable))
sys.path.append(os.path.dirname(_PACKAGE))
if os.path.exists(_VENV + "/pyvenv.cfg"):
    sys.path.append("%s/lib/python%d.%d/site-packages" % (_VENV, *sys.version_info[:2]))  # noqa: UP031
else:
    import site

    site.main()

from ipsectools.programs import run  # noqa: E402

run(sys.argv[1], sys.argv[2:])
