#include "in.h"

#include "coalesce.h"
#include "open.h"

/* What a UDP socket of ours does not hand to ESP. */
static enum drop natt_refuses(const tables *t, const u8 *esp, u32 length, const arrival *from)
{
    if (length < 4)
        return length == 1 && esp[0] == 0xff ? DROP_IN_NATT_KEEPALIVE : DROP_IN_NATT_SHORT;
    if (!get32(esp))
        return DROP_IN_NON_ESP_MARKER;
    const sa *a = find_inbound(t, get32(esp));
    if (!a || !a->natt || a->family != from->family || memcmp(a->dst, from->dst, (size_t)address_length(from->family)))
        return DROP_IN_NATT_NO_SA;
    return a->sport == from->sport && a->dport == from->dport ? PASSED : DROP_IN_NATT_PORTS;
}

/* find: the SA of a packet. */
static enum drop find(worker *w, const u8 *esp, u32 length, const arrival *from, sa **found)
{
    const tables *t = &w->core->tables;
    if (from->natt) {
        enum drop reason = natt_refuses(t, esp, length, from);
        if (reason)
            return reason;
        w->stats.middle++; /* the UDP header */
    }
    w->stats.input++;
    if (!t->settings.esp_enable)
        return DROP_IN_ESP_DISABLED;
    if (length < 8) /* What came in UDP passes by FreeBSD's check for a whole header; the next one finds these. */
        return from->natt && length % 4 ? DROP_IN_LENGTH : DROP_IN_SHORT;
    sa *a = find_inbound(t, get32(esp));
    if (!a || a->family != from->family || memcmp(a->dst, from->dst, (size_t)address_length(from->family)))
        return DROP_IN_UNKNOWN_SPI;
    *found = a;
    return PASSED;
}

/* check, open, commit, each in open.c. The SA's traffic is locked. */
static enum drop accept_packet(worker *w, sa *a, u8 *esp, u32 length, opened *o)
{
    u32 high;
    enum drop reason = sa_check(a, esp, length, &high);
    if (!reason)
        reason = sa_open(a, esp, length, high, &w->stats);
    if (!reason)
        reason = sa_commit(a, esp, length, &w->stats, o);
    if (reason == DROP_IN_WINDOW_UNRESERVED)
        ask_at_limit(w, a, a->window_state.needed, a->traffic->granted_received, EVENT_EDGE);
    else if (!reason && a->window)
        ask_for_more(w, a, a->traffic->at->received_high, a->traffic->granted_received, EVENT_EDGE);
    return reason;
}

/* What a packet is to its SA, once it is open, and counted so. Its traffic is locked. */
static enum drop decapsulate(sa *a, const opened *o, int ipv6)
{
    int is_ip = o->next == NEXT_IPV4 || o->next == NEXT_IPV6;
    if (a->mode == MODE_TRANSPORT || !is_ip) {
        /* FreeBSD counts it for the SA with the outer header still on it, and only then looks what it is. */
        sa_used(a, o->length + (ipv6 ? 40 : 20));
        return !is_ip && a->mode == MODE_TUNNEL && !ipv6 ? DROP_IN_NEXT_HEADER : DROP_IN_TRANSPORT;
    }
    if (o->length < (o->next == NEXT_IPV4 ? 20u : 40u))
        return DROP_IN_INNER_SHORT;
    sa_used(a, o->length);
    return PASSED;
}

static int has_its_version(const opened *o) { return o->inner[0] >> 4 == (o->next == NEXT_IPV4 ? 4 : 6); }

/* deliver: to the host, for an SA of no interface. */
static enum drop deliver_unclaimed(worker *w, const opened *o, u32 link)
{
    const core *e = w->core;
    if (!e->tables.settings.accept_unclaimed)
        return DROP_IN_NO_INTERFACE;
    if (!has_its_version(o))
        return DROP_IN_INNER_VERSION;
    if (e->hooks.inject(e->owner, o->inner, o->length, link))
        return DROP_IN_HOST_REFUSED;
    w->stats.injected++;
    return PASSED;
}

/* deliver: to an interface. */
static enum drop deliver_to(worker *w, interface *i, const opened *o, int ipv6)
{
    if (!i->running || !i->up)
        return DROP_IN_INTERFACE_DOWN;
    ADD(i->ipackets, 1);
    ADD(i->ibytes, o->length);
    if (i->monitor)
        return DROP_IN_MONITOR;
    if (!has_its_version(o))
        return DROP_IN_INNER_VERSION;
    deliver(w, i, o->inner, o->length, ipv6);
    return PASSED;
}

static enum drop pass_in(worker *w, u8 *esp, u32 length, const arrival *from)
{
    int ipv6 = from->family == 6;
    sa *a = NULL;
    opened o;
    enum drop reason = find(w, esp, length, from, &a);
    if (reason)
        return reason;
    lock_sa(a);
    reason = accept_packet(w, a, esp, length, &o);
    if (!reason)
        reason = decapsulate(a, &o, ipv6);
    unlock_sa(a);
    if (reason)
        return reason;
    w->stats.front++;
    interface *i = a->mode == MODE_TUNNEL ? a->target->interface : NULL;
    return i ? deliver_to(w, i, &o, ipv6) : deliver_unclaimed(w, &o, from->link);
}

void inbound_one(worker *w, u8 *esp, u32 length, const arrival *from)
{
    w->stats.arrived++;
    enum drop reason = pass_in(w, esp, length, from);
    if (reason)
        count_drop(w, reason, from->family == 6, 1);
}

void end_of_arrivals(worker *w, int outer_ipv6)
{
    scrub_stack();
    flush_flows(w, outer_ipv6);
}
