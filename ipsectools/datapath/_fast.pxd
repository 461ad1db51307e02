# What _fast.pyx uses of C: the system's headers and fast/*.h.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "<sys/socket.h>" nogil:
    ctypedef struct msghdr "struct msghdr":
        pass

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_rwlock_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *, void *)
    int pthread_mutex_destroy(pthread_mutex_t *)
    int pthread_mutex_lock(pthread_mutex_t *)
    int pthread_mutex_trylock(pthread_mutex_t *)
    int pthread_mutex_unlock(pthread_mutex_t *)
    int pthread_rwlock_rdlock(pthread_rwlock_t *)
    int pthread_rwlock_wrlock(pthread_rwlock_t *)
    int pthread_rwlock_unlock(pthread_rwlock_t *)
    int pthread_rwlock_destroy(pthread_rwlock_t *)

cdef extern from "<sys/socket.h>" nogil:
    ctypedef struct sockaddr_storage:
        unsigned short ss_family
    int AF_INET, AF_INET6

cdef extern from "<netinet/in.h>" nogil:
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr
    cdef struct in6_addr:
        uint8_t s6_addr[16]
    cdef struct sockaddr_in6:
        unsigned short sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
    uint16_t htons(uint16_t)

cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<sys/epoll.h>" nogil:
    int epoll_create1(int)
    int EPOLL_CLOEXEC

cdef extern from "<unistd.h>" nogil:
    int close(int)

cdef extern from "<openssl/crypto.h>" nogil:
    const char *OpenSSL_version(int)

cdef extern from "workers.h" nogil:
    enum:
        BATCH, RX_STRIDE, VNET, LONGEST, MAX_KEY, MAX_AUTH_KEY, DROP_COUNT, PASSED
        WATCH_STOP, WATCH_TUN, WATCH_RAW4, WATCH_RAW6, WATCH_UDP
        VERDICT_DROP, VERDICT_TOLD, VERDICT_LEAVES
        EVENT_ACQUIRE, EVENT_RESERVE, EVENT_EDGE, EVENT_EXHAUSTED, EVENT_REFUSED
    const char *const *drop_names

    ctypedef struct c_slot "slot":
        uint64_t sequence, iv, received_high, advancing, received_floor, packets, bytes, first_used

    ctypedef struct c_traffic "traffic":
        c_slot *at
        c_slot *own
        uint8_t *ring
        uint64_t ring_length
        uint64_t sequence_limit, iv_limit, received_limit
        uint64_t granted_sequence, granted_iv, granted_received
        pthread_mutex_t lock

    ctypedef struct c_interface "interface"

    ctypedef struct c_target "target":
        c_interface *interface
        uint64_t users

    ctypedef struct replay:
        pass

    ctypedef struct c_sa "sa":
        uint32_t spi
        int family, mode, enc, auth, flags, outbound, natt, blocked, broken, counter_iv, key_length, auth_key_length, ready
        uint8_t src[16]
        uint8_t dst[16]
        uint16_t sport, dport
        sockaddr_storage peer
        unsigned int peer_length
        uint64_t id, window, generation
        uint8_t key[36]
        uint8_t auth_key[128]
        c_traffic *traffic
        c_target *target
        replay window_state

    ctypedef struct endpoint:
        endpoint *next
        int fd, family, shared, df, unchecked
        uint8_t address[16]
        uint16_t port
        pthread_mutex_t lock

    ctypedef struct c_interface "interface":
        int index, fd, vnet, uso, up, running, monitor, has_tunnel
        uint32_t mark
        int doubt
        uint32_t path_mtu
        uint64_t path_until
        c_sa *outbound
        endpoint *encap
        uint64_t ipackets, ibytes, opackets, obytes, oerrors

    ctypedef struct c_tables "tables":
        pthread_rwlock_t lock
        int esp_enable, accept_unclaimed, min_pmtu, dfbit, ecn, ecn6, ttl, hlim
        uint32_t mark
        endpoint *endpoints

    ctypedef struct stats:
        uint64_t input, ibytes, middle, front, output, obytes, taken, sent, arrived, delivered, injected
        uint64_t encryption[256]
        uint64_t authentication[256]
        uint64_t drops[64][2]

    ctypedef struct vnet_header:
        uint8_t flags, gso_type
        uint16_t hdr_len, gso_size, csum_start, csum_offset

    ctypedef struct outgoing:
        uint8_t *data
        uint32_t length
        c_sa *sa
        c_interface *interface
        uint8_t tos, df, doubt, version
        uint32_t inner
        uint8_t *quote
        uint32_t quote_length

    ctypedef struct random_pool:
        uint32_t left
        uint8_t bytes[4096]

    ctypedef struct worker:
        c_engine *engine
        int number, epoll, raw4, raw4_df, raw4_doubt, raw6, call
        stats stats
        random_pool random
        outgoing batch[64]
        uint32_t batched
        uint8_t super[65600]
        uint8_t rx[4263936]

    ctypedef struct c_hooks "hooks":
        void (*event)(c_engine *, int, uint64_t, uint64_t, uint64_t) noexcept
        int (*too_big)(c_engine *, outgoing *) noexcept
        int (*inject)(c_engine *, const uint8_t *, uint32_t, uint32_t) noexcept
        void (*send)(worker *) noexcept
        int (*send_one)(worker *, const outgoing *) noexcept
        int (*deliver)(c_engine *, c_interface *, const iovec *, int) noexcept

    ctypedef struct c_engine "engine":
        c_tables tables
        c_hooks hooks
        void *owner
        int in_memory, coalesce, stopping, split
        uint8_t tos4[256]
        uint8_t tos6[256]
        uint8_t oerrors[64]
        uint64_t generation

    ctypedef struct arrival:
        int family, natt
        const uint8_t *dst
        uint16_t sport, dport
        uint32_t link

    int tables_start(c_tables *)
    c_interface *find_interface(const c_tables *, int)
    c_sa *find_inbound(const c_tables *, uint32_t)
    void add_interface(c_tables *, c_interface *)
    c_interface *take_interface(c_tables *, int)
    endpoint *take_endpoint(c_tables *, int)
    void find_endpoints(c_tables *)
    void add_inbound(c_tables *, c_sa *)
    c_sa *take_inbound(c_tables *, uint32_t)
    void guard_sa(c_tables *, const c_sa *, int)
    int sa_describe(c_sa *, int)
    void sa_free(c_sa *)
    void refused(worker *, endpoint *, outgoing *, const msghdr *, int)
    uint64_t now_ms()
    void outbound_packet(worker *, c_interface *, uint8_t *, uint32_t, const vnet_header *)
    void end_of_turn(worker *, c_interface *)
    void inbound_one(worker *, uint8_t *, uint32_t, const arrival *)
    void flush_flows(worker *, int)
    void end_of_arrivals(worker *, int)
    int watch(worker *, int, int, uint32_t)
    void unwatch(worker *, int)
    int pair_workers(worker *, worker *)
    void run_both(worker *)
    void run_lent(worker *)
    int turn_worker(worker *)


cdef extern from *:
    """
    /* Keyed contexts and replay window pass from an SA to its successor with the same keys. */
    static void take_contexts(sa *a, sa *former)
    {
        a->cipher = former->cipher;
        a->inner = former->inner;
        a->outer = former->outer;
        a->window_state = former->window_state;
        a->ready = former->ready;
        a->asked = former->asked;
        a->ask_at = former->ask_at;
        former->cipher = NULL;
        former->window_state.own = 0;
    }
    """
    void _take_contexts "take_contexts" (c_sa *, c_sa *) nogil
