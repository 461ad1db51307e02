/* What the workers look up: interfaces by index, inbound SAs by SPI, targets, the loop guard.
 *
 * Readers hold `lock` for reading while they handle a batch; Python changes a table holding it for writing. Writers go
 * first, so a change waits for one batch at most, and what was replaced is in nobody's hands when the change returns.
 */
#ifndef IPSECTOOLS_TABLES_H
#define IPSECTOOLS_TABLES_H

#include "sa.h"

/* One socket for outer packets. `shared`: somebody else owns the UDP port; raw datagrams with a UDP header of ours. */
typedef struct endpoint {
    struct endpoint *next;
    int fd, family, shared;
    u8 address[16];
    u16 port;
    int discovery, unchecked; /* options as they are now; guarded by `lock` */
    pthread_mutex_t lock;
} endpoint;

typedef struct interface {
    struct interface *next;
    int index, fd, vnet, uso; /* fd: the TUN device; vnet: with virtio_net_hdr; uso: takes UDP super-packets */
    int refused; /* GSO types (bits) of joined packets that Linux would not take from this device */
    int up, running, monitor, has_tunnel;
    u32 mark;
    int doubt;      /* the kernel believes less of the outer path than may be believed */
    u32 path_mtu;   /* what packets were refused for, until `path_until` (ms) */
    u64 path_until;
    sa *outbound;
    endpoint *encap; /* where NAT-T packets of `outbound` leave */
    u64 acquire[2];  /* packets without an SA since the last report, by inner family (4, 6) */
    u64 ipackets, ibytes, opackets, obytes, oerrors;
} interface;

/* The place of the interface that inbound SAs with one (reqid, src, dst) belong to. */
typedef struct target {
    interface *interface;
    u64 users;
} target;

/* Ends of outer packets that this host sends. */
typedef struct guard {
    struct guard *next;
    int family, natt; /* natt: the guard of one port pair */
    u16 sport, dport;
    u8 src[16], dst[16];
    u64 users;
} guard;

enum { GUARDS = 1024, INTERFACES = 1024 };

typedef struct tables {
    pthread_rwlock_t lock;
    int esp_enable, accept_unclaimed, min_pmtu, dfbit, ecn, ecn6, ttl, hlim;
    u32 mark; /* that sockets have by themselves */
    interface *interfaces[INTERFACES];
    sa **inbound;
    u64 inbound_mask, inbound_count;
    endpoint *endpoints;
    guard *guards[GUARDS];
    u64 esp_guards, natt_guards;
} tables;

#define ADD(counter, n) __atomic_fetch_add(&(counter), (u64)(n), __ATOMIC_RELAXED)

static int tables_start(tables *t)
{
    pthread_rwlockattr_t attributes;
    memset(t, 0, sizeof *t);
    t->esp_enable = 1;
    t->ttl = t->hlim = 64;
    t->inbound_mask = 255;
    t->inbound = calloc(t->inbound_mask + 1, sizeof *t->inbound);
    if (!t->inbound || pthread_rwlockattr_init(&attributes))
        return -1;
#ifdef __GLIBC__
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
    return pthread_rwlock_init(&t->lock, &attributes);
}

static inline int address_length(int family) { return family == 4 ? 4 : 16; }

static interface *find_interface(const tables *t, int index)
{
    interface *i = t->interfaces[(u32)index % INTERFACES];
    while (i && i->index != index)
        i = i->next;
    return i;
}

/* SPIs are chosen by anybody: spread them. */
static inline u64 spi_hash(u32 spi) { return (spi * 0x9e3779b97f4a7c15ull) >> 32; }

static inline sa *find_inbound(const tables *t, u32 spi)
{
    sa *a = t->inbound[spi_hash(spi) & t->inbound_mask];
    while (a && a->spi != spi)
        a = a->next;
    return a;
}

static void grow_inbound(tables *t)
{
    u64 mask = t->inbound_mask * 2 + 1;
    sa **larger = calloc(mask + 1, sizeof *larger);
    if (!larger)
        return; /* chains grow instead */
    for (u64 i = 0; i <= t->inbound_mask; i++) {
        while (t->inbound[i]) {
            sa *a = t->inbound[i];
            sa **bucket = &larger[spi_hash(a->spi) & mask];
            t->inbound[i] = a->next;
            a->next = *bucket;
            *bucket = a;
        }
    }
    free(t->inbound);
    t->inbound = larger;
    t->inbound_mask = mask;
}

static void add_inbound(tables *t, sa *a)
{
    if (t->inbound_count > t->inbound_mask)
        grow_inbound(t);
    sa **bucket = &t->inbound[spi_hash(a->spi) & t->inbound_mask];
    a->next = *bucket;
    *bucket = a;
    t->inbound_count++;
}

static sa *take_inbound(tables *t, u32 spi)
{
    sa **at = &t->inbound[spi_hash(spi) & t->inbound_mask];
    while (*at && (*at)->spi != spi)
        at = &(*at)->next;
    sa *a = *at;
    if (a) {
        *at = a->next;
        t->inbound_count--;
    }
    return a;
}

static void add_interface(tables *t, interface *i)
{
    interface **bucket = &t->interfaces[(u32)i->index % INTERFACES];
    i->next = *bucket;
    *bucket = i;
}

static interface *take_interface(tables *t, int index)
{
    interface **at = &t->interfaces[(u32)index % INTERFACES];
    while (*at && (*at)->index != index)
        at = &(*at)->next;
    interface *i = *at;
    if (i)
        *at = i->next;
    return i;
}

static endpoint *take_endpoint(tables *t, int fd)
{
    endpoint **at = &t->endpoints;
    while (*at && (*at)->fd != fd)
        at = &(*at)->next;
    endpoint *p = *at;
    if (p)
        *at = p->next;
    return p;
}

/* The socket for NAT-T packets of an SA, by its local end; NULL if there is none (yet). */
static endpoint *find_endpoint(const tables *t, const sa *a)
{
    endpoint *p = t->endpoints;
    while (p && !(p->family == a->family && p->port == a->sport && !memcmp(p->address, a->src, (size_t)address_length(a->family))))
        p = p->next;
    return p;
}

/* Lets every interface know its socket, after sockets or SAs have changed. */
static void find_endpoints(tables *t)
{
    for (u32 n = 0; n < INTERFACES; n++)
        for (interface *i = t->interfaces[n]; i; i = i->next)
            i->encap = i->outbound && i->outbound->natt ? find_endpoint(t, i->outbound) : NULL;
}

/* --- the loop guard ---------------------------------------------------------------------------------------------- */

static guard **find_guard(tables *t, int family, const u8 *src, const u8 *dst, int natt, u16 sport, u16 dport)
{
    int n = address_length(family);
    u64 hash = 14695981039346656037ull;
    for (int i = 0; i < n; i++)
        hash = (hash ^ src[i] ^ (u64)dst[i] << 8) * 1099511628211ull;
    guard **at = &t->guards[(hash >> 32) % GUARDS];
    while (*at && !((*at)->family == family && (*at)->natt == natt && (*at)->sport == sport && (*at)->dport == dport &&
                    !memcmp((*at)->src, src, (size_t)n) && !memcmp((*at)->dst, dst, (size_t)n)))
        at = &(*at)->next;
    return at;
}

static void guard_count(tables *t, const sa *a, int natt, u16 sport, u16 dport, int step)
{
    guard **at = find_guard(t, a->family, a->src, a->dst, natt, sport, dport), *g = *at;
    if (!g && step > 0) {
        g = calloc(1, sizeof *g);
        if (!g)
            return;
        g->family = a->family;
        g->natt = natt;
        g->sport = sport;
        g->dport = dport;
        memcpy(g->src, a->src, 16);
        memcpy(g->dst, a->dst, 16);
        *at = g;
    }
    if (!g)
        return;
    g->users += (u64)(int64_t)step;
    if (!g->users) {
        *at = g->next;
        free(g);
    }
}

/* Counts an outbound SA in (step 1) or out (-1). */
static void guard_sa(tables *t, const sa *a, int step)
{
    guard_count(t, a, 0, 0, 0, step);
    t->esp_guards += (u64)(int64_t)step;
    if (a->natt) {
        guard_count(t, a, 1, a->sport, a->dport, step);
        guard_count(t, a, 1, 0, 0, step); /* for later fragments, which show no ports */
        t->natt_guards += (u64)(int64_t)step;
    }
}

/* Whether this host made the packet by IPsec: it would go round for ever. The header is complete. */
static int is_own(tables *t, const u8 *ip, u32 length)
{
    int version = ip[0] >> 4, later = 0;
    const u8 *src, *dst;
    u32 start = 40;
    u8 protocol = version == 4 ? ip[9] : ip[6];
    if (version == 4) {
        start = (u32)(ip[0] & 15) * 4;
        later = (get16(ip + 6) & 0x1fff) != 0;
        src = ip + 12;
        dst = ip + 16;
    } else {
        src = ip + 8;
        dst = ip + 24;
        if (protocol == 44 && length >= 48) {
            protocol = ip[40];
            later = (get16(ip + 42) & 0xfff8) != 0;
            start = 48;
        }
    }
    if (protocol == 50)
        return *find_guard(t, version, src, dst, 0, 0, 0) != NULL;
    if (protocol != 17 || !t->natt_guards)
        return 0;
    if (later)
        return *find_guard(t, version, src, dst, 1, 0, 0) != NULL;
    if (length < start + 12 || !get32(ip + start + 8))
        return 0;
    return *find_guard(t, version, src, dst, 1, get16(ip + start), get16(ip + start + 2)) != NULL;
}

#endif
