"""The state directory: which one it is, and that it is ours.

`$IPSECTOOLS_STATE` if set; for root the directory of this network namespace under /run/ipsectools (a network namespace
is FreeBSD's vnet: each has its own kernel); else `ipsectools` in the user's own directory for such things. A simulated
host has its own in there, `simulated`, unless the directory itself is that of a simulated host: those of before keep
their place. Every command comes through here: keep its imports light.
"""

from __future__ import annotations

import os

from ipsectools.host import VARIABLE as HOST_VARIABLE
from ipsectools.host import HostError, is_simulated
from ipsectools.kernel import statefile
from ipsectools.kernel.errors import StateError, check_directory
from ipsectools.kernel.namespace import MARK_FILE, VARIABLE, namespace_mark, namespace_name, read_mark

ROOT = "/run/ipsectools"
STATE_FILE = "state.db"


def choose() -> str:
    """The absolute path of the state directory of this process. Raises StateError if none can be told."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted:
        return os.path.abspath(wanted)
    usual = usual_place()
    return f"{usual}/simulated" if _is_simulated() and _kind(usual) != "simulated" else usual


def usual_place() -> str:
    """The state directory of this process, and in it that of its simulated host, if nothing else is asked for."""
    user = os.geteuid()
    if user == 0:
        return f"{ROOT}/{namespace_name()}"
    # After su(1) the variable may be another user's; under cron(8) there is none.
    for runtime in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{user}"):
        try:
            if os.path.isabs(runtime) and os.stat(runtime).st_uid == user:
                return f"{runtime}/ipsectools"
        except OSError:
            continue
    return f"/tmp/ipsectools-{user}"


def prepare() -> str:
    """The state directory, made if it is missing, checked to be ours alone and of our kind of host.

    Raises StateError.
    """
    path = choose()
    try:
        if not os.environ.get(VARIABLE, ""):
            place = usual_place()
            if os.path.dirname(place) == ROOT:
                _make(ROOT)
                _claim(place)
            elif path != place:
                _make(place)
        _make(path)
    except OSError as error:
        raise StateError(f"{error.filename or path}: {error.strerror}") from None
    _check_kind(path)
    return path


def _claim(place: str) -> None:
    """Makes the directory of this network namespace, marked so that others can see whether that is still there.

    One of the same name from before the last boot is none of ours: /run is not everywhere empty then.
    """
    mark = namespace_mark()
    found = read_mark(place)
    if found[:3] != mark[:3]:
        if found:
            from ipsectools.kernel import sweep

            sweep.remove(place, found)
        _make(place)
        temporary = f"{place}/{MARK_FILE}.{os.getpid()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(" ".join(mark) + "\n")
        os.rename(temporary, f"{place}/{MARK_FILE}")
    if len(os.listdir(ROOT)) > 1:
        from ipsectools.kernel import sweep

        sweep.sweep_now_and_then(ROOT, os.path.basename(place), mark)


def existing() -> str:
    """The state directory if it is there, ours alone, and of our kind of host; else empty. Makes nothing."""
    try:
        path = choose()
        check_directory(path)
        if path.startswith(f"{ROOT}/") and read_mark(usual_place())[:3] not in ([], namespace_mark()[:3]):
            return ""  # of an earlier boot
        _check_kind(path)
    except (OSError, StateError):
        return ""
    return path


def _is_simulated() -> bool:
    try:
        return is_simulated()
    except HostError as error:
        raise StateError(str(error)) from None


def _check_kind(path: str) -> None:
    """Raises StateError if the state is that of the other kind of host."""
    if not _is_simulated():
        if is_of_simulation(path):
            raise StateError(f"{path}: the state of a simulated host, which {HOST_VARIABLE}=simulated opens")
    elif _kind(path) == "linux":
        raise StateError(f"{path}: the state of a real host, not of a simulated one")


def _kind(directory: str) -> str:
    return statefile.kind(f"{directory}/{STATE_FILE}")


def is_of_simulation(directory: str) -> bool:
    """Whether the state there is that of a simulated host. Costs time if it is, or was."""
    if _kind(directory) != "simulated":
        return False
    from ipsectools.kernel.store import peek

    try:
        # A real host that took it over (older releases did that) forgot the interfaces that it did not have.
        strange = "SELECT 1 FROM simulated_link WHERE name NOT IN (SELECT name FROM interface) LIMIT 1"
        return peek(f"{directory}/{STATE_FILE}", strange) is None
    except StateError:
        return True


def _make(path: str) -> None:
    previous_mask = os.umask(0o077)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    finally:
        os.umask(previous_mask)
    check_directory(path)


def moves_packets(directory: str) -> bool:
    """True if the state file there, which nobody owns now, knows an interface whose packets we move.

    Also if it is an older release's: to migrate it is ipsecd's work. False if it cannot be read.
    """
    path = f"{directory}/{STATE_FILE}"
    try:
        if os.path.getsize(path) == 0:
            return False
    except OSError:
        return False
    from ipsectools.kernel.store import SCHEMA_VERSION, peek

    try:
        if peek(path, f"SELECT 1 FROM pragma_user_version WHERE user_version < {SCHEMA_VERSION}") is not None:
            return True
        return peek(path, "SELECT 1 FROM interface WHERE moves_packets LIMIT 1") is not None
    except StateError:
        return False


def moving_interfaces(directory: str) -> list[str]:
    """The names of those interfaces; none if they cannot be told, as of an older release's."""
    from ipsectools.kernel.store import peek

    try:
        found = peek(f"{directory}/{STATE_FILE}", "SELECT group_concat(name, '/') FROM interface WHERE moves_packets")
    except StateError:
        return []
    return str(found[0]).split("/") if found is not None and found[0] is not None else []


def is_served_by_root() -> bool:
    """Whether root's ipsecd serves this network namespace, which everybody may know: unix(7) sockets have names."""
    try:
        wanted = f" {ROOT}/{namespace_name(make=False)}/control"
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
            return any(line.rstrip("\n").endswith(wanted) for line in file)
    except (OSError, StateError):
        return False


def may_be_hidden() -> bool:
    """Whether there may be a kernel of root's here, into which this process cannot look."""
    return os.path.lexists(ROOT) and not os.access(ROOT, os.X_OK)
