/* What the workers look up: interfaces by index, inbound SAs by SPI, targets, the loop guard. Locks and their order:
 * datapath/__init__.py. */
#ifndef IPSECTOOLS_TABLES_H
#define IPSECTOOLS_TABLES_H

#include <pthread.h>

#include "drops.h"
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

/* The place of the interface that inbound SAs with one (reqid, src, dst) belong to. */
typedef struct target {
    struct target *next;
    int family;
    u32 reqid;
    u8 src[16], dst[16];
    struct interface *interface;
    u64 users;
} target;

/* A prepared way out: what a device's packets are to go through. It is replaced as a whole. */
typedef struct way {
    enum drop refusal; /* nothing leaves: why, before anything is counted for the interface */
    u32 mark;          /* of outer packets */
    sa *sa;            /* NULL: none, each packet asks for one */
    endpoint *encap;   /* where NAT-T packets of `sa` leave, NULL if there is no socket for them (yet) */
} way;

typedef struct interface {
    struct interface *next;
    int index, fd, vnet, uso; /* fd: the TUN device; vnet: with virtio_net_hdr; uso: takes UDP super-packets */
    int refused;              /* GSO types (bits) of joined packets that Linux would not take from this device */
    int up, running, monitor;
    way way;
    int doubt;    /* the kernel believes less of the outer path than may be believed */
    u32 path_mtu; /* what packets were refused for, until `path_until` (ms) */
    u64 path_until;
    target *target;
    u64 acquire[2]; /* packets without an SA since the last report, by inner family (4, 6) */
    u64 ipackets, ibytes, opackets, obytes, oerrors;
} interface;

/* Ends of outer packets that this host sends. */
typedef struct guard {
    struct guard *next;
    int family, natt; /* natt: the guard of one port pair */
    u16 sport, dport;
    u8 src[16], dst[16];
    u64 users;
} guard;

enum { GUARDS = 1024, INTERFACES = 1024, TARGETS = 1024 };

typedef struct tables {
    pthread_rwlock_t lock;
    core_settings settings;
    interface *interfaces[INTERFACES];
    sa **inbound;
    u64 inbound_mask, inbound_count;
    endpoint *endpoints;
    target *targets[TARGETS];
    guard *guards[GUARDS];
    u64 esp_guards, natt_guards;
} tables;

static inline void lock_sa(const sa *a) { pthread_mutex_lock(&a->traffic->lock); }
static inline void unlock_sa(const sa *a) { pthread_mutex_unlock(&a->traffic->lock); }

#define ADD(counter, n) __atomic_fetch_add(&(counter), (u64)(n), __ATOMIC_RELAXED)

static inline int address_length(int family) { return family == 4 ? 4 : 16; }

static inline interface *find_interface(const tables *t, int index)
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

/* 0, or -1 without memory. */
int tables_start(tables *t);

/* Frees everything that is in them. */
void tables_end(tables *t);

void add_inbound(tables *t, sa *a);
void add_interface(tables *t, interface *i);
void add_endpoint(tables *t, endpoint *p);

/* These give what was taken out, NULL if it was not there. */
sa *take_inbound(tables *t, u32 spi);
interface *take_interface(tables *t, int index);
endpoint *take_endpoint(tables *t, int fd);

void free_interface(interface *i);
void free_endpoint(endpoint *p);

/* The target of these ends, with one more user; NULL without memory. It goes with its last user. */
target *hold_target(tables *t, u32 reqid, int family, const u8 *src, const u8 *dst);
void release_target(tables *t, target *place);

/* Lets every interface know its socket, after sockets or SAs have changed. */
void find_endpoints(tables *t);

/* Counts an outbound SA in (step 1) or out (-1). */
void guard_sa(tables *t, const sa *a, int step);

/* Whether this host made the packet by IPsec: it would go round for ever. The header is complete. */
int is_own(const tables *t, const u8 *ip, u32 length);

#endif
