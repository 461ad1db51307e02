"""The kinds of interface of this kernel, oldest first: the order in which FreeBSD's would have registered them."""

from ipsectools.kernel.interfaces import basic, if_ipsec
from ipsectools.kernel.interfaces.kinds import register

for _kind in (*basic.ALL, if_ipsec.KIND):
    register(_kind)
