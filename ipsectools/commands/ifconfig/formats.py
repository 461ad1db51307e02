"""Output formats: `-f type:format` and the environment variable IFCONFIG_FORMAT."""

from __future__ import annotations

from ipsectools.commands.ifconfig.errors import complain

_KNOWN = {"addr": ("fqdn", "host"), "inet": ("cidr", "dotted"), "inet6": ("cidr",), "ether": ("dash", "dotted")}
"""What each type can be besides its default."""


class Formats:
    """How addresses are printed; an empty text is the default of its type."""

    __slots__ = ("addr", "ether", "inet", "inet6")

    def __init__(self) -> None:
        self.addr = self.inet = self.inet6 = self.ether = ""

    def set(self, specification: str) -> None:
        """Takes `type:format[,...]` and the words `default` and `cidr`; complains about other words without a colon."""
        for element in specification.split(","):
            kind, colon, name = element.partition(":")
            if not colon:
                self._set_word(element)
            elif kind in _KNOWN:
                setattr(self, kind, name if name in _KNOWN[kind] else "")

    def _set_word(self, word: str) -> None:
        if word == "default":
            self.addr = self.inet = self.inet6 = self.ether = ""
        elif word == "cidr":
            self.inet = self.inet6 = "cidr"
        else:
            complain(f"Skipping invalid format: {word}\n")  # FreeBSD's text ends in a newline of its own
