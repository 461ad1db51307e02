"""The compiled core's Python side: tables in, statistics out, and the rare things that the workers leave to Python.

The work is in fast/*.h. Whoever changes tables waits for the workers without the GIL, because a worker in need of Python
waits for the GIL inside a batch.
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
from ipsectools.esp.tunnel import tos_table
from ipsectools.host.api import OuterPacket
from ipsectools.wire import icmp


def library_version():
    """OpenSSL's own words for the version that is in use."""
    return OpenSSL_version(0).decode()


DROP_NAMES = tuple(drop_names[number].decode() for number in range(1, DROP_COUNT))
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
    """`esp.traffic.Traffic` that workers write without Python.

    Numbers that packets move can only be raised from Python, since they have moved on meanwhile. Limits come into force
    with `grant`. `place` is where the counters and the window's bitmap are kept (`kernel.key.page.Page.place`), None for
    memory of this object.
    """

    cdef c_traffic c
    cdef object keeper

    def __cinit__(self, place=None):
        memset(&self.c, 0, sizeof(self.c))
        pthread_mutex_init(&self.c.lock, NULL)
        if place is None:
            self.c.at = self.c.own = <c_slot *>calloc(1, sizeof(c_slot))
            if not self.c.own:
                raise MemoryError
        else:
            address, ring, self.c.ring_length, self.keeper = place
            self.c.at = <c_slot *><size_t>address
            self.c.ring = <uint8_t *><size_t>ring

    def __dealloc__(self):
        free(self.c.own)
        pthread_mutex_destroy(&self.c.lock)

    def leave(self):
        """Takes the counters, as they are, out of the place where they are kept. No table of the core has the SA."""
        cdef c_slot *own
        if self.keeper is None:
            return
        own = <c_slot *>calloc(1, sizeof(c_slot))
        if not own:
            raise MemoryError
        self.lock()
        memcpy(own, self.c.at, sizeof(c_slot))
        self.c.at = self.c.own = own
        self.c.ring = NULL
        self.c.ring_length = 0
        pthread_mutex_unlock(&self.c.lock)
        self.keeper = None

    cdef void lock(self):
        # A worker may hold the lock while it waits for the GIL.
        if pthread_mutex_trylock(&self.c.lock):
            with nogil:
                pthread_mutex_lock(&self.c.lock)

    cdef void raise_to(self, uint64_t *field, uint64_t value):
        self.lock()
        if value > field[0]:
            field[0] = value
        pthread_mutex_unlock(&self.c.lock)

    def grant(self):
        """What is reserved may be used from now on."""
        self.lock()
        self.c.granted_sequence = self.c.sequence_limit
        self.c.granted_iv = self.c.iv_limit
        self.c.granted_received = self.c.received_limit
        pthread_mutex_unlock(&self.c.lock)

    @property
    def sequence(self):
        return self.c.at.sequence

    @sequence.setter
    def sequence(self, value):
        self.raise_to(&self.c.at.sequence, value)

    @property
    def iv(self):
        return self.c.at.iv

    @iv.setter
    def iv(self, value):
        self.raise_to(&self.c.at.iv, value)

    @property
    def received_high(self):
        return self.c.at.received_high

    @received_high.setter
    def received_high(self, value):
        self.raise_to(&self.c.at.received_high, value)

    @property
    def advancing(self):
        return self.c.at.advancing

    @advancing.setter
    def advancing(self, value):
        self.raise_to(&self.c.at.advancing, value)

    @property
    def received_floor(self):
        return self.c.at.received_floor

    @received_floor.setter
    def received_floor(self, value):
        self.raise_to(&self.c.at.received_floor, value)

    @property
    def packets(self):
        return self.c.at.packets

    @packets.setter
    def packets(self, value):
        self.raise_to(&self.c.at.packets, value)

    @property
    def bytes(self):
        return self.c.at.bytes

    @bytes.setter
    def bytes(self, value):
        self.raise_to(&self.c.at.bytes, value)

    @property
    def first_used(self):
        return self.c.at.first_used

    @first_used.setter
    def first_used(self, value):
        self.raise_to(&self.c.at.first_used, value)

    @property
    def sequence_limit(self):
        return self.c.sequence_limit

    @sequence_limit.setter
    def sequence_limit(self, value):
        self.c.sequence_limit = min(value, 0xFFFFFFFFFFFFFFFF)

    @property
    def iv_limit(self):
        return self.c.iv_limit

    @iv_limit.setter
    def iv_limit(self, value):
        self.c.iv_limit = min(value, 0xFFFFFFFFFFFFFFFF)

    @property
    def received_limit(self):
        return self.c.received_limit

    @received_limit.setter
    def received_limit(self, value):
        # A lower limit is in force at once, but not below what was accepted meanwhile.
        cdef uint64_t limit = min(value, 0xFFFFFFFFFFFFFFFF)
        self.lock()
        if limit < self.c.granted_received:
            limit = max(limit, self.c.at.received_high)
            self.c.granted_received = limit
        self.c.received_limit = limit
        pthread_mutex_unlock(&self.c.lock)


cdef bytes _bytes(const uint8_t *data, size_t length):
    return PyBytes_FromStringAndSize(<const char *>data, length)


cdef class Core:
    """Tables and workers. `devices`: by index, what takes packets for an interface (`write`); `wire`: what sends and injects
    (`send` only in memory). `workers`: how many threads each way."""

    cdef c_engine *e
    cdef worker **out
    cdef worker **into
    cdef int workers
    cdef dict _targets
    cdef dict _inbound
    cdef dict _outbound
    cdef public dict devices
    cdef public object wire, events, joined

    def __cinit__(self, wire, events, *, bint in_memory, int workers=1):
        cdef int n
        self.e = <c_engine *>calloc(1, sizeof(c_engine))
        self.out = <worker **>calloc(workers, sizeof(worker *))
        self.into = <worker **>calloc(workers, sizeof(worker *))
        if not self.e or not self.out or not self.into or tables_start(&self.e.tables):
            raise MemoryError
        self.workers = workers
        self.e.owner = <void *>self
        self.e.in_memory = in_memory
        self.e.coalesce = not in_memory
        self.e.hooks.event = _on_event
        self.e.hooks.too_big = _on_too_big
        self.e.hooks.inject = _on_inject
        self.e.hooks.send = _on_send
        self.e.hooks.send_one = _on_send_one
        self.e.hooks.deliver = _on_deliver
        for name, number in _NUMBER_OF_DROP.items():
            self.e.oerrors[<int>number] = DROPS[name].oerrors
        for n in range(workers):
            self.out[n] = self._worker(n)
            self.into[n] = self._worker(n)
            if pair_workers(self.out[n], self.into[n]):
                PyErr_SetFromErrno(OSError)
        self._targets = {}
        self._inbound = {}
        self._outbound = {}
        self.devices = {}
        self.wire = wire
        self.events = events
        self.joined = None

    cdef worker *_worker(self, int number) except NULL:
        cdef worker *w = <worker *>calloc(1, sizeof(worker))
        if not w:
            raise MemoryError
        w.engine = self.e
        w.number = number
        w.epoll = epoll_create1(EPOLL_CLOEXEC)
        w.raw4 = w.raw4_df = w.raw4_doubt = w.raw6 = w.call = -1
        return w

    def __dealloc__(self):
        cdef int n
        cdef c_sa *a
        cdef c_interface *i
        if not self.e:
            return
        for spi in self._inbound or ():
            a = take_inbound(&self.e.tables, spi)
            if a:
                sa_free(a)
        for index in self._outbound or ():
            i = take_interface(&self.e.tables, index)
            if i and i.outbound:
                sa_free(i.outbound)
            free(i)
        for n in range(self.workers):
            for w in (<size_t>self.out[n], <size_t>self.into[n]):
                if w:
                    close((<worker *><size_t>w).epoll)
                    close((<worker *><size_t>w).call)
                    free(<void *><size_t>w)
        pthread_rwlock_destroy(&self.e.tables.lock)
        free(self.out)
        free(self.into)
        free(self.e)

    # -- tables ----------------------------------------------------------------------------------------------------

    cdef void _lock(self):
        with nogil:
            pthread_rwlock_wrlock(&self.e.tables.lock)

    cdef void _unlock(self):
        pthread_rwlock_unlock(&self.e.tables.lock)

    def set_settings(self, settings):
        tos4, tos6 = tos_table(settings.ecn), tos_table(settings.ecn6)
        self._lock()
        memcpy(self.e.tos4, <const char *>tos4, 256)
        memcpy(self.e.tos6, <const char *>tos6, 256)
        self.e.tables.esp_enable = settings.esp_enable != 0
        self.e.tables.mark = settings.mark
        self.e.tables.min_pmtu = settings.min_pmtu
        self.e.tables.accept_unclaimed = settings.accept_unclaimed != 0
        self.e.tables.dfbit = settings.dfbit
        self.e.tables.ttl = settings.ttl
        self.e.tables.hlim = settings.hlim
        self._unlock()

    cdef c_sa *_make_sa(self, sa, bint outbound) except NULL:
        cdef Traffic traffic = sa.traffic
        cdef c_sa *a = <c_sa *>calloc(1, sizeof(c_sa))
        cdef sockaddr_in *four = <sockaddr_in *>&a.peer
        cdef sockaddr_in6 *six = <sockaddr_in6 *>&a.peer
        if not a:
            raise MemoryError
        src, dst, key, auth_key = sa.src, sa.dst, sa.enc_key, sa.auth_key
        a.spi, a.id = sa.spi, sa.id
        a.family = 4 if len(src) == 4 else 6
        memcpy(a.src, <const char *>src, len(src))
        memcpy(a.dst, <const char *>dst, len(dst))
        a.mode, a.enc, a.auth, a.flags, a.outbound = sa.mode, sa.enc, sa.auth, sa.flags & 0x7FFFFFFF, outbound
        a.window = sa.window
        a.traffic = &traffic.c
        a.key_length, a.auth_key_length = len(key), len(auth_key)
        memcpy(a.key, <const char *>key, min(len(key), MAX_KEY))
        memcpy(a.auth_key, <const char *>auth_key, min(len(auth_key), MAX_AUTH_KEY))
        a.broken = sa_describe(a, sa.ctr_compatibility) != 0  # keys that do not fit are, unless they are not used
        if sa.natt is not None:
            a.natt = 1
            a.sport, a.dport = sa.natt
        if sa.blocked:
            a.blocked = _NUMBER_OF_DROP[sa.blocked]
        if a.family == 4:
            four.sin_family = AF_INET
            four.sin_port = htons(a.dport)
            memcpy(&four.sin_addr, a.dst, 4)
            a.peer_length = sizeof(sockaddr_in)
        else:
            six.sin6_family = AF_INET6
            six.sin6_port = htons(a.dport)
            memcpy(&six.sin6_addr, a.dst, 16)
            a.peer_length = sizeof(sockaddr_in6)
        self.e.generation += 1
        a.generation = self.e.generation
        return a

    cdef c_target *_target(self, key) except NULL:
        cdef c_target *t = <c_target *><size_t>self._targets.get(key, 0)
        if not t:
            t = <c_target *>calloc(1, sizeof(c_target))
            if not t:
                raise MemoryError
            self._targets[key] = <size_t>t
        t.users += 1
        return t

    cdef void _release(self, key):
        """Called while nobody reads the tables."""
        cdef c_target *t = <c_target *><size_t>self._targets[key]
        t.users -= 1
        if not t.users:
            del self._targets[key]
            free(t)

    def set_interface(self, entry, int fd=-1, bint vnet=False, bint uso=False):
        """Adds (with the descriptor of its device) or replaces an interface."""
        cdef c_interface *i = find_interface(&self.e.tables, entry.index)
        cdef bint fresh = i == NULL
        cdef c_sa *outbound = NULL
        cdef c_sa *former = NULL
        cdef c_target *t = NULL
        before, key, sa = self._outbound.get(entry.index, (None, None, None))
        if entry.outbound is not None and (sa is None or not entry.outbound.same_as(sa)):
            outbound = self._make_sa(entry.outbound, True)
        if fresh:
            i = <c_interface *>calloc(1, sizeof(c_interface))
            if not i:
                raise MemoryError
            i.index, i.fd, i.vnet, i.uso = entry.index, fd, vnet, uso
        new_key = (entry.reqid, entry.dst, entry.src) if entry.src and entry.dst else None
        if new_key is not None:
            t = self._target(new_key)
        self._lock()
        if i.outbound and (outbound or entry.outbound is None):
            former = i.outbound
            guard_sa(&self.e.tables, former, -1)
            i.outbound = NULL
        if outbound:
            i.outbound = outbound
            guard_sa(&self.e.tables, outbound, 1)
        i.up, i.running, i.monitor = entry.up, entry.running, entry.monitor
        i.has_tunnel = new_key is not None
        i.mark = entry.mark
        if key is not None:
            self._detach(key, i)
        if t:
            t.interface = i
        if fresh:
            add_interface(&self.e.tables, i)
        find_endpoints(&self.e.tables)
        self._outbound[entry.index] = (entry, new_key, entry.outbound)
        self._unlock()
        if former:
            sa_free(former)
        if fresh and fd >= 0:
            watch(self.out[i.index % self.workers], fd, WATCH_TUN, i.index)

    cdef void _detach(self, key, c_interface *i):
        cdef c_target *t = <c_target *><size_t>self._targets[key]
        if t.interface == i:
            t.interface = NULL
        self._release(key)

    def set_doubt(self, int index, bint doubt):
        """Whether the host believes less of the interface's outer path than may be believed."""
        find_interface(&self.e.tables, index).doubt = doubt

    def remove_interface(self, int index):
        cdef c_interface *i
        entry, key, sa = self._outbound[index]
        self._lock()
        del self._outbound[index]  # not before: a worker may be about to ask for it
        i = take_interface(&self.e.tables, index)
        if i.outbound:
            guard_sa(&self.e.tables, i.outbound, -1)
        if key is not None:
            self._detach(key, i)
        self._unlock()
        if i.fd >= 0:
            unwatch(self.out[index % self.workers], i.fd)
        if i.outbound:
            sa_free(i.outbound)
        free(i)

    def set_inbound(self, sa):
        """Adds or replaces the SA with this SPI; the replay window stays if it is the same SA in what matters."""
        cdef c_sa *a = self._make_sa(sa, False)
        cdef c_sa *former
        before = self._inbound.get(sa.spi)
        key = (sa.reqid, sa.src, sa.dst)
        a.target = self._target(key)
        self._lock()
        former = take_inbound(&self.e.tables, sa.spi)
        if former != NULL:
            if sa.same_cryptography(before):
                _take_contexts(a, former)
            self._release((before.reqid, before.src, before.dst))
        add_inbound(&self.e.tables, a)
        self._inbound[sa.spi] = sa
        self._unlock()
        if former:
            sa_free(former)

    def remove_inbound(self, uint32_t spi):
        cdef c_sa *a
        sa = self._inbound.pop(spi)
        self._lock()
        a = take_inbound(&self.e.tables, spi)
        self._release((sa.reqid, sa.src, sa.dst))
        self._unlock()
        sa_free(a)

    def add_endpoint(self, address, uint16_t port, int fd, bint shared):
        """A socket for UDP-encapsulated ESP on a local address and port."""
        cdef endpoint *p = <endpoint *>calloc(1, sizeof(endpoint))
        if not p:
            raise MemoryError
        p.fd, p.family, p.shared, p.port = fd, 4 if len(address) == 4 else 6, shared, port
        p.unchecked = not shared and p.family == 4
        memcpy(p.address, <const char *>address, len(address))
        pthread_mutex_init(&p.lock, NULL)
        self._lock()
        p.next = self.e.tables.endpoints
        self.e.tables.endpoints = p
        find_endpoints(&self.e.tables)
        self._unlock()
        watch(self.into[port % self.workers], fd, WATCH_UDP, fd)

    def remove_endpoint(self, int fd):
        cdef endpoint *p
        self._lock()
        p = take_endpoint(&self.e.tables, fd)
        find_endpoints(&self.e.tables)
        self._unlock()
        if p:
            unwatch(self.into[p.port % self.workers], fd)
            pthread_mutex_destroy(&p.lock)
            free(p)

    def set_sockets(self, int number, int raw4, int raw4_df, int raw4_doubt, int raw6, int bell):
        """The sockets of the workers with this number, and the descriptor that wakes them when they shall stop."""
        cdef worker *w
        for each in (<size_t>self.out[number], <size_t>self.into[number]):
            w = <worker *><size_t>each
            w.raw4, w.raw4_df, w.raw4_doubt, w.raw6 = raw4, raw4_df, raw4_doubt, raw6
            watch(w, bell, WATCH_STOP, 0)
        if raw4 >= 0:
            watch(self.into[number], raw4, WATCH_RAW4, raw4)
        if raw6 >= 0:
            watch(self.into[number], raw6, WATCH_RAW6, raw6)

    # -- packets ---------------------------------------------------------------------------------------------------

    def run(self, int number, bint outward):
        """Runs one of a pair of threads until `stopping` is set and the bell rung: both of a number have to run."""
        cdef worker *w = self.out[number] if outward else self.into[number]
        with nogil:
            if outward:
                run_lent(w)
            else:
                run_both(w)

    def turn(self):
        """What is ready now, once; how many descriptors had something."""
        cdef int n, moved = 0
        for n in range(self.workers):
            with nogil:
                moved += turn_worker(self.out[n]) + turn_worker(self.into[n])
        return moved

    @property
    def stopping(self):
        return bool(self.e.stopping)

    @stopping.setter
    def stopping(self, bint value):
        self.e.stopping = value

    @property
    def split(self):
        """Whether each direction has its thread also while traffic is light."""
        return bool(self.e.split)

    @split.setter
    def split(self, bint value):
        self.e.split = value

    @property
    def coalesce(self):
        """Whether segments are joined before they are given to a device."""
        return bool(self.e.coalesce)

    @coalesce.setter
    def coalesce(self, bint value):
        self.e.coalesce = value

    def outbound(self, int index, packets):
        """Packets from an interface's device: bytes, or (virtio_net_hdr, bytes)."""
        cdef worker *w = self.out[index % self.workers]
        cdef vnet_header vnet
        cdef uint32_t length
        cdef c_interface *i
        with nogil:
            pthread_rwlock_rdlock(&self.e.tables.lock)
        i = find_interface(&self.e.tables, index)
        for packet in packets:
            memset(&vnet, 0, sizeof(vnet))
            if isinstance(packet, tuple):
                header, packet = packet
                memcpy(&vnet, <const char *>header, VNET)
            length = len(packet)
            if i == NULL or length > LONGEST:
                continue
            memcpy(w.super + VNET, <const char *>packet, length)
            with nogil:
                outbound_packet(w, i, w.super + VNET, length, &vnet)
        with nogil:
            end_of_turn(w, i)
            pthread_rwlock_unlock(&self.e.tables.lock)

    def inbound(self, packets):
        """Outer packets (`host.api.OuterPacket`) as they came from a wire."""
        cdef worker *w = self.into[0]
        cdef arrival origin
        cdef uint32_t length
        cdef uint8_t *slot
        cdef int held = 0, ipv6 = 0
        with nogil:
            pthread_rwlock_rdlock(&self.e.tables.lock)
        for packet in packets:
            payload, dst = packet.payload, packet.dst
            length = len(payload)
            if length > LONGEST:
                continue
            slot = w.rx + held * RX_STRIDE
            memcpy(slot, <const char *>payload, length)
            memset(&origin, 0, sizeof(origin))
            origin.family = 4 if len(dst) == 4 else 6
            origin.dst = <const uint8_t *><const char *>dst
            ipv6 = origin.family == 6
            origin.link = packet.interface
            if packet.ports is not None:
                origin.natt = 1
                origin.sport, origin.dport = packet.ports
            with nogil:
                inbound_one(w, slot, length, &origin)
            held += 1
            if held == BATCH:
                with nogil:
                    flush_flows(w, ipv6)
                held = 0
        with nogil:
            end_of_arrivals(w, ipv6)
            pthread_rwlock_unlock(&self.e.tables.lock)

    def set_random(self, data):
        """For tests: the unpredictable bytes that come next (up to 4096)."""
        cdef uint32_t length = len(data)
        cdef int n
        for n in range(self.workers):
            memcpy(self.out[n].random.bytes + 4096 - length, <const char *>data, length)
            self.out[n].random.left = length

    # -- what was counted ------------------------------------------------------------------------------------------

    @property
    def counters(self):
        total = Counters()
        cdef stats *s
        cdef int n, number
        for n in range(self.workers):
            for each in (<size_t>&self.out[n].stats, <size_t>&self.into[n].stats):
                s = <stats *><size_t>each
                total.input += s.input
                total.ibytes += s.ibytes
                total.output += s.output
                total.obytes += s.obytes
                total.middle += s.middle
                total.front += s.front
                total.taken += s.taken
                total.sent += s.sent
                total.arrived += s.arrived
                total.delivered += s.delivered
                total.injected += s.injected
                for number in range(256):
                    if s.encryption[number]:
                        total.encryption[number] += s.encryption[number]
                    if s.authentication[number]:
                        total.authentication[number] += s.authentication[number]
                for number in range(1, DROP_COUNT):
                    for ipv6 in range(2):
                        if s.drops[number][<int>ipv6]:
                            total.drop(DROP_NAMES[number - 1], ipv6, s.drops[number][<int>ipv6])
        return total

    def interface_counters(self, int index):
        """(ipackets, ibytes, ierrors, opackets, obytes, oerrors) as FreeBSD counts them; None without interface."""
        cdef c_interface *i = find_interface(&self.e.tables, index)
        if i == NULL:
            return None
        return i.ipackets, i.ibytes, 0, i.opackets, i.obytes, i.oerrors


# -- what the workers leave to Python: no exception may leave these ----------------------------------------------------

cdef void _on_event(c_engine *e, int kind, uint64_t ident, uint64_t id, uint64_t value) noexcept with gil:
    core = <Core>e.owner
    if kind == EVENT_ACQUIRE or kind == EVENT_REFUSED:
        core.events.put(_EVENTS[kind], (ident >> 8, ident & 0xFF), value)
    else:
        core.events.put(_EVENTS[kind], (ident, id), value)


cdef int _on_too_big(c_engine *e, outgoing *o) noexcept with gil:
    core = <Core>e.owner
    cdef c_interface *i = o.interface
    if not o.df:
        return VERDICT_DROP
    sa = core._outbound[i.index][2]
    least = 0 if o.doubt else e.tables.min_pmtu  # what is refused in spite of doubt is the device's
    path = core.wire.path_mtu(sa.dst, i.mark)
    i.doubt = path < least
    i.path_mtu = max(path, least)
    i.path_until = now_ms() + _REMEMBERED_MS
    verdict = paths.verdict(sa, path, least, o.inner, o.version)
    if verdict.told:
        answer = icmp.too_big(_bytes(o.quote, o.quote_length), verdict.told)
        told = answer is not None and core.devices[i.index].write(answer) == 0
        return VERDICT_TOLD if told else VERDICT_DROP
    o.df, o.doubt = verdict.df, verdict.doubt
    return VERDICT_LEAVES


cdef int _on_inject(c_engine *e, const uint8_t *packet, uint32_t length, uint32_t link) noexcept with gil:
    return (<Core>e.owner).wire.inject(_bytes(packet, length), link)


cdef _outer_packet(worker *w, const outgoing *o):
    length = 4 if o.sa.family == 4 else 16
    return OuterPacket(
        _bytes(o.sa.src, length),
        _bytes(o.sa.dst, length),
        _bytes(o.data, o.length),
        protocol=17 if o.sa.natt else 50,
        ports=(o.sa.sport, o.sa.dport) if o.sa.natt else None,
        tos=o.tos,
        ttl=w.engine.tables.ttl if o.sa.family == 4 else w.engine.tables.hlim,
        df=bool(o.df),
        doubt=bool(o.doubt),
        mark=o.interface.mark,
    )


cdef void _on_send(worker *w) noexcept with gil:
    cdef uint32_t n = 0
    packets = [_outer_packet(w, &w.batch[number]) for number in range(w.batched)]
    for error in (<Core>w.engine.owner).wire.send(packets):
        if error:
            refused(w, NULL, &w.batch[n], NULL, _ERRNO.get(error, EIO))
        else:
            w.stats.sent += 1
        n += 1


cdef int _on_send_one(worker *w, const outgoing *o) noexcept with gil:
    (error,) = (<Core>w.engine.owner).wire.send([_outer_packet(w, o)])
    return _ERRNO.get(error, EIO) if error else 0


cdef int _on_deliver(c_engine *e, c_interface *i, const iovec *pieces, int count) noexcept with gil:
    core = <Core>e.owner
    cdef int n
    packet = b"".join([_bytes(<const uint8_t *>pieces[n].iov_base, pieces[n].iov_len) for n in range(1, count)])
    if core.joined is not None:
        return core.joined(i.index, _bytes(<const uint8_t *>pieces[0].iov_base, VNET), packet) or 0
    error = core.devices[i.index].write(packet)
    return 0 if not error else ENOBUFS if error == 55 else EIO
