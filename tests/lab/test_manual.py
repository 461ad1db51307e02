"""Sessions read from a page."""

from __future__ import annotations

from ipsectools.lab.manual import steps

PAGE = r""".Sh DESCRIPTION
.Bd -literal
# not an example
.Ed
.Sh EXAMPLES
On host A
.Pq 192.168.0.3 :
.Bd -literal -offset indent
# setkey -c
add 1.2.3.4 5.6.7.8 esp 10 \-E "x\e";
flush;
^D
# ifconfig ipsec0
ipsec0: flags
.Ed
.Pp
On host B a file holds:
.Bd -literal
no prompt here
.Ed
.Bd -literal
# true
.Ed
.Sh SEE ALSO
"""


def test_steps() -> None:
    first, second, third = steps(PAGE)
    assert (first.host, first.line) == ("A", "setkey -c")
    assert first.input == ['add 1.2.3.4 5.6.7.8 esp 10 -E "x\\";', "flush;"]
    assert (second.host, second.line, second.input, second.shown) == ("A", "ifconfig ipsec0", None, ["ipsec0: flags"])
    assert (third.host, third.line) == ("B", "true")
