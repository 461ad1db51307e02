"""`netstat -w WAIT [-I NAME] [-q TIMES]`: what came and went in each interval, of one interface or of all."""

from __future__ import annotations

from time import sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ipsectools.answers import CounterName, Interface

LINES_PER_HEAD = 21

_COUNTED: tuple[CounterName, ...] = ("ipackets", "ierrors", "ibytes", "opackets", "oerrors", "obytes")


def lines(
    read: Callable[[], list[Interface]],
    name: str | None,
    wait: int,
    times: int,
    drops: bool,
    pause: Callable[[float], None] = sleep,
) -> Iterator[str]:
    """The lines; `read` gives the interfaces, `wait` is in seconds, `times` 0 goes on for ever, `drops` is -d.

    Raises LookupError when there is no interface `name`, or none any more.
    """

    def total() -> tuple[int, ...]:
        interfaces = read()
        if name is not None and not interfaces:
            raise LookupError(name)
        return tuple(sum(interface["statistics"][counter] for interface in interfaces) for counter in _COUNTED)

    before = total()
    shown = 0
    while True:
        if shown % LINES_PER_HEAD == 0:
            yield f"{'input':>17} {name or '(Total)':>14} {'output':>16}"
            yield _line(("packets", "errs", "idrops", "bytes", "packets", "errs", "bytes", "colls", "drops"), drops)
        if times and shown == times:
            return
        pause(wait)
        now = total()
        # counters of an interface that was destroyed meanwhile are gone from the sum
        packets, errors, octets, sent, send_errors, sent_octets = (
            max(0, a - b) for a, b in zip(now, before, strict=True)
        )
        cells = (packets, errors, 0, octets, sent, send_errors, sent_octets, 0, 0)
        yield _line(tuple(map(str, cells)), drops) + (" " if drops else "")
        before = now
        shown += 1


def _line(cells: tuple[str, ...], drops: bool) -> str:
    widths = (10, 5, 5, 10, 10, 5, 10, 5, 5)
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells[: 9 if drops else 8], widths, strict=False))
