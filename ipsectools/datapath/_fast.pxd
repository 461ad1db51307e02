# What _fast.pyx uses of C: fast/core.h.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "<openssl/crypto.h>" nogil:
    const char *OpenSSL_version(int)

cdef extern from "core.h" nogil:
    enum:
        CORE_VNET, CORE_STOPPING, CORE_SPLIT, CORE_COALESCE
        TRAFFIC_SEQUENCE, TRAFFIC_IV, TRAFFIC_RECEIVED_HIGH, TRAFFIC_ADVANCING, TRAFFIC_RECEIVED_FLOOR
        TRAFFIC_PACKETS, TRAFFIC_BYTES, TRAFFIC_FIRST_USED
        TRAFFIC_SEQUENCE_LIMIT, TRAFFIC_IV_LIMIT, TRAFFIC_RECEIVED_LIMIT
        VERDICT_DROP, VERDICT_TOLD, VERDICT_LEAVES
        EVENT_ACQUIRE, EVENT_RESERVE, EVENT_EDGE, EVENT_EXHAUSTED, EVENT_REFUSED

    ctypedef struct core:
        pass
    ctypedef struct traffic:
        pass

    traffic *traffic_new(void *, uint8_t *, uint64_t)
    void traffic_free(traffic *)
    int traffic_leave(traffic *)
    void traffic_grant(traffic *)
    uint64_t traffic_get(const traffic *, int)
    void traffic_set(traffic *, int, uint64_t)

    ctypedef struct core_settings:
        int esp_enable, accept_unclaimed, min_pmtu, dfbit, ttl, hlim
        uint32_t mark
        uint8_t tos4[256]
        uint8_t tos6[256]

    ctypedef struct core_sa:
        void *owner
        uint32_t spi, reqid
        uint64_t id, window
        int family, mode, enc, auth, flags, ctr_compatibility, natt, blocked
        uint8_t src[16]
        uint8_t dst[16]
        traffic *traffic
        const uint8_t *key
        const uint8_t *auth_key
        size_t key_length, auth_key_length
        uint16_t sport, dport

    ctypedef struct core_interface:
        int index, fd, vnet, uso, up, running, monitor, family, keep
        uint32_t mark, reqid
        uint8_t src[16]
        uint8_t dst[16]
        const core_sa *outbound

    ctypedef struct core_endpoint:
        int fd, family, shared
        uint8_t address[16]
        uint16_t port

    ctypedef struct core_sealed:
        const uint8_t *src
        const uint8_t *dst
        const uint8_t *data
        uint32_t length, mark, inner, quote_length
        int family, natt, index
        uint16_t sport, dport
        uint8_t tos, ttl, df, doubt, version
        const uint8_t *quote
        void *owner

    ctypedef struct core_packet:
        const uint8_t *vnet
        const uint8_t *data
        size_t length

    ctypedef struct core_arrival:
        const uint8_t *dst
        const uint8_t *data
        size_t length
        int family, natt
        uint16_t sport, dport
        uint32_t link

    ctypedef struct core_path:
        int narrow
        uint32_t mtu, remember
        uint8_t df, doubt

    ctypedef struct core_hooks:
        void (*event)(void *, int, uint64_t, uint64_t, uint64_t) noexcept
        int (*too_big)(void *, const core_sealed *, int, core_path *) noexcept
        int (*inject)(void *, const uint8_t *, uint32_t, uint32_t) noexcept
        void (*send)(void *, const core_sealed *, uint32_t, int *) noexcept
        int (*deliver)(void *, int, const uint8_t *, const uint8_t *, uint32_t) noexcept

    ctypedef struct core_counters:
        uint64_t input, ibytes, middle, front, output, obytes, taken, sent, arrived, delivered, injected
        uint64_t encryption[256]
        uint64_t authentication[256]
        uint64_t drops[64][2]

    ctypedef struct core_device_counters:
        uint64_t ipackets, ibytes, opackets, obytes, oerrors

    ctypedef struct core_algorithms:
        int iv, block, pad_to, icv, aead, counter_iv

    const char *core_drop_name(int)
    int core_algorithms_of(const core_sa *, core_algorithms *)

    core *core_new(int, int, const core_hooks *, void *, const uint8_t *)
    void core_free(core *)
    int core_switch_get(const core *, int)
    void core_switch_set(core *, int, int)
    void core_set_settings(core *, const core_settings *)
    int core_set_interface(core *, const core_interface *)
    int core_set_inbound(core *, const core_sa *, int)
    int core_add_endpoint(core *, const core_endpoint *)
    void core_remove_interface(core *, int)
    void core_remove_inbound(core *, uint32_t)
    void core_remove_endpoint(core *, int)
    void core_set_doubt(core *, int, int)
    void core_set_sockets(core *, int, int, int, int, int, int)
    void core_run(core *, int, int)
    int core_turn(core *)
    void core_outbound(core *, int, const core_packet *, size_t)
    void core_inbound(core *, const core_arrival *, size_t)
    void core_count(const core *, core_counters *)
    int core_count_device(const core *, int, core_device_counters *)
    void core_set_random(core *, const uint8_t *, uint32_t)
