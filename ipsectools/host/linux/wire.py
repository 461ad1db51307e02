"""The wire of the Linux host, one system call per packet."""

from __future__ import annotations

import contextlib
import errno
import socket

from ipsectools.errno import EHOSTUNREACH, ENOBUFS, from_host
from ipsectools.host.api import OuterPacket
from ipsectools.host.linux import sockets
from ipsectools.host.linux.encap import EncapSockets
from ipsectools.host.linux.inject import Injector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ipsectools.host.linux.encap import EncapSocket, Endpoint


class _Sender:
    """A raw socket that sends from one source address and remembers its header fields."""

    __slots__ = ("sock", "tos", "ttl")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.tos = -1
        self.ttl = -1


class LinuxWire:
    """`host.api.Wire` on raw and UDP sockets, one system call per packet."""

    SENDERS = 64
    """Sending sockets kept open (one per source address, DF, doubt and mark)."""

    def __init__(self) -> None:
        self._receivers: list[socket.socket] = []
        self._senders: dict[tuple[bytes, bool, bool, int], _Sender] = {}
        self._encap = EncapSockets(self._opened)
        self._tells_arrival = False
        self._texts: dict[bytes, str] = {}
        self._injector = Injector()
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                self._receivers.append(sockets.open_raw(family))
            except OSError:
                if family == socket.AF_INET:
                    raise  # but a host may be without IPv6
        self._path_mtu_listener: socket.socket | None = None
        with contextlib.suppress(OSError):
            self._path_mtu_listener = sockets.open_path_mtu_listener()

    def filenos(self) -> list[int]:
        return [sock.fileno() for sock in self._receivers] + [endpoint.sock.fileno() for endpoint in self._encap]

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(self, packets: Sequence[OuterPacket]) -> list[int]:
        results: list[int] = []
        for packet in packets:
            try:
                if packet.ports is None:
                    self._send_raw(packet)
                else:
                    self._send_encap(packet)
            except BlockingIOError:
                results.append(ENOBUFS)
            except OSError as error:
                number = error.errno or errno.EIO
                results.append(EHOSTUNREACH if number == errno.ENETUNREACH else from_host(number))
            else:
                results.append(0)
        return results

    def _text(self, address: bytes) -> str:
        text = self._texts.get(address)
        if text is None:
            if len(self._texts) > 4096:
                self._texts.clear()
            text = self._texts[address] = sockets.address_text(address)
        return text

    def _send_raw(self, packet: OuterPacket) -> None:
        key = (packet.src, packet.df, packet.doubt, packet.mark)
        sender = self._senders.get(key) or self._open_sender(key)
        if packet.tos != sender.tos or packet.ttl != sender.ttl:
            sockets.set_header_fields(sender.sock, packet.tos, packet.ttl)
            sender.tos, sender.ttl = packet.tos, packet.ttl
        sender.sock.sendto(packet.payload, (self._text(packet.dst), 0))

    def _open_sender(self, key: tuple[bytes, bool, bool, int]) -> _Sender:
        src, df, doubt, mark = key
        sock = socket.socket(sockets.address_family(src), socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ESP)
        try:
            sockets.prepare_outer(sock, df=df, doubt=doubt, mark=mark)
            sock.bind((sockets.address_text(src), 0))
            sockets.deafen(sock, sockets.address_text(src))
        except OSError:
            sock.close()
            raise
        if len(self._senders) >= self.SENDERS:
            self._senders.pop(next(iter(self._senders))).sock.close()
        sender = self._senders[key] = _Sender(sock)
        return sender

    def _send_encap(self, packet: OuterPacket) -> None:
        sport, dport = packet.ports or (0, 0)
        endpoint = self._encap.get((packet.src, sport))
        if endpoint is None:
            raise OSError(errno.EADDRNOTAVAIL, "no socket for this endpoint")
        endpoint.send(packet, self._text(packet.dst), dport)

    # -- receiving -------------------------------------------------------------------------------------------------

    def receive(self, limit: int, ready: Collection[int] = ()) -> list[OuterPacket]:
        packets: list[OuterPacket] = []
        for sock in self._receivers:
            if ready and sock.fileno() not in ready:
                continue
            if sock.family == socket.AF_INET:
                self._receive4(sock, limit, packets)
            else:
                self._receive6(sock, limit, packets)
        for endpoint in self._encap:
            if ready and endpoint.sock.fileno() not in ready:
                continue
            try:
                for _ in range(limit):
                    packets.extend(endpoint.receive())
            except OSError:
                pass
        return packets

    def _receive4(self, sock: socket.socket, limit: int, packets: list[OuterPacket]) -> None:
        interface = 0
        try:
            for _ in range(limit):
                if self._tells_arrival:
                    data, ancillary, _, _ = sock.recvmsg(sockets.MAXIMUM_PACKET, 64)
                    interface = sockets.arrived_on(ancillary)
                else:
                    data = sock.recv(sockets.MAXIMUM_PACKET)
                header = (data[0] & 15) * 4
                packets.append(
                    OuterPacket(data[12:16], data[16:20], data[header:], tos=data[1], ttl=data[8], interface=interface)
                )
        except OSError:
            pass

    @staticmethod
    def _receive6(sock: socket.socket, limit: int, packets: list[OuterPacket]) -> None:
        try:
            for _ in range(limit):
                data, ancillary, _, source = sock.recvmsg(sockets.MAXIMUM_PACKET, 64)
                for _, kind, content in ancillary:
                    if kind == socket.IPV6_PKTINFO:
                        src = socket.inet_pton(socket.AF_INET6, source[0].partition("%")[0])
                        index = sockets.arrived_on(ancillary)
                        packets.append(OuterPacket(src, content[:16], data, interface=index))
        except OSError:
            pass

    def encap(self, endpoints: Iterable[Endpoint]) -> None:
        self._encap.want(endpoints)

    def _opened(self, endpoint: EncapSocket) -> None:
        endpoint.tell_arrival(self._tells_arrival)

    def tell_arrival(self, on: bool) -> None:
        self._tells_arrival = on
        for sock in self._receivers:
            if sock.family == socket.AF_INET:  # the others tell anyway
                sockets.tell_arrival(sock, on)
        for endpoint in self._encap:
            endpoint.tell_arrival(on)
        if not on:
            self._injector.close()

    def inject(self, packet: bytes, index: int) -> int:
        return self._injector.inject(packet, index)

    def path_mtu(self, dst: bytes, mark: int = 0) -> int:
        return sockets.path_mtu(dst, mark)

    def close(self) -> None:
        for sock in self._receivers:
            sock.close()
        for sender in self._senders.values():
            sender.sock.close()
        self._encap.want(())
        if self._path_mtu_listener is not None:
            self._path_mtu_listener.close()
        self._injector.close()
        self._receivers.clear()
        self._senders.clear()
