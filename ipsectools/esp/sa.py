"""One ESP SA at work: inner packet -> ESP -> inner packet (RFC 4303, in FreeBSD's order of checks).

What is known when the SA is made is decided then: `seal` and `open` are functions built for its algorithms and options.
"""

from __future__ import annotations

from ipsectools.esp import algorithms as alg
from ipsectools.esp.ciphers import AeadCipher, authenticator, cipher
from ipsectools.esp.opening import aead_opener, split_opener
from ipsectools.esp.replay import ReplayWindow
from ipsectools.esp.sealing import aead_sealer, split_sealer
from ipsectools.pfkey import constants
from ipsectools.pfkey.algorithms import AUTHENTICATIONS, ENCRYPTIONS, Encryption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipsectools.esp.opening import Open
    from ipsectools.esp.sealing import Seal, SealWith
    from ipsectools.esp.traffic import Traffic

MAXIMUM_PACKET = 65535


class EspSA:
    """Seals or opens the packets of one SA: one direction, one thread.

    `seal(inner)` gives the ESP packet from SPI to ICV, or the Drop that says why there is none. It takes the next
    sequence number (and IV counter) from `traffic` and never goes beyond what is reserved there.

    `open(esp)` takes the same from the wire and gives `(inner, next_header)` or a Drop. It does the replay check,
    authentication, decryption, replay update and padding checks; with a replay window it counts the packets accepted in
    `traffic.sequence`, moves `traffic.received_high`, and accepts nothing above `traffic.received_limit`: on
    IN_WINDOW_UNRESERVED the caller sees to it that the limit is raised to `window.needed` or above. FreeBSD wants whole
    outer packets to be multiples of 4 bytes; outer headers always are, so `open` looks at the ESP part alone.

    `seal_with(inner, sequence, iv)` seals with numbers of the caller's choice, for tests and tools: nothing keeps it
    from using an IV twice.

    `window` is None for an SA without a replay window. `overhead` is what ESP adds to the padded payload, in bytes.
    """

    __slots__ = (
        "auth",
        "enc",
        "esn",
        "icv_length",
        "open",
        "overhead",
        "pad_to",
        "seal",
        "seal_with",
        "spi",
        "traffic",
        "window",
    )

    open: Open
    seal: Seal
    seal_with: SealWith

    def __init__(
        self,
        spi: int,
        enc: int,
        enc_key: bytes,
        auth: int,
        auth_key: bytes,
        flags: int,
        window_packets: int,
        traffic: Traffic,
        ctr_compatibility: bool = True,
        *,
        outer_header: int = 20,
        window: ReplayWindow | None = None,
    ) -> None:
        """Sets the algorithms up. Raises ValueError (never with a key in it) for what cannot make an SA.

        `enc` and `auth` are PF_KEY numbers (an AEAD's implicit auth id is as good as 0), `enc_key` has the salt at its
        end, `flags` are SADB_X_EXT_* and SA_FLAG_ESN. `outer_header` is 20 or 40, for the limit of 65535 bytes.
        An inbound SA continues behind `traffic.received_high`, with the bitmap in `traffic.ring` or everything at or
        below it counting as seen; `window` hands over the window of an earlier object for the same SA instead.
        """
        encryption = _checked(enc, len(enc_key), auth, len(auth_key), flags)
        self.spi = spi
        self.enc = enc
        self.auth = auth
        self.esn = esn = bool(flags & constants.SA_FLAG_ESN)
        self.traffic = traffic
        self.icv_length = alg.icv_length(encryption, auth)
        self.pad_to = encryption.pad_to(ctr_compatibility)
        self.overhead = 8 + encryption.iv + self.icv_length
        if window is None and window_packets:
            cycseq = bool(flags & constants.SA_FLAG_CYCSEQ)
            window = ReplayWindow(window_packets, esn=esn, cycseq=cycseq, traffic=traffic)
        self.window = window

        longest = alg.largest_inner(encryption, auth, MAXIMUM_PACKET - outer_header, ctr_compatibility)
        check_padding = flags & constants.SA_FLAG_PMASK != constants.SA_FLAG_PRAND
        keyed = cipher(enc, enc_key)
        if isinstance(keyed, AeadCipher):
            self.seal, self.seal_with = aead_sealer(spi, keyed, esn, flags, self.pad_to, longest, traffic)
            self.open = aead_opener(keyed, self.icv_length, esn, window, traffic, check_padding)
            return
        authenticate = authenticator(auth, auth_key)
        self.seal, self.seal_with = split_sealer(
            spi, keyed, authenticate, esn, flags, self.pad_to, longest, traffic, encryption.counter_iv
        )
        self.open = split_opener(
            keyed,
            encryption.iv,
            encryption.block,
            authenticate,
            self.icv_length,
            esn,
            window,
            traffic,
            check_padding,
        )

    def sealed_length(self, inner_length: int) -> int:
        """Bytes from SPI to ICV of the packet for an inner packet of `inner_length` bytes."""
        return self.overhead + -(-(inner_length + 2) // self.pad_to) * self.pad_to

    def ciphertext_length(self, esp_length: int) -> int:
        """What FreeBSD counts in esps_ibytes for an ESP packet of this length: without header, IV and ICV."""
        return esp_length - self.overhead

    def __repr__(self) -> str:
        return f"<EspSA spi {self.spi:#010x}>"


def _checked(enc: int, key_length: int, auth: int, auth_key_length: int, flags: int) -> Encryption:
    encryption = ENCRYPTIONS.get(enc)
    if encryption is None or not encryption.usable:
        raise ValueError(f"encryption algorithm {enc} cannot be used")
    if not encryption.accepts_key(key_length):
        raise ValueError(f"{encryption.name}: no key of {key_length * 8} bits")
    if flags & constants.SA_FLAG_OLD:
        raise ValueError("ESP of RFC 1827 is not supported")
    if encryption.aead:
        if auth not in (constants.AALG_NONE, alg.implicit_authentication(encryption, key_length)):
            raise ValueError(f"{encryption.name} authenticates by itself")
    elif auth:
        authentication = AUTHENTICATIONS.get(auth)
        if authentication is None or not authentication.usable:
            raise ValueError(f"authentication algorithm {auth} cannot be used")
        if not authentication.accepts_key(auth_key_length):
            raise ValueError(f"{authentication.name}: no key of {auth_key_length * 8} bits")
    return encryption
