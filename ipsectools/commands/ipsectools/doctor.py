"""`ipsectools doctor`: what works here, what is missing and how to mend it, one line each. Changes nothing."""

from __future__ import annotations

import os
import sys

from ipsectools import __version__
from ipsectools.commands.ipsectools import places
from ipsectools.daemon import client, manage
from ipsectools.errno import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ipsectools.answers import Interface
    from ipsectools.host.marks import Marks

    Finding = tuple[str, str, str]

USAGE = "usage: ipsectools doctor\n"

OK, NOTE, MISSING = "ok", "note", "missing"
"""All is well; it works, but one may want to know; something does not work."""

LIBRARIES = {"cryptography": (45, 0), "pyroute2": (0, 8), "lark": (1, 2), "rich": (13, 0)}


def main(arguments: list[str]) -> int:
    """0: nothing is missing; 1: something is; 2: a command line that makes no sense."""
    if arguments:
        sys.stderr.write(USAGE)
        return 2
    worst = 0
    for check in CHECKS:
        for verdict, text, fix in check():
            worst |= verdict == MISSING
            sys.stdout.write(f"{verdict:<8}{text}" + (f"; {fix}" if fix else "") + "\n")
            sys.stdout.flush()
    return worst


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield (
        OK if good else MISSING,
        f"Python {version} ({sys.executable})",
        "" if good else "install Python 3.11 or newer",
    )
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    for name, least in LIBRARIES.items():
        wanted = ".".join(map(str, least))
        try:
            found = version_of(name)
        except PackageNotFoundError:
            yield MISSING, f"{name} is not installed", "run `make venv' again"
            continue
        numbers = tuple(int(part) if part.isdigit() else 0 for part in found.split(".")[:2])
        if numbers >= least:
            yield OK, f"{name} {found}", ""
        else:
            yield MISSING, f"{name} {found} is older than {wanted}", "run `make venv' again"


def _packets() -> Iterator[Finding]:
    import socket

    from ipsectools.host import VARIABLE, HostError, is_simulated, missing
    from ipsectools.host.linux import detect, rtnetlink

    try:
        os.close(os.open(detect.TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
        yield OK, f"{detect.TUN_DEVICE} can be opened", ""
    except OSError as error:
        here = "be root, or may open it" if os.path.exists(detect.TUN_DEVICE) else "modprobe tun"
        fix = f"{here}; in a container: --device {detect.TUN_DEVICE}"
        yield MISSING, f"{detect.TUN_DEVICE}: {error.strerror}", fix
    privilege = "be root; in a container: --cap-add "
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, detect.ESP).close()
        yield OK, "CAP_NET_RAW: ESP can be sent and received", ""
    except OSError:
        yield MISSING, "CAP_NET_RAW: no raw sockets", privilege + "NET_RAW"
    if rtnetlink.may_change():
        yield OK, "CAP_NET_ADMIN: interfaces can be made", ""
    else:
        yield MISSING, "CAP_NET_ADMIN: interfaces cannot be made", privilege + "NET_ADMIN"
    forced = f" ({VARIABLE} says so)" if os.environ.get(VARIABLE) else ""
    try:
        if is_simulated():
            yield NOTE, f"simulated: everything but packets works{forced}", f"unset {VARIABLE}"
        elif (lacking := missing()) is None:
            yield OK, "live: packets flow", ""
            if not _leads_out():
                yield NOTE, "no interface leads out of this host: packets flow inside it only", ""
        else:
            text = f"no packets flow for want of {lacking}: interfaces are shown, changes are refused"
            yield NOTE, text, f"{VARIABLE}=simulated has everything but packets"
    except HostError as error:
        yield MISSING, str(error), f"unset {VARIABLE}"


def _leads_out() -> bool:
    """Whether the host has an interface that is not one of its own making, such as lo0 and tunnels are."""
    from ipsectools.host.linux import rtnetlink

    reader = rtnetlink.Reader()
    try:
        return any(link.type not in ("loop", "tunnel") for link in reader.links())
    finally:
        reader.close()


def _namespace() -> Iterator[Finding]:
    from ipsectools.kernel.errors import StateError
    from ipsectools.kernel.namespace import namespace_name

    here = os.stat("/proc/self/ns/net").st_ino
    try:
        where = "that of process 1" if os.stat("/proc/1/ns/net").st_ino == here else "not that of process 1"
    except OSError:
        where = "perhaps that of process 1"
    try:
        yield OK, f"network namespace {namespace_name(make=False)} ({where}): it has a kernel of its own", ""
    except StateError:  # Linux before 5.14: the first command of root gives it a name
        yield OK, f"network namespace without a name ({where}): it has a kernel of its own", ""


def _left_simulations() -> Iterator[Finding]:
    """Of those who do not ask for one, but did, or whose earlier release gave them one unasked."""
    from ipsectools.host import VARIABLE
    from ipsectools.kernel import statedir

    if os.environ.get(VARIABLE) == "simulated":
        return
    usual = statedir.usual_place()
    for place in (usual, f"{usual}/simulated"):
        if statedir.is_of_simulation(place):
            yield NOTE, f"{place} holds a simulated host", f"{VARIABLE}=simulated opens it, rm -r {place} removes it"


def _state() -> Iterator[Finding]:
    from ipsectools.daemon import limits
    from ipsectools.host import is_simulated, missing
    from ipsectools.kernel import statedir

    yield from _left_simulations()
    try:
        if limits.is_outsider() and not client.usable_directory():
            others = ", and its ipsecd is running" if statedir.is_served_by_root() else ""
            yield OK, f"no state of this user's: the kernel of this machine is root's{others}", ""
            return
    except client.ClientError:
        pass  # said already
    try:
        directory = client.state_directory()
    except client.ClientError as error:
        yield MISSING, f"state directory: {error}", "set IPSECTOOLS_STATE to a directory of yours, mode 0700"
        return
    space = os.statvfs(directory)
    free = space.f_bavail * space.f_frsize >> 20
    if free < 16:
        yield MISSING, f"state directory {directory}: {free} MB left", "make room: nothing is sent that cannot be kept"
    else:
        lasting = "" if _is_on_disk(directory) else ", forgotten at reboot"
        yield OK, f"state directory {directory}, {free} MB free{lasting}", ""
    try:
        found = manage.status(directory)
    except client.ClientError as error:
        yield MISSING, f"ipsecd: {error}", "see its log; ending its process loses no SA"
        return
    if found is None:
        trouble = _state_file_trouble(directory)
        if trouble:
            yield MISSING, trouble, "move it away (what it holds is lost) and use new keys"
        elif not is_simulated() and statedir.moves_packets(directory):
            yield MISSING, "ipsecd is not running, so that nothing passes the ipsec interfaces", "ipsecd"
        else:
            needed = "is needed" if missing() is None else "could do something here"
            yield OK, f"ipsecd is not running; it starts when it {needed}", ""
    elif found["version"] != __version__:
        text = f"ipsecd {found['version']} is running (process {found['pid']}), this is {__version__}"
        yield MISSING, text, "ipsecd --stop; no SA is lost"
    else:
        counts = f"{found['interfaces']} ipsec interfaces, {found['clients']} clients"
        text = f"ipsecd {found['version']} is running (process {found['pid']}, {found['kind']}, {counts})"
        if found["may_change"]:
            yield OK, text, ""
        else:
            yield MISSING, text, "ipsecd --stop, once it has what it lacks"
        for name, trouble in found.get("troubles", {}).items():
            yield _device_trouble(name, trouble)


def _device_trouble(name: str, trouble: str) -> Finding:
    """An ipsec interface that ipsecd cannot use, and who is in the way."""
    from ipsectools.host.linux.holders import holders

    who = ", ".join(f"process {process} ({command})" for process, command in holders(name))
    fix = f"end {who}" if who else f"ifconfig {name} destroy, and create it again"
    return MISSING, f"{name} is not RUNNING: {trouble}" + (f": {who}" if who else ""), fix


def _state_file_trouble(directory: str) -> str:
    """Why the next command could not open the state file, which no ipsecd has open; empty if it could."""
    from ipsectools.kernel import statefile, store
    from ipsectools.kernel.errors import StateError, check_file
    from ipsectools.kernel.statedir import STATE_FILE

    path = f"{directory}/{STATE_FILE}"
    try:
        if not os.path.lexists(path) or os.path.getsize(path) == 0:
            return ""
        check_file(path)
        found = store.peek(path, "PRAGMA quick_check(1)")
        mark = store.peek(path, "PRAGMA application_id")
        version = store.peek(path, "PRAGMA user_version")
    except StateError as error:
        return "" if str(error).endswith("in use by another process") else str(error)
    except OSError as error:
        return f"{path}: {error.strerror}"
    if mark not in ((statefile.APPLICATION_ID,), (statefile.SIMULATED_ID,)):
        return f"{path}: not a state file of ipsectools"
    if found != ("ok",):
        return f"{path}: damaged"
    if version is None or not isinstance(version[0], int) or not 0 < version[0] <= statefile.SCHEMA_VERSION:
        return f"{path}: written by a newer version"
    return ""


def _is_on_disk(directory: str) -> bool:
    """Whether the file system is not one in memory."""
    from ipsectools.commands.ipsectools import swap

    return swap.file_system(directory)[0] not in ("tmpfs", "ramfs")


def _keys() -> Iterator[Finding]:
    from ipsectools.daemon import manage
    from ipsectools.errno import KernelError

    try:
        shared = manage.ask("SHAREDKEYS") or []
    except (client.ClientError, KernelError):
        return  # told above
    for each in shared:
        yield NOTE, each["text"], each["fix"]


def _swap() -> Iterator[Finding]:
    from ipsectools.commands.ipsectools import swap

    areas = swap.readable()
    try:
        kept_out = not areas or swap.keeps_out(client.state_directory())
    except client.ClientError:
        return  # said already
    if kept_out:
        yield OK, "keys in memory reach no disk by way of swap", ""
    else:
        fix = "encrypt it, or mount a tmpfs with noswap (Linux 6.4) there"
        yield NOTE, f"keys of the state directory may be swapped out to {areas[0]}, which is not encrypted", fix


def _core_at_work() -> tuple[str, str | None] | None:
    """Core of the ipsecd that runs, and why that one; None if none moves packets."""
    from ipsectools.daemon import manage

    try:
        found = manage.status(client.state_directory())
    except client.ClientError:
        return None  # said elsewhere
    core = found and found.get("core")
    return (core, found["core_reason"]) if found and core else None


def _routes() -> Iterator[Finding]:
    from ipsectools.commands.ipsectools import guards
    from ipsectools.daemon import manage

    try:
        found = manage.status(client.state_directory())
    except client.ClientError:
        return  # told above
    if found is not None and not found["live"]:
        return
    for text, fix in guards.findings(found is not None):
        yield NOTE, text, fix


def _native() -> Iterator[Finding]:
    from ipsectools import preload
    from ipsectools.datapath import core_status

    possible, why = core_status()
    core, reason = _core_at_work() or ("", "")
    whose = "data path of the running ipsecd" if core else "data path"
    if (core or possible) == "compiled":
        other = f" (the next ipsecd has plain Python: {why})" if possible != "compiled" else ""
        yield OK, f"{whose}: {reason or why}{other}", ""
    else:
        fix = (
            ""
            if os.environ.get("IPSECTOOLS_CORE")
            else "install gcc, python3-dev, libssl-dev and run `make venv' again"
        )
        if possible == "compiled":
            fix = f"the next one has the {why}: ipsecd --stop, no SA is lost"
        yield NOTE, f"{whose}: plain Python, slower: {reason or why}", fix
    if preload.library():
        yield OK, "PF_KEY preload library: `ipsectools pfkey-run' works", ""
    else:
        yield NOTE, "PF_KEY preload library: not built", "install a C compiler and run `make venv' again"


def _commands() -> Iterator[Finding]:
    for program in ("ifconfig", "setkey", "sysctl", "netstat"):
        path = places.first_in_path(program)
        ours = os.path.join(places.BIN, program)
        if path is not None and os.path.realpath(path) == os.path.realpath(ours):
            continue
        where = path or "not found"
        yield NOTE, f"`{program}' is {where}, not {ours}", f"PATH={places.BIN}:$PATH, or: ipsectools shell"
        break
    else:
        yield OK, f"the commands of {places.BIN} come first in PATH", ""
    import shutil
    import subprocess

    if shutil.which("man") is None:
        yield NOTE, "man is not installed", "read the pages in " + places.MAN
        return
    found = subprocess.run(["man", "-w", "8", "ifconfig"], capture_output=True, text=True, check=False).stdout.strip()
    if os.path.realpath(found).startswith(os.path.realpath(places.MAN) + "/"):
        yield OK, "`man ifconfig' is the page of these commands", ""
    else:
        yield NOTE, f"`man ifconfig' is {found or 'not found'}", "ipsectools shell sets MANPATH"


def _neighbours() -> Iterator[Finding]:
    if os.path.exists("/proc/net/xfrm_stat"):
        yield OK, "Linux has IPsec of its own; both see every ESP packet and ignore the SPIs of the other", ""
    else:
        yield OK, "Linux has no IPsec of its own; none is needed", ""
    from ipsectools.commands.ipsectools import reverse

    interfaces = _served_interfaces()
    filtered = [found for each in interfaces if (found := reverse.filtered(each, _marks()))]
    for text, fix in filtered:
        yield MISSING, text, fix
    names = [each["name"] for each in interfaces]
    strict = [name for name in ("all", *names) if reverse.setting(f"conf/{name}/rp_filter") == reverse.STRICT]
    if strict:
        name = f"net.ipv4.conf.{strict[0]}.rp_filter"
        text = f"{name} is 1: packets from a tunnel are dropped unless their source is routed back into it"
        yield NOTE, text, f"sysctl {name}=2"
    elif not filtered:
        yield OK, "reverse path filtering lets packets out of tunnels", ""
    if os.path.exists("/proc/sys/net/ipv4/ip_forward") and not reverse.setting("ip_forward"):
        yield NOTE, "this host forwards no IPv4 packets", "for a gateway: sysctl net.ipv4.ip_forward=1"


def _marks() -> Marks:
    """The layout of marks that the running ipsecd has."""
    from ipsectools.host.marks import Marks

    try:
        leaves = {leaf["name"]: leaf["value"] for leaf in manage.ask("SYSCTLLIST") or ()}
    except (client.ClientError, KernelError):
        leaves = {}
    fib, state = (leaves.get(f"net.inet.ipsec.mark_{field}") for field in ("fib", "state"))
    return Marks(fib, state) if isinstance(fib, int) and isinstance(state, int) else Marks()


def _served_interfaces() -> list[Interface]:
    """The ipsec interfaces of a running ipsecd of a real host, as LISTIF has them; none is started for that."""
    try:
        found = manage.status()
        listed = manage.ask("LISTIF") if found is not None and found["live"] else None
    except (client.ClientError, KernelError):
        return []
    return [each for each in listed or () if each["reqid"] is not None]


def _lab() -> Iterator[Finding]:
    from ipsectools.lab.network import reason_without_packets

    reason = reason_without_packets()
    if reason is None:
        yield OK, "lab: `ipsectools shell --lab' and tests with real packets work", ""
    else:
        yield NOTE, f"lab: {reason}", ""


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _packets,
    _namespace,
    _state,
    _keys,
    _swap,
    _routes,
    _native,
    _commands,
    _neighbours,
    _lab,
)
