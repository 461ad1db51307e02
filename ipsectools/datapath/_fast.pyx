"""The compiled core's Python side: tables in, statistics out, and the rare things that the workers leave to Python.

fast/core.h is all that it knows of the C; locks and the GIL: see `ipsectools.datapath`.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EHOSTUNREACH, EINVAL, EIO, EMSGSIZE, ENETDOWN, ENOBUFS
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ipsectools.datapath import paths
from ipsectools.datapath.events import ACQUIRE, EDGE, EXHAUSTED, REFUSED, RESERVE
from ipsectools.datapath.statistics import Counters
from ipsectools.esp.drops import DROPS
from ipsectools.esp.traffic import NO_LIMIT
from ipsectools.esp.tunnel import tos_table
from ipsectools.host.api import OuterPacket
from ipsectools.wire import icmp


def library_version():
    """OpenSSL's own words for the version that is in use."""
    return OpenSSL_version(0).decode()


def _drop_names():
    number = 1
    while core_drop_name(number):
        yield core_drop_name(number).decode()
        number += 1


DROP_NAMES = tuple(_drop_names())
"""The drop reasons that this core knows, by their names in esp/drops.py."""

_REMEMBERED_MS = int(paths.REMEMBERED * 1000)
_NUMBER_OF_DROP = {name: number for number, name in enumerate(DROP_NAMES, 1)}
_EVENTS = {
    EVENT_ACQUIRE: ACQUIRE,
    EVENT_RESERVE: RESERVE,
    EVENT_EDGE: EDGE,
    EVENT_EXHAUSTED: EXHAUSTED,
    EVENT_REFUSED: REFUSED,
}
# FreeBSD's numbers, which a simulated wire gives, as the workers know them.
_ERRNO = {
    22: EINVAL, 40: EMSGSIZE, 47: EAFNOSUPPORT, 49: EADDRNOTAVAIL, 50: ENETDOWN, 55: ENOBUFS, 65: EHOSTUNREACH
}


cdef class Traffic:
    """`esp.traffic.Traffic` that workers write without Python; fast/core.h says how that is done.

    `place` is where the counters and the window's bitmap are kept (`kernel.key.page.Page.place`), None for memory of
    this object.
    """

    cdef traffic *c
    cdef object keeper

    def __cinit__(self, place=None):
        cdef size_t address = 0, ring = 0
        cdef uint64_t ring_length = 0
        if place is not None:
            address, ring, ring_length, self.keeper = place
        self.c = traffic_new(<void *>address, <uint8_t *>ring, ring_length)
        if not self.c:
            raise MemoryError

    def __dealloc__(self):
        traffic_free(self.c)

    def leave(self):
        """Takes the counters, as they are, out of the place where they are kept. No table of the core has the SA."""
        cdef int failed
        with nogil:
            failed = traffic_leave(self.c)
        if failed:
            raise MemoryError
        self.keeper = None

    def grant(self):
        """What is reserved may be used from now on."""
        with nogil:
            traffic_grant(self.c)

    cdef void set(self, int field, uint64_t value):
        with nogil:
            traffic_set(self.c, field, value)

    @property
    def sequence(self):
        return traffic_get(self.c, TRAFFIC_SEQUENCE)

    @sequence.setter
    def sequence(self, value):
        self.set(TRAFFIC_SEQUENCE, value)

    @property
    def iv(self):
        return traffic_get(self.c, TRAFFIC_IV)

    @iv.setter
    def iv(self, value):
        self.set(TRAFFIC_IV, value)

    @property
    def received_high(self):
        return traffic_get(self.c, TRAFFIC_RECEIVED_HIGH)

    @received_high.setter
    def received_high(self, value):
        self.set(TRAFFIC_RECEIVED_HIGH, value)

    @property
    def advancing(self):
        return traffic_get(self.c, TRAFFIC_ADVANCING)

    @advancing.setter
    def advancing(self, value):
        self.set(TRAFFIC_ADVANCING, value)

    @property
    def received_floor(self):
        return traffic_get(self.c, TRAFFIC_RECEIVED_FLOOR)

    @received_floor.setter
    def received_floor(self, value):
        self.set(TRAFFIC_RECEIVED_FLOOR, value)

    @property
    def packets(self):
        return traffic_get(self.c, TRAFFIC_PACKETS)

    @packets.setter
    def packets(self, value):
        self.set(TRAFFIC_PACKETS, value)

    @property
    def bytes(self):
        return traffic_get(self.c, TRAFFIC_BYTES)

    @bytes.setter
    def bytes(self, value):
        self.set(TRAFFIC_BYTES, value)

    @property
    def first_used(self):
        return traffic_get(self.c, TRAFFIC_FIRST_USED)

    @first_used.setter
    def first_used(self, value):
        self.set(TRAFFIC_FIRST_USED, value)

    @property
    def sequence_limit(self):
        return traffic_get(self.c, TRAFFIC_SEQUENCE_LIMIT)

    @sequence_limit.setter
    def sequence_limit(self, value):
        self.set(TRAFFIC_SEQUENCE_LIMIT, min(value, NO_LIMIT))

    @property
    def iv_limit(self):
        return traffic_get(self.c, TRAFFIC_IV_LIMIT)

    @iv_limit.setter
    def iv_limit(self, value):
        self.set(TRAFFIC_IV_LIMIT, min(value, NO_LIMIT))

    @property
    def received_limit(self):
        return traffic_get(self.c, TRAFFIC_RECEIVED_LIMIT)

    @received_limit.setter
    def received_limit(self, value):
        self.set(TRAFFIC_RECEIVED_LIMIT, min(value, NO_LIMIT))


cdef bytes _bytes(const uint8_t *data, size_t length):
    return PyBytes_FromStringAndSize(<const char *>data, length)


cdef void _describe(core_sa *entry, sa) except *:
    """The entry of an SA, whose bytes it borrows."""
    cdef Traffic counters = sa.traffic
    src, dst, key, auth_key = sa.src, sa.dst, sa.enc_key, sa.auth_key
    memset(entry, 0, sizeof(core_sa))
    entry.owner = <void *>sa
    entry.spi, entry.id, entry.reqid = sa.spi, sa.id, sa.reqid
    entry.family = 4 if len(src) == 4 else 6
    memcpy(entry.src, <const char *>src, len(src))
    memcpy(entry.dst, <const char *>dst, len(dst))
    entry.mode, entry.enc, entry.auth, entry.flags = sa.mode, sa.enc, sa.auth, sa.flags & 0x7FFFFFFF
    entry.ctr_compatibility = sa.ctr_compatibility
    entry.window = sa.window
    entry.traffic = counters.c
    entry.key, entry.key_length = <const uint8_t *><const char *>key, len(key)
    entry.auth_key, entry.auth_key_length = <const uint8_t *><const char *>auth_key, len(auth_key)
    if sa.natt is not None:
        entry.natt = 1
        entry.sport, entry.dport = sa.natt
    if sa.blocked:
        entry.blocked = _NUMBER_OF_DROP[sa.blocked]


def algorithms(sa):
    """What the core knows of an SA's algorithms; None if it could not be used."""
    cdef core_sa entry
    cdef core_algorithms found
    _describe(&entry, sa)
    return None if core_algorithms_of(&entry, &found) else found


cdef class Core:
    """Tables and workers. `devices`: by index, what takes packets for an interface (`write`); `wire`: what sends and injects
    (`send` only in memory). `workers`: how many threads each way.

    The core borrows from the SAs that it is given: they are kept here until the workers have let go of them."""

    cdef core *c
    cdef dict _inbound
    cdef dict _outbound
    cdef public dict devices
    cdef public object wire, events, joined

    def __cinit__(self, wire, events, *, bint in_memory, int workers=1):
        cdef core_hooks hooks = core_hooks(_on_event, _on_too_big, _on_inject, _on_send, _on_deliver)
        oerrors = bytes([False, *(DROPS[name].oerrors for name in DROP_NAMES)])
        self.c = core_new(workers, in_memory, &hooks, <void *>self, <const uint8_t *><const char *>oerrors)
        if not self.c:
            PyErr_SetFromErrno(OSError)
        self._inbound = {}
        self._outbound = {}
        self.devices = {}
        self.wire = wire
        self.events = events
        self.joined = None

    def __dealloc__(self):
        if self.c:
            core_free(self.c)

    # -- tables ----------------------------------------------------------------------------------------------------

    def set_settings(self, settings):
        cdef core_settings s
        memset(&s, 0, sizeof(s))
        tos4, tos6 = tos_table(settings.ecn), tos_table(settings.ecn6)
        memcpy(s.tos4, <const char *>tos4, 256)
        memcpy(s.tos6, <const char *>tos6, 256)
        s.esp_enable = settings.esp_enable != 0
        s.accept_unclaimed = settings.accept_unclaimed != 0
        s.min_pmtu, s.dfbit, s.ttl, s.hlim = settings.min_pmtu, settings.dfbit, settings.ttl, settings.hlim
        s.mark = settings.mark
        with nogil:
            core_set_settings(self.c, &s)

    def set_interface(self, entry, int fd=-1, bint vnet=False, bint uso=False):
        """Adds (with the descriptor of its device) or replaces an interface."""
        cdef core_interface i
        cdef core_sa outbound
        cdef int failed
        src, dst = entry.src, entry.dst
        memset(&i, 0, sizeof(i))
        i.index, i.fd, i.vnet, i.uso = entry.index, fd, vnet, uso
        i.up, i.running, i.monitor, i.mark = entry.up, entry.running, entry.monitor, entry.mark
        if src and dst:
            i.family, i.reqid = 4 if len(src) == 4 else 6, entry.reqid
            memcpy(i.src, <const char *>src, len(src))
            memcpy(i.dst, <const char *>dst, len(dst))
        before, sa = self._outbound.get(entry.index), entry.outbound
        if sa is not None:
            if before is not None and sa.same_as(before):
                i.keep, sa = 1, before
            else:
                _describe(&outbound, sa)
                i.outbound = &outbound
        with nogil:
            failed = core_set_interface(self.c, &i)
        if failed:
            raise MemoryError
        self._outbound[entry.index] = sa

    def set_doubt(self, int index, bint doubt):
        """Whether the host believes less of the interface's outer path than may be believed."""
        core_set_doubt(self.c, index, doubt)

    def remove_interface(self, int index):
        with nogil:
            core_remove_interface(self.c, index)
        self._outbound.pop(index)

    def set_inbound(self, sa):
        """Adds or replaces the SA with this SPI; the replay window stays if it is the same SA in what matters."""
        cdef core_sa entry
        cdef int failed
        before = self._inbound.get(sa.spi)
        cdef bint same = before is not None and sa.same_cryptography(before)
        _describe(&entry, sa)
        with nogil:
            failed = core_set_inbound(self.c, &entry, same)
        if failed:
            raise MemoryError
        self._inbound[sa.spi] = sa

    def remove_inbound(self, uint32_t spi):
        with nogil:
            core_remove_inbound(self.c, spi)
        self._inbound.pop(spi)

    def add_endpoint(self, address, uint16_t port, int fd, bint shared):
        """A socket for UDP-encapsulated ESP on a local address and port."""
        cdef core_endpoint entry
        cdef int failed
        memset(&entry, 0, sizeof(entry))
        entry.fd, entry.family, entry.shared, entry.port = fd, 4 if len(address) == 4 else 6, shared, port
        memcpy(entry.address, <const char *>address, len(address))
        with nogil:
            failed = core_add_endpoint(self.c, &entry)
        if failed:
            raise MemoryError

    def remove_endpoint(self, int fd):
        with nogil:
            core_remove_endpoint(self.c, fd)

    def set_sockets(self, int number, int raw4, int raw4_df, int raw4_doubt, int raw6, int bell):
        """The sockets of the workers with this number, and the descriptor that wakes them when they shall stop."""
        core_set_sockets(self.c, number, raw4, raw4_df, raw4_doubt, raw6, bell)

    # -- packets ---------------------------------------------------------------------------------------------------

    def run(self, int number, bint outward):
        """Runs one of a pair of threads until `stopping` is set and the bell rung: both of a number have to run."""
        with nogil:
            core_run(self.c, number, outward)

    def turn(self):
        """What is ready now, once; how many descriptors had something."""
        cdef int moved
        with nogil:
            moved = core_turn(self.c)
        return moved

    @property
    def stopping(self):
        return bool(core_switch_get(self.c, CORE_STOPPING))

    @stopping.setter
    def stopping(self, bint value):
        core_switch_set(self.c, CORE_STOPPING, value)

    @property
    def split(self):
        """Whether each direction has its thread also while traffic is light."""
        return bool(core_switch_get(self.c, CORE_SPLIT))

    @split.setter
    def split(self, bint value):
        core_switch_set(self.c, CORE_SPLIT, value)

    @property
    def coalesce(self):
        """Whether segments are joined before they are given to a device."""
        return bool(core_switch_get(self.c, CORE_COALESCE))

    @coalesce.setter
    def coalesce(self, bint value):
        core_switch_set(self.c, CORE_COALESCE, value)

    def outbound(self, int index, packets):
        """Packets from an interface's device: bytes, or (virtio_net_hdr, bytes)."""
        cdef size_t n = 0, count
        packets = list(packets)
        count = len(packets)
        cdef core_packet *given = <core_packet *>calloc(count + 1, sizeof(core_packet))
        if not given:
            raise MemoryError
        try:
            for n in range(count):
                packet = packets[n]
                if isinstance(packet, tuple):
                    header, packet = packet
                    given[n].vnet = <const uint8_t *><const char *>header
                given[n].data, given[n].length = <const uint8_t *><const char *>packet, len(packet)
            with nogil:
                core_outbound(self.c, index, given, count)
        finally:
            free(given)

    def inbound(self, packets):
        """Outer packets (`host.api.OuterPacket`) as they came from a wire."""
        cdef size_t n = 0, count
        packets = list(packets)
        kept = [(packet.dst, packet.payload) for packet in packets]
        count = len(packets)
        cdef core_arrival *given = <core_arrival *>calloc(count + 1, sizeof(core_arrival))
        if not given:
            raise MemoryError
        try:
            for n in range(count):
                packet = packets[n]
                dst, payload = kept[n]
                given[n].family = 4 if len(dst) == 4 else 6
                given[n].dst = <const uint8_t *><const char *>dst
                given[n].data, given[n].length = <const uint8_t *><const char *>payload, len(payload)
                given[n].link = packet.interface
                if packet.ports is not None:
                    given[n].natt = 1
                    given[n].sport, given[n].dport = packet.ports
            with nogil:
                core_inbound(self.c, given, count)
        finally:
            free(given)

    def set_random(self, data):
        """For tests: the unpredictable bytes that come next (up to 4096)."""
        core_set_random(self.c, <const uint8_t *><const char *>data, len(data))

    # -- what was counted ------------------------------------------------------------------------------------------

    @property
    def counters(self):
        total = Counters()
        cdef core_counters sums
        cdef int number, ipv6
        core_count(self.c, &sums)
        total.input = sums.input
        total.ibytes = sums.ibytes
        total.output = sums.output
        total.obytes = sums.obytes
        total.middle = sums.middle
        total.front = sums.front
        total.taken = sums.taken
        total.sent = sums.sent
        total.arrived = sums.arrived
        total.delivered = sums.delivered
        total.injected = sums.injected
        for number in range(256):
            if sums.encryption[number]:
                total.encryption[number] += sums.encryption[number]
            if sums.authentication[number]:
                total.authentication[number] += sums.authentication[number]
        for number, name in enumerate(DROP_NAMES, 1):
            for ipv6 in range(2):
                if sums.drops[number][ipv6]:
                    total.drop(name, ipv6, sums.drops[number][ipv6])
        return total

    def interface_counters(self, int index):
        """(ipackets, ibytes, ierrors, opackets, obytes, oerrors) as FreeBSD counts them; None without interface."""
        cdef core_device_counters i
        if core_count_device(self.c, index, &i):
            return None
        return i.ipackets, i.ibytes, 0, i.opackets, i.obytes, i.oerrors


# -- what the workers leave to Python: no exception may leave these ----------------------------------------------------

cdef void _on_event(void *owner, int kind, uint64_t ident, uint64_t id, uint64_t value) noexcept with gil:
    core = <Core>owner
    if kind == EVENT_ACQUIRE or kind == EVENT_REFUSED:
        core.events.put(_EVENTS[kind], (ident >> 8, ident & 0xFF), value)
    else:
        core.events.put(_EVENTS[kind], (ident, id), value)


cdef int _on_too_big(void *owner, const core_sealed *o, int min_pmtu, core_path *known) noexcept with gil:
    core = <Core>owner
    sa = <object>o.owner
    least = 0 if o.doubt else min_pmtu  # what is refused in spite of doubt is the device's
    path = core.wire.path_mtu(sa.dst, o.mark)
    known.narrow = path < least
    known.mtu = max(path, least)
    known.remember = _REMEMBERED_MS
    verdict = paths.verdict(sa, path, least, o.inner, o.version)
    if verdict.told:
        answer = icmp.too_big(_bytes(o.quote, o.quote_length), verdict.told)
        told = answer is not None and core.devices[o.index].write(answer) == 0
        return VERDICT_TOLD if told else VERDICT_DROP
    known.df, known.doubt = verdict.df, verdict.doubt
    return VERDICT_LEAVES


cdef int _on_inject(void *owner, const uint8_t *packet, uint32_t length, uint32_t link) noexcept with gil:
    return (<Core>owner).wire.inject(_bytes(packet, length), link)


cdef _outer_packet(const core_sealed *o):
    length = 4 if o.family == 4 else 16
    return OuterPacket(
        _bytes(o.src, length),
        _bytes(o.dst, length),
        _bytes(o.data, o.length),
        protocol=17 if o.natt else 50,
        ports=(o.sport, o.dport) if o.natt else None,
        tos=o.tos,
        ttl=o.ttl,
        df=bool(o.df),
        doubt=bool(o.doubt),
        mark=o.mark,
    )


cdef void _on_send(void *owner, const core_sealed *packets, uint32_t count, int *errors) noexcept with gil:
    cdef uint32_t n = 0
    for error in (<Core>owner).wire.send([_outer_packet(&packets[number]) for number in range(count)]):
        errors[n] = _ERRNO.get(error, EIO) if error else 0
        n += 1


cdef int _on_deliver(
    void *owner, int index, const uint8_t *vnet, const uint8_t *packet, uint32_t length
) noexcept with gil:
    core = <Core>owner
    if core.joined is not None:
        return core.joined(index, _bytes(vnet, CORE_VNET), _bytes(packet, length)) or 0
    error = core.devices[index].write(_bytes(packet, length))
    return 0 if not error else ENOBUFS if error == 55 else EIO
