/* What the workers share: the core, and each one's own memory. */
#ifndef IPSECTOOLS_ENGINE_H
#define IPSECTOOLS_ENGINE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/socket.h>
#include <sys/uio.h>

#include "drops.h"
#include "segment.h"
#include "tables.h"

enum {
    BATCH = 64,           /* packets handled between two looks at anything else */
    TX_ROOM = 512 * 1024, /* bytes of sealed packets in one batch */
    RX_STRIDE = 66624,    /* room for one arrival; no power of two, so that arrivals do not share cache sets */
    UDP_ARRIVALS = 8,     /* arrivals taken at once from a UDP socket, each of up to 64 KiB (UDP_GRO) */
    FLOWS = 16,           /* TCP and UDP flows put together at the same time */
    FLOW_PACKETS = 64,
    SMALLEST_IPV4 = 576, /* inner packets of this size nobody has to make smaller, see esp/tunnel.py */
    SMALLEST_IPV6 = 1280,
    QUOTED = 548, /* bytes of an inner packet kept for an ICMP message about it */
    CONTROL = 128,
    AGAIN_MS = 1000,    /* after which an SA without reserved numbers asks once more */
    IVS_LEFT = 1 << 20, /* with so many an SA asks for more */
};

/* A sealed packet that waits to be sent. */
typedef struct outgoing {
    u8 *data;
    u32 length;
    sa *sa;
    interface *interface;
    u8 tos, df, doubt,
        version; /* doubt: what the kernel knows of the path does not count; version: of the inner packet */
    u32 inner;   /* length of the inner packet */
    u8 *quote;   /* the beginning of the inner packet, if its sender may have to be told of the path MTU */
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

typedef struct worker {
    core *core;
    struct worker *other; /* of the other direction */
    int number, epoll, raw4, raw4_df, raw4_doubt, raw6;
    int discovery;  /* of raw4_doubt, as it is now */
    int call, lent; /* see workers.h */
    u64 for_other;  /* ns of this thread spent for the other direction */
    core_counters stats;
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

struct core {
    tables tables;
    core_hooks hooks;
    void *owner;
    int in_memory, coalesce, stopping, split;
    u8 oerrors[DROP_COUNT]; /* oerrors: the drop is an output error of the interface */
    int workers;
    worker *out, *into; /* `workers` each */
};

u64 now_ms(void);

static inline void count_drop(worker *w, enum drop reason, int ipv6, u32 packets)
{
    w->stats.drops[reason][ipv6 != 0] += packets;
}

/* Tells the owner something of an SA. */
static inline void tell(worker *w, enum core_event kind, const sa *a, u64 value)
{
    w->core->hooks.event(w->core->owner, kind, a->spi, a->id, value);
}

/* Asks for the next block of numbers when half of the present one is used, once per block. */
void ask_for_more(worker *w, sa *a, u64 used, u64 limit, enum core_event kind);

/* A packet was refused for want of reserved numbers: asks, once until there are more. Nobody waits. */
void ask_at_limit(worker *w, sa *a, u64 needed, u64 limit, enum core_event kind);

#endif
