/* The compiled core of the data path, as it is seen from outside: the one header that _fast.pyx and the C fuzzer know.
 *
 * A `core` is tables and workers; a `traffic` is what moves in one SA while packets pass. Calls that change a table
 * wait for the workers, which may be waiting for their owner in a hook (datapath/__init__.py): whoever calls holds
 * nothing that a hook needs. Numbers are in the machine's order, addresses are 4 or 16 bytes, a family is 4 or 6.
 */
#ifndef IPSECTOOLS_CORE_H
#define IPSECTOOLS_CORE_H

#include <stddef.h>
#include <stdint.h>

typedef struct core core;
typedef struct traffic traffic;

enum { CORE_VNET = 10, CORE_LONGEST = 65535 }; /* bytes of a virtio_net_hdr, and of a packet */
enum { CORE_MAX_KEY = 36, CORE_MAX_AUTH_KEY = 128, CORE_RANDOM = 4096 };

/* --- what an SA has sent and seen: esp/traffic.py's Traffic ------------------------------------------------------ */

enum traffic_field {
    TRAFFIC_SEQUENCE,
    TRAFFIC_IV,
    TRAFFIC_RECEIVED_HIGH,
    TRAFFIC_ADVANCING,
    TRAFFIC_RECEIVED_FLOOR,
    TRAFFIC_PACKETS,
    TRAFFIC_BYTES,
    TRAFFIC_FIRST_USED,
    TRAFFIC_SEQUENCE_LIMIT,
    TRAFFIC_IV_LIMIT,
    TRAFFIC_RECEIVED_LIMIT,
};

/* Counters at `place`, the window's bitmap in `ring`; with NULL in memory of their own. NULL without memory. */
traffic *traffic_new(void *place, uint8_t *ring, uint64_t ring_length);
void traffic_free(traffic *t);

/* Takes the counters, as they are, out of their place. No table has the SA. 0, or -1 without memory. */
int traffic_leave(traffic *t);

/* What is reserved may be used from now on. */
void traffic_grant(traffic *t);

/* Counters can only be raised: packets have moved them meanwhile. Limits come into force with `traffic_grant`; a lower
 * one of what may be received at once, but not below what was accepted. */
uint64_t traffic_get(const traffic *t, enum traffic_field field);
void traffic_set(traffic *t, enum traffic_field field, uint64_t value);

/* --- tables: datapath/tables.py ---------------------------------------------------------------------------------- */

typedef struct core_settings {
    int esp_enable, accept_unclaimed, min_pmtu, dfbit, ttl, hlim;
    uint32_t mark;                /* that sockets have by themselves */
    uint8_t tos4[256], tos6[256]; /* the outer field by the inner one */
} core_settings;

typedef struct core_sa {
    void *owner; /* handed to the hooks with its packets */
    uint32_t spi;
    uint64_t id; /* tells it from an earlier one with that SPI */
    int family, mode, enc, auth, flags, ctr_compatibility;
    uint8_t src[16], dst[16];
    uint32_t reqid;
    uint64_t window;
    traffic *traffic;
    const uint8_t *key, *auth_key;
    size_t key_length, auth_key_length;
    int natt;
    uint16_t sport, dport;
    int blocked; /* the number of a drop reason, or 0 */
} core_sa;

typedef struct core_interface {
    int index, fd, vnet, uso; /* fd: of its TUN device, or -1; it, vnet and uso count when it is new */
    int up, running, monitor;
    uint32_t mark;
    int family; /* of its end points, 0 if it has none */
    uint32_t reqid;
    uint8_t src[16], dst[16];
    const core_sa *outbound; /* NULL: none, or the present one if `keep` */
    int keep;
} core_interface;

typedef struct core_endpoint {
    int fd, family, shared; /* shared: a raw socket beside another's UDP port */
    uint8_t address[16];
    uint16_t port;
} core_endpoint;

/* --- packets ----------------------------------------------------------------------------------------------------- */

/* A sealed packet. */
typedef struct core_sealed {
    const uint8_t *src, *dst, *data;
    uint32_t length, mark;
    int family, natt;
    uint16_t sport, dport;
    uint8_t tos, ttl, df, doubt; /* doubt: what the kernel knows of the path does not count */
    uint8_t version;             /* of the inner packet */
    uint32_t inner;              /* its length */
    const uint8_t *quote;        /* its beginning, if its sender may have to be told of the path MTU */
    uint32_t quote_length;
    int index;   /* of the interface */
    void *owner; /* of the SA */
} core_sealed;

/* From an interface's device; `vnet`: its virtio_net_hdr, or NULL. */
typedef struct core_packet {
    const uint8_t *vnet, *data;
    size_t length;
} core_packet;

/* From a wire: the bytes from the SPI on. `natt`: it came by UDP. `link`: on which it came, 0 if nobody told. */
typedef struct core_arrival {
    const uint8_t *dst, *data;
    size_t length;
    int family, natt;
    uint16_t sport, dport;
    uint32_t link;
} core_arrival;

/* --- what the workers leave to the owner: each may take its time, all are rare ------------------------------------ */

enum core_event { EVENT_ACQUIRE, EVENT_RESERVE, EVENT_EDGE, EVENT_EXHAUSTED, EVENT_REFUSED };

/* What becomes of a packet with DF that the kernel calls too big; in the last case with the answer's `df` and `doubt`.
 */
enum core_verdict { VERDICT_DROP, VERDICT_TOLD, VERDICT_LEAVES };

typedef struct core_path {
    int narrow;             /* the kernel believes less of the path than may be believed */
    uint32_t mtu, remember; /* what is believed, for so many ms */
    uint8_t df, doubt;
} core_path;

typedef struct core_hooks {
    /* ident: an SPI and `id` its SA's; for ACQUIRE and REFUSED the interface's index << 8 | inner version or GSO type
     */
    void (*event)(void *owner, int kind, uint64_t ident, uint64_t id, uint64_t value);
    int (*too_big)(void *owner, const core_sealed *packet, int min_pmtu, core_path *path); /* a verdict */
    int (*inject)(void *owner, const uint8_t *packet, uint32_t length, uint32_t link);     /* 0, or an errno */
    /* In memory, instead of sockets and devices. An errno for each packet. */
    void (*send)(void *owner, const core_sealed *packets, uint32_t count, int *errors);
    int (*deliver)(void *owner, int index, const uint8_t *vnet, const uint8_t *packet, uint32_t length);
} core_hooks;

/* --- counters: the sums over all workers ------------------------------------------------------------------------- */

enum { CORE_MOST_DROPS = 64 };

typedef struct core_counters {
    uint64_t input, ibytes, middle, front, output, obytes;
    uint64_t taken, sent, arrived, delivered, injected;
    uint64_t encryption[256], authentication[256];
    uint64_t drops[CORE_MOST_DROPS][2]; /* by number of the reason and address family (0: IPv4) */
} core_counters;

typedef struct core_device_counters {
    uint64_t ipackets, ibytes, opackets, obytes, oerrors;
} core_device_counters;

/* What the core knows of an SA's algorithms. */
typedef struct core_algorithms {
    int iv, block, pad_to, icv, aead, counter_iv;
} core_algorithms;

/* The name of drop reason `number` as in esp/drops.py, from 1 on; NULL after the last. */
const char *core_drop_name(int number);

/* 0, or -1 for an SA that could not be used. */
int core_algorithms_of(const core_sa *sa, core_algorithms *found);

/* --- the core ---------------------------------------------------------------------------------------------------- */

enum core_switch {
    CORE_STOPPING, /* run ends, when its bell is rung */
    CORE_SPLIT,    /* each direction has its thread also while traffic is light */
    CORE_COALESCE, /* segments are joined before they are given to a device */
};

/* `workers`: threads each way. `in_memory`: packets go by the hooks. `oerrors`: by the number of a drop reason, whether
 * it is an output error of the interface. NULL and errno if that cannot be. */
core *core_new(int workers, int in_memory, const core_hooks *hooks, void *owner, const uint8_t *oerrors);
void core_free(core *c); /* no thread runs it */

int core_switch_get(const core *c, enum core_switch which);
void core_switch_set(core *c, enum core_switch which, int value);

void core_set_settings(core *c, const core_settings *settings);

/* Adding or replacing, each as a whole: 0, or -1 without memory. */
int core_set_interface(core *c, const core_interface *entry);
int core_set_inbound(core *c, const core_sa *entry, int same); /* same: in what matters, so the replay window stays */
int core_add_endpoint(core *c, const core_endpoint *entry);
void core_remove_interface(core *c, int index);
void core_remove_inbound(core *c, uint32_t spi);
void core_remove_endpoint(core *c, int fd);

/* The kernel believes less of the interface's outer path than may be believed. */
void core_set_doubt(core *c, int index, int doubt);

/* The sockets of the workers with this number, and the descriptor that wakes them when they shall stop. */
void core_set_sockets(core *c, int number, int raw4, int raw4_df, int raw4_doubt, int raw6, int bell);

/* One of a pair of threads: both of a number have to run. */
void core_run(core *c, int number, int outward);

/* What is ready now, once; how many descriptors had something. */
int core_turn(core *c);

/* Packets that the owner has. */
void core_outbound(core *c, int index, const core_packet *packets, size_t count);
void core_inbound(core *c, const core_arrival *packets, size_t count);

void core_count(const core *c, core_counters *sums);
int core_count_device(const core *c, int index, core_device_counters *counters); /* 0, or -1 without interface */

/* For tests: the unpredictable bytes that come next (up to CORE_RANDOM). */
void core_set_random(core *c, const uint8_t *bytes, uint32_t length);

#endif
