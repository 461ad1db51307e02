#include "tables.h"

#include <stdlib.h>

int tables_start(tables *t)
{
    pthread_rwlockattr_t attributes;
    memset(t, 0, sizeof *t);
    t->settings.esp_enable = 1;
    t->settings.ttl = t->settings.hlim = 64;
    t->inbound_mask = 255;
    t->inbound = calloc(t->inbound_mask + 1, sizeof *t->inbound);
    if (!t->inbound || pthread_rwlockattr_init(&attributes))
        return -1;
#ifdef __GLIBC__
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
    return pthread_rwlock_init(&t->lock, &attributes);
}

void free_interface(interface *i)
{
    if (i && i->way.sa)
        sa_free(i->way.sa);
    free(i);
}

void free_endpoint(endpoint *p)
{
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void tables_end(tables *t)
{
    for (u64 n = 0; t->inbound && n <= t->inbound_mask; n++)
        while (t->inbound[n])
            sa_free(take_inbound(t, t->inbound[n]->spi));
    free(t->inbound);
    for (u32 n = 0; n < INTERFACES; n++)
        while (t->interfaces[n])
            free_interface(take_interface(t, t->interfaces[n]->index));
    while (t->endpoints)
        free_endpoint(take_endpoint(t, t->endpoints->fd));
    for (u32 n = 0; n < TARGETS; n++)
        for (target *at = t->targets[n], *next; at; at = next) {
            next = at->next;
            free(at);
        }
    for (u32 n = 0; n < GUARDS; n++)
        for (guard *at = t->guards[n], *next; at; at = next) {
            next = at->next;
            free(at);
        }
    pthread_rwlock_destroy(&t->lock);
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

void add_inbound(tables *t, sa *a)
{
    if (t->inbound_count > t->inbound_mask)
        grow_inbound(t);
    sa **bucket = &t->inbound[spi_hash(a->spi) & t->inbound_mask];
    a->next = *bucket;
    *bucket = a;
    t->inbound_count++;
}

sa *take_inbound(tables *t, u32 spi)
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

void add_interface(tables *t, interface *i)
{
    interface **bucket = &t->interfaces[(u32)i->index % INTERFACES];
    i->next = *bucket;
    *bucket = i;
}

interface *take_interface(tables *t, int index)
{
    interface **at = &t->interfaces[(u32)index % INTERFACES];
    while (*at && (*at)->index != index)
        at = &(*at)->next;
    interface *i = *at;
    if (i)
        *at = i->next;
    return i;
}

void add_endpoint(tables *t, endpoint *p)
{
    p->next = t->endpoints;
    t->endpoints = p;
}

endpoint *take_endpoint(tables *t, int fd)
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
    while (p && !(p->family == a->family && p->port == a->sport &&
                  !memcmp(p->address, a->src, (size_t)address_length(a->family))))
        p = p->next;
    return p;
}

void find_endpoints(tables *t)
{
    for (u32 n = 0; n < INTERFACES; n++)
        for (interface *i = t->interfaces[n]; i; i = i->next)
            i->way.encap = i->way.sa && i->way.sa->natt ? find_endpoint(t, i->way.sa) : NULL;
}

/* --- targets ----------------------------------------------------------------------------------------------------- */

static u64 ends_hash(int family, const u8 *src, const u8 *dst)
{
    u64 hash = 14695981039346656037ull;
    for (int n = 0; n < address_length(family); n++)
        hash = (hash ^ src[n] ^ (u64)dst[n] << 8) * 1099511628211ull;
    return hash >> 32;
}

static int same_ends(int family, const u8 *src, const u8 *dst, const u8 *other_src, const u8 *other_dst)
{
    size_t length = (size_t)address_length(family);
    return !memcmp(src, other_src, length) && !memcmp(dst, other_dst, length);
}

static target **find_target(tables *t, u32 reqid, int family, const u8 *src, const u8 *dst)
{
    target **at = &t->targets[(ends_hash(family, src, dst) ^ reqid) % TARGETS];
    while (*at &&
           !((*at)->reqid == reqid && (*at)->family == family && same_ends(family, src, dst, (*at)->src, (*at)->dst)))
        at = &(*at)->next;
    return at;
}

target *hold_target(tables *t, u32 reqid, int family, const u8 *src, const u8 *dst)
{
    target **at = find_target(t, reqid, family, src, dst), *place = *at;
    if (!place && (place = calloc(1, sizeof *place))) {
        place->reqid = reqid;
        place->family = family;
        memcpy(place->src, src, (size_t)address_length(family));
        memcpy(place->dst, dst, (size_t)address_length(family));
        *at = place;
    }
    if (place)
        place->users++;
    return place;
}

void release_target(tables *t, target *place)
{
    if (--place->users)
        return;
    *find_target(t, place->reqid, place->family, place->src, place->dst) = place->next;
    free(place);
}

/* --- the loop guard ---------------------------------------------------------------------------------------------- */

static guard *const *find_guard(const tables *t, int family, const u8 *src, const u8 *dst, int natt, u16 sport,
                                u16 dport)
{
    guard *const *at = &t->guards[ends_hash(family, src, dst) % GUARDS];
    while (*at && !((*at)->family == family && (*at)->natt == natt && (*at)->sport == sport && (*at)->dport == dport &&
                    same_ends(family, src, dst, (*at)->src, (*at)->dst)))
        at = &(*at)->next;
    return at;
}

static void guard_count(tables *t, const sa *a, int natt, u16 sport, u16 dport, int step)
{
    guard **at = (guard **)find_guard(t, a->family, a->src, a->dst, natt, sport, dport), *g = *at;
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

void guard_sa(tables *t, const sa *a, int step)
{
    guard_count(t, a, 0, 0, 0, step);
    t->esp_guards += (u64)(int64_t)step;
    if (a->natt) {
        guard_count(t, a, 1, a->sport, a->dport, step);
        guard_count(t, a, 1, 0, 0, step); /* for later fragments, which show no ports */
        t->natt_guards += (u64)(int64_t)step;
    }
}

int is_own(const tables *t, const u8 *ip, u32 length)
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
