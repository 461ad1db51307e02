#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "coalesce.h"
#include "in.h"
#include "out.h"
#include "workers.h"

#define X_NAME(constant, name) name,
static const char *const drop_names[DROP_COUNT] = {"", DROPS(X_NAME)};
#undef X_NAME

const char *core_drop_name(int number) { return number > 0 && number < DROP_COUNT ? drop_names[number] : NULL; }

int core_algorithms_of(const core_sa *entry, core_algorithms *found)
{
    sa *a = sa_new(entry, 1);
    if (!a)
        return -1;
    int broken = a->broken;
    *found = (core_algorithms){a->iv_length, a->block, a->pad_to, a->icv, a->aead, a->counter_iv};
    sa_free(a);
    return broken ? -1 : 0;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static void start_worker(core *c, worker *w, int number)
{
    w->core = c;
    w->number = number;
    w->raw4 = w->raw4_df = w->raw4_doubt = w->raw6 = w->call = -1;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
}

static void end_worker(worker *w)
{
    close(w->epoll);
    close(w->call);
}

core *core_new(int workers, int in_memory, const core_hooks *hooks, void *owner, const uint8_t *oerrors)
{
    core *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    if (tables_start(&c->tables)) {
        free(c);
        errno = ENOMEM;
        return NULL;
    }
    c->hooks = *hooks;
    c->owner = owner;
    c->in_memory = in_memory;
    c->coalesce = !in_memory;
    memcpy(c->oerrors, oerrors, sizeof c->oerrors);
    c->out = calloc((size_t)workers, sizeof *c->out);
    c->into = calloc((size_t)workers, sizeof *c->into);
    int failed = !c->out || !c->into;
    for (int n = 0; !failed && n < workers; n++) {
        start_worker(c, &c->out[n], n);
        start_worker(c, &c->into[n], n);
        c->workers = n + 1;
        failed = pair_workers(&c->out[n], &c->into[n]);
    }
    if (!failed)
        return c;
    int error = errno;
    core_free(c);
    errno = error;
    return NULL;
}

void core_free(core *c)
{
    for (int n = 0; n < c->workers; n++) {
        end_worker(&c->out[n]);
        end_worker(&c->into[n]);
    }
    free(c->out);
    free(c->into);
    tables_end(&c->tables);
    free(c);
}

static int *switch_at(core *c, enum core_switch which)
{
    return which == CORE_STOPPING ? &c->stopping : which == CORE_SPLIT ? &c->split : &c->coalesce;
}

int core_switch_get(const core *c, enum core_switch which)
{
    return __atomic_load_n(switch_at((core *)c, which), __ATOMIC_ACQUIRE);
}

void core_switch_set(core *c, enum core_switch which, int value)
{
    __atomic_store_n(switch_at(c, which), value, __ATOMIC_RELEASE);
}

/* --- tables ------------------------------------------------------------------------------------------------------ */

static void lock(core *c) { pthread_rwlock_wrlock(&c->tables.lock); }
static void unlock(core *c) { pthread_rwlock_unlock(&c->tables.lock); }

void core_set_settings(core *c, const core_settings *settings)
{
    lock(c);
    c->tables.settings = *settings;
    unlock(c);
}

static void detach(tables *t, interface *i)
{
    if (!i->target)
        return;
    if (i->target->interface == i)
        i->target->interface = NULL;
    release_target(t, i->target);
    i->target = NULL;
}

/* FreeBSD's checks of the interface, in its order. */
static enum drop refusal_of(const core_interface *entry)
{
    if (!entry->running)
        return entry->family ? DROP_OUT_NOT_RUNNING : DROP_OUT_NO_TUNNEL;
    if (!entry->up)
        return DROP_OUT_INTERFACE_DOWN;
    if (entry->monitor)
        return DROP_OUT_MONITOR;
    return entry->family ? PASSED : DROP_OUT_NO_TUNNEL;
}

/* Gives the interface another way out; the SA that is out of use is returned. */
static sa *exchange_way(tables *t, interface *i, way next)
{
    sa *former = i->way.sa == next.sa ? NULL : i->way.sa;
    if (i->way.sa)
        guard_sa(t, i->way.sa, -1);
    i->way = next;
    if (next.sa)
        guard_sa(t, next.sa, 1);
    return former;
}

int core_set_interface(core *c, const core_interface *entry)
{
    tables *t = &c->tables;
    sa *outbound = entry->outbound ? sa_new(entry->outbound, 1) : NULL;
    interface *fresh = calloc(1, sizeof *fresh);
    lock(c);
    /* What comes back is from where it sends to. */
    target *place = entry->family ? hold_target(t, entry->reqid, entry->family, entry->dst, entry->src) : NULL;
    if (!fresh || (entry->outbound && !outbound) || (entry->family && !place)) {
        if (place)
            release_target(t, place);
        unlock(c);
        if (outbound)
            sa_free(outbound);
        free(fresh);
        return -1;
    }
    interface *i = find_interface(t, entry->index);
    int added = !i;
    if (added) {
        i = fresh;
        i->index = entry->index;
        i->fd = entry->fd;
        i->vnet = entry->vnet;
        i->uso = entry->uso;
        add_interface(t, i);
    }
    sa *former = exchange_way(t, i, (way){refusal_of(entry), entry->mark, entry->keep ? i->way.sa : outbound, NULL});
    i->up = entry->up;
    i->running = entry->running;
    i->monitor = entry->monitor;
    detach(t, i);
    i->target = place;
    if (place)
        place->interface = i;
    find_endpoints(t);
    unlock(c);
    if (former)
        sa_free(former);
    if (!added)
        free(fresh);
    else if (entry->fd >= 0)
        watch(&c->out[entry->index % c->workers], entry->fd, WATCH_TUN, (u32)entry->index);
    return 0;
}

void core_remove_interface(core *c, int index)
{
    lock(c);
    interface *i = take_interface(&c->tables, index);
    if (i) {
        if (i->way.sa)
            guard_sa(&c->tables, i->way.sa, -1);
        detach(&c->tables, i);
    }
    unlock(c);
    if (i && i->fd >= 0)
        unwatch(&c->out[index % c->workers], i->fd);
    free_interface(i);
}

void core_set_doubt(core *c, int index, int doubt)
{
    interface *i = find_interface(&c->tables, index);
    if (i)
        __atomic_store_n(&i->doubt, doubt, __ATOMIC_RELAXED);
}

int core_set_inbound(core *c, const core_sa *entry, int same)
{
    sa *a = sa_new(entry, 0);
    if (!a)
        return -1;
    lock(c);
    if (!(a->target = hold_target(&c->tables, entry->reqid, entry->family, entry->src, entry->dst))) {
        unlock(c);
        sa_free(a);
        return -1;
    }
    sa *former = take_inbound(&c->tables, entry->spi);
    if (former) {
        if (same)
            sa_take_contexts(a, former);
        release_target(&c->tables, former->target);
    }
    add_inbound(&c->tables, a);
    unlock(c);
    if (former)
        sa_free(former);
    return 0;
}

void core_remove_inbound(core *c, uint32_t spi)
{
    lock(c);
    sa *a = take_inbound(&c->tables, spi);
    if (a)
        release_target(&c->tables, a->target);
    unlock(c);
    if (a)
        sa_free(a);
}

int core_add_endpoint(core *c, const core_endpoint *entry)
{
    endpoint *p = calloc(1, sizeof *p);
    if (!p)
        return -1;
    p->fd = entry->fd;
    p->family = entry->family;
    p->shared = entry->shared;
    p->port = entry->port;
    p->unchecked = !entry->shared && entry->family == 4;
    memcpy(p->address, entry->address, sizeof p->address);
    pthread_mutex_init(&p->lock, NULL);
    lock(c);
    add_endpoint(&c->tables, p);
    find_endpoints(&c->tables);
    unlock(c);
    watch(&c->into[entry->port % c->workers], entry->fd, WATCH_UDP, (u32)entry->fd);
    return 0;
}

void core_remove_endpoint(core *c, int fd)
{
    lock(c);
    endpoint *p = take_endpoint(&c->tables, fd);
    find_endpoints(&c->tables);
    unlock(c);
    if (!p)
        return;
    unwatch(&c->into[p->port % c->workers], fd);
    free_endpoint(p);
}

/* --- packets ----------------------------------------------------------------------------------------------------- */

void core_set_sockets(core *c, int number, int raw4, int raw4_df, int raw4_doubt, int raw6, int bell)
{
    worker *both[] = {&c->out[number], &c->into[number]};
    for (int n = 0; n < 2; n++) {
        both[n]->raw4 = raw4;
        both[n]->raw4_df = raw4_df;
        both[n]->raw4_doubt = raw4_doubt;
        both[n]->raw6 = raw6;
        watch(both[n], bell, WATCH_STOP, 0);
    }
    if (raw4 >= 0)
        watch(&c->into[number], raw4, WATCH_RAW4, (u32)raw4);
    if (raw6 >= 0)
        watch(&c->into[number], raw6, WATCH_RAW6, (u32)raw6);
}

void core_run(core *c, int number, int outward)
{
    if (outward)
        run_lent(&c->out[number]);
    else
        run_both(&c->into[number]);
}

int core_turn(core *c)
{
    int moved = 0;
    for (int n = 0; n < c->workers; n++)
        moved += turn_worker(&c->out[n]) + turn_worker(&c->into[n]);
    return moved;
}

void core_outbound(core *c, int index, const core_packet *packets, size_t count)
{
    worker *w = &c->out[index % c->workers];
    pthread_rwlock_rdlock(&c->tables.lock);
    interface *i = find_interface(&c->tables, index);
    for (size_t n = 0; i && n < count; n++) {
        vnet_header vnet = {0};
        if (packets[n].length > LONGEST)
            continue;
        if (packets[n].vnet)
            memcpy(&vnet, packets[n].vnet, VNET);
        memcpy(w->super + VNET, packets[n].data, packets[n].length);
        outbound_packet(w, i, w->super + VNET, (u32)packets[n].length, &vnet);
    }
    end_of_turn(w, i);
    unlock(c);
}

void core_inbound(core *c, const core_arrival *packets, size_t count)
{
    worker *w = &c->into[0];
    u32 held = 0;
    int ipv6 = 0;
    pthread_rwlock_rdlock(&c->tables.lock);
    for (size_t n = 0; n < count; n++) {
        const core_arrival *p = &packets[n];
        u8 *slot = w->rx + (size_t)held * RX_STRIDE;
        if (p->length > LONGEST)
            continue;
        memcpy(slot, p->data, p->length);
        arrival from = {p->family, p->natt, p->dst, p->sport, p->dport, p->link};
        ipv6 = p->family == 6;
        inbound_one(w, slot, (u32)p->length, &from);
        if (++held == BATCH) {
            flush_flows(w, ipv6);
            held = 0;
        }
    }
    end_of_arrivals(w, ipv6);
    unlock(c);
}

/* --- counters ---------------------------------------------------------------------------------------------------- */

static void add_counters(core_counters *sums, const core_counters *one)
{
    u64 *sum = (u64 *)sums;
    const u64 *each = (const u64 *)one;
    for (size_t n = 0; n < sizeof *sums / sizeof *sum; n++)
        sum[n] += each[n];
}

void core_count(const core *c, core_counters *sums)
{
    memset(sums, 0, sizeof *sums);
    for (int n = 0; n < c->workers; n++) {
        add_counters(sums, &c->out[n].stats);
        add_counters(sums, &c->into[n].stats);
    }
}

int core_count_device(const core *c, int index, core_device_counters *counters)
{
    const interface *i = find_interface(&c->tables, index);
    if (!i)
        return -1;
    *counters = (core_device_counters){i->ipackets, i->ibytes, i->opackets, i->obytes, i->oerrors};
    return 0;
}

void core_set_random(core *c, const uint8_t *bytes, uint32_t length)
{
    for (int n = 0; n < c->workers; n++) {
        random_pool *pool = &c->out[n].random;
        memcpy(pool->bytes + sizeof pool->bytes - length, bytes, length);
        pool->left = length;
    }
}
