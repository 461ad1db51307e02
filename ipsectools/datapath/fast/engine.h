/* The pieces that the workers share: one engine, some workers, and what they ask of Python. */
#ifndef IPSECTOOLS_ENGINE_H
#define IPSECTOOLS_ENGINE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <linux/ipv6.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "segment.h"
#include "tables.h"

enum {
    BATCH = 64,              /* packets handled between two looks at anything else */
    TX_ROOM = 512 * 1024,    /* bytes of sealed packets in one batch */
    RX_STRIDE = 66624,       /* room for one arrival; no power of two, so that arrivals do not share cache sets */
    UDP_ARRIVALS = 8,        /* arrivals taken at once from a UDP socket, each of up to 64 KiB (UDP_GRO) */
    FLOWS = 16,              /* TCP and UDP flows put together at the same time */
    FLOW_PACKETS = 64,
    SMALLEST_IPV4 = 576,     /* inner packets of this size nobody has to make smaller, see esp/tunnel.py */
    SMALLEST_IPV6 = 1280,
    QUOTED = 548,            /* bytes of an inner packet kept for an ICMP message about it */
    CONTROL = 128,
    AGAIN_MS = 1000,         /* after which an SA without reserved numbers asks once more */
    IVS_LEFT = 1 << 20,      /* with so many an SA asks for more */
};

/* What becomes of a packet with DF that the kernel calls too big; it leaves with other fields in the last case. */
enum verdict { VERDICT_DROP, VERDICT_TOLD, VERDICT_LEAVES };

enum event { EVENT_ACQUIRE, EVENT_RESERVE, EVENT_EDGE, EVENT_EXHAUSTED, EVENT_REFUSED };

/* A sealed packet that waits to be sent. */
typedef struct outgoing {
    u8 *data;
    u32 length;
    sa *sa;
    interface *interface;
    u8 tos, df, doubt, version; /* doubt: what the kernel knows of the path does not count; version: of the inner packet */
    u32 inner;           /* length of the inner packet */
    u8 *quote;           /* the beginning of the inner packet, if its sender may have to be told of the path MTU */
    u32 quote_length;
} outgoing;

/* Packets of one flow that go to the TUN in one write. */
typedef struct flow {
    interface *interface;
    u8 *packet; /* the first one, whose header becomes that of all */
    u32 header, transport, total, size, next;
    int version, is_tcp, closed, count, id_fixed;
    u16 id;
    struct iovec pieces[FLOW_PACKETS + 1]; /* [0]: virtio_net_hdr */
} flow;

struct engine;

typedef struct worker {
    struct engine *engine;
    struct worker *other; /* of the other direction */
    int number, epoll, raw4, raw4_df, raw4_doubt, raw6;
    int discovery;  /* of raw4_doubt, as it is now */
    int call, lent; /* see workers.h */
    u64 for_other;          /* ns of this thread spent for the other direction */
    stats stats;
    random_pool random;
    outgoing batch[BATCH];
    u32 batched, tx_used;
    flow flows[FLOWS];
    u32 open_flows;
    struct mmsghdr messages[BATCH];
    struct iovec pieces[BATCH];
    u8 control[BATCH][CONTROL] __attribute__((aligned(8)));
    struct sockaddr_storage names[BATCH];
    u8 tx[TX_ROOM + 2 * RX_STRIDE] __attribute__((aligned(64)));
    u8 super[VNET + LONGEST + 64] __attribute__((aligned(64)));
    u8 rx[BATCH * RX_STRIDE] __attribute__((aligned(64)));
} worker;

/* What the workers cannot do without Python: each may take its time, all are rare. */
typedef struct hooks {
    void (*event)(struct engine *e, int kind, u64 ident, u64 id, u64 value); /* id: of an SA, beside its SPI */
    int (*too_big)(struct engine *e, outgoing *o); /* a `verdict` */
    int (*inject)(struct engine *e, const u8 *packet, u32 length, u32 link);                  /* 0, or an error */
    void (*send)(worker *w);                                          /* instead of sockets: takes the batch */
    int (*send_one)(worker *w, const outgoing *o);                    /* once more; 0, or an error */
    int (*deliver)(struct engine *e, interface *i, const struct iovec *pieces, int count); /* instead of a device */
} hooks;

typedef struct engine {
    tables tables;
    hooks hooks;
    void *owner; /* the Python object */
    int in_memory, coalesce, stopping, split; /* split: a thread each way also for light traffic */
    u8 tos4[256], tos6[256], oerrors[DROP_COUNT]; /* oerrors: the drop is an output error of the interface */
    u64 generation;
} engine;

static inline u64 now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (u64)t.tv_sec * 1000 + (u64)t.tv_nsec / 1000000;
}

static inline void count_drop(worker *w, enum drop reason, int ipv6, u32 packets)
{
    w->stats.drops[reason][ipv6 != 0] += packets;
}

/* Asks for the next block of numbers when half of the present one is used, once per block. */
static inline void ask_for_more(worker *w, sa *a, u64 used, u64 limit, enum event kind)
{
    if (limit == UINT64_MAX || (used < a->ask_at && a->asked == limit))
        return;
    if (a->asked != limit) {
        a->asked = limit;
        a->ask_at = limit > used ? used + (limit - used + 1) / 2 : used + 1;
        if (used < a->ask_at)
            return;
    }
    a->ask_at = UINT64_MAX;
    w->engine->hooks.event(w->engine, kind, a->spi, a->id, used);
}

/* A packet was refused for want of reserved numbers: asks, once until there are more. Nobody waits. */
static void ask_at_limit(worker *w, sa *a, u64 needed, u64 limit, enum event kind)
{
    u64 now = now_ms();
    if (a->refused == limit && now < a->again_at)
        return;
    a->refused = limit;
    a->again_at = now + AGAIN_MS;
    w->engine->hooks.event(w->engine, kind, a->spi, a->id, needed);
}

#endif
