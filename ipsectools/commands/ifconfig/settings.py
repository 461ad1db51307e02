"""What every interface has besides flags and addresses: MTU, metric, name, description, capabilities, driver name."""

from __future__ import annotations

from ipsectools.commands.ifconfig.errors import fatal, refusal, warn
from ipsectools.commands.ifconfig.flags import braced, name_bits
from ipsectools.commands.ifconfig.numbers import atoi
from ipsectools.commands.ifconfig.registry import (
    CAPABILITIES,
    DESCRIPTION,
    DRIVERNAME,
    EVERY,
    OPTIONS,
    Keyword,
    StatusLines,
    register_keywords,
    register_status,
)
from ipsectools.errno import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipsectools.answers import Interface
    from ipsectools.commands.ifconfig.context import Context

CAPABILITY_NAMES = name_bits(
    "RXCSUM,TXCSUM,NETCONS,VLAN_MTU,VLAN_HWTAGGING,JUMBO_MTU,POLLING,VLAN_HWCSUM,TSO4,TSO6,LRO,WOL_UCAST,WOL_MCAST,"
    "WOL_MAGIC,TOE4,TOE6,VLAN_HWFILTER,,VLAN_HWTSO,LINKSTATE,NETMAP,RXCSUM_IPV6,TXCSUM_IPV6,HWSTATS,TXRTLMT,"
    "HWRXTSTMP,MEXTPG,TXTLS4,TXTLS6,VXLAN_HWCSUM,VXLAN_HWTSO,TXTLS_RTLMT"
)

_CAPABILITY_WORDS = {
    "rxcsum": "RXCSUM",
    "txcsum": "TXCSUM",
    "netcons": "NETCONS",
    "polling": "POLLING",
    "vlanmtu": "VLAN_MTU",
    "vlanhwtag": "VLAN_HWTAGGING",
    "vlanhwfilter": "VLAN_HWFILTER",
    "vlanhwcsum": "VLAN_HWCSUM",
    "vlanhwtso": "VLAN_HWTSO",
    "tso": "TSO4 TSO6",
    "tso4": "TSO4",
    "tso6": "TSO6",
    "toe": "TOE4 TOE6",
    "lro": "LRO",
    "wol": "WOL_UCAST WOL_MCAST WOL_MAGIC",
    "wol_ucast": "WOL_UCAST",
    "wol_mcast": "WOL_MCAST",
    "wol_magic": "WOL_MAGIC",
    "rxcsum6": "RXCSUM_IPV6",
    "txcsum6": "TXCSUM_IPV6",
    "txrtlmt": "TXRTLMT",
    "hwrxtstmp": "HWRXTSTMP",
    "mextpg": "MEXTPG",
    "txtls": "TXTLS4 TXTLS6",
    "txtlsrtlmt": "TXTLS_RTLMT",
    "vxlanhwcsum": "VXLAN_HWCSUM",
    "vxlanhwtso": "VXLAN_HWTSO",
}


def _number(context: Context, keyword: Keyword, word: str) -> None:
    try:
        context.call(keyword.value, name=context.name, value=atoi(word))
    except KernelError as error:
        raise fatal(f"ioctl {keyword.value} (set {keyword.name})", error) from None


def _rename(context: Context, keyword: Keyword, word: str) -> None:
    try:
        context.call("SIOCSIFNAME", name=context.name, new=word)
    except KernelError as error:
        raise fatal("ioctl SIOCSIFNAME (set name)", error) from None
    context.name = word
    context.announce = True


def _describe(context: Context, keyword: Keyword, text: str = "") -> None:
    try:
        context.call("SIOCSIFDESCR", name=context.name, text=text)
    except KernelError as error:
        raise fatal("ioctl SIOCSIFDESCR (set descr)", error) from None


def _capability(context: Context, keyword: Keyword) -> None:
    """Asks for, or does without, those of the named capabilities that the interface has; silent if it has none."""
    wanted, bits = keyword.value
    interface = context.interface()
    if interface is None:
        raise fatal("ioctl (SIOCGIFCAP): no such interface")
    enabled = interface["options"]
    value = (enabled | bits if wanted else enabled & ~bits) & interface["capabilities"]
    if value == enabled:
        return
    try:
        context.call("SIOCSIFCAP", name=context.name, value=value)
    except KernelError as error:
        raise refusal(keyword.name, error) from None


def _extended_capability(context: Context, keyword: Keyword) -> None:
    warn("IFCAP_NV not supported")


def _bits(names: str) -> int:
    return sum(1 << CAPABILITY_NAMES.index(name) for name in names.split())


register_keywords(
    Keyword("mtu", _number, "maximum transmission unit in bytes", ("number",), value="SIOCSIFMTU"),
    Keyword("metric", _number, "routing metric", ("number",), value="SIOCSIFMETRIC"),
    Keyword("name", _rename, "rename the interface", ("text",)),
    Keyword("description", _describe, "describe the interface", ("text",)),
    Keyword("descr", _describe, "describe the interface", ("text",)),
    Keyword("-description", _describe, "clear the description"),
    Keyword("-descr", _describe, "clear the description"),
    *(
        Keyword(sign + word, _capability, f"{verb} {names}", value=(not sign, _bits(names)))
        for word, names in _CAPABILITY_WORDS.items()
        for sign, verb in (("", "enable"), ("-", "disable"))
    ),
    *(
        Keyword(sign + word, _extended_capability, f"{verb} {text} of the network card")
        for word, text in (("ipsec", "IPsec offload"), ("rxtls", "TLS offload on receive"))
        for sign, verb in (("", "enable"), ("-", "disable"))
    ),
)


def _description(context: Context, interface: Interface) -> Iterator[str]:
    if interface["description"]:
        yield f"description: {interface['description']}"


def _options(context: Context, interface: Interface) -> Iterator[str]:
    yield f"options={braced(interface['options'], CAPABILITY_NAMES)}"


def _capabilities(context: Context, interface: Interface) -> Iterator[str]:
    if context.options.capabilities:
        yield f"capabilities={braced(interface['capabilities'], CAPABILITY_NAMES)}"


def _driver_name(context: Context, interface: Interface) -> Iterator[str]:
    if context.options.driver_name and interface["drivername"]:
        yield f"drivername: {interface['drivername']}"


register_status(
    StatusLines(DESCRIPTION, _description, EVERY),
    StatusLines(OPTIONS, _options, EVERY),
    StatusLines(CAPABILITIES, _capabilities, EVERY),
    StatusLines(DRIVERNAME, _driver_name, EVERY),
)
