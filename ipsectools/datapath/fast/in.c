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

/* The `length` bytes from the SPI on, which may be changed. In FreeBSD's order of checks. */
void inbound_one(worker *w, u8 *esp, u32 length, const arrival *from)
{
    core *e = w->core;
    tables *t = &e->tables;
    core_counters *s = &w->stats;
    int ipv6 = from->family == 6;
    u32 high;
    opened o;
    enum drop reason;
    s->arrived++;
    if (from->natt) {
        if ((reason = natt_refuses(t, esp, length, from))) {
            count_drop(w, reason, ipv6, 1);
            return;
        }
        s->middle++; /* the UDP header */
    }
    s->input++;
    if (!t->settings.esp_enable) {
        count_drop(w, DROP_IN_ESP_DISABLED, ipv6, 1);
        return;
    }
    if (length < 8) {
        /* What came in UDP passes by FreeBSD's check for a whole header; the next one, of the length, finds these. */
        count_drop(w, from->natt && length % 4 ? DROP_IN_LENGTH : DROP_IN_SHORT, ipv6, 1);
        return;
    }
    sa *a = find_inbound(t, get32(esp));
    if (!a || a->family != from->family || memcmp(a->dst, from->dst, (size_t)address_length(from->family))) {
        count_drop(w, DROP_IN_UNKNOWN_SPI, ipv6, 1);
        return;
    }
    lock_sa(a);
    reason = sa_decrypt(a, esp, length, s, &high);
    if (!reason) {
        reason = sa_unwrap(a, esp, length, s, &o);
        if (reason == DROP_IN_WINDOW_UNRESERVED)
            ask_at_limit(w, a, a->window_state.needed, a->traffic->granted_received, EVENT_EDGE);
    }
    if (!reason && a->window)
        ask_for_more(w, a, a->traffic->at->received_high, a->traffic->granted_received, EVENT_EDGE);
    if (reason) {
        unlock_sa(a);
        count_drop(w, reason, ipv6, 1);
        return;
    }
    int is_ip = o.next == NEXT_IPV4 || o.next == NEXT_IPV6;
    if (a->mode == MODE_TRANSPORT || !is_ip) {
        /* FreeBSD counts it for the SA with the outer header still on it, and only then looks what it is. */
        sa_used(a, o.length + (ipv6 ? 40 : 20));
        reason = !is_ip && a->mode == MODE_TUNNEL && !ipv6 ? DROP_IN_NEXT_HEADER : DROP_IN_TRANSPORT;
    } else if (o.length < (o.next == NEXT_IPV4 ? 20u : 40u)) {
        reason = DROP_IN_INNER_SHORT;
    } else {
        sa_used(a, o.length);
    }
    interface *i = a->mode == MODE_TUNNEL && a->target ? a->target->interface : NULL;
    unlock_sa(a);
    if (reason) {
        count_drop(w, reason, ipv6, 1);
        return;
    }
    s->front++;
    int right_version = o.inner[0] >> 4 == (o.next == NEXT_IPV4 ? 4 : 6);
    if (!i) {
        if (!t->settings.accept_unclaimed)
            count_drop(w, DROP_IN_NO_INTERFACE, ipv6, 1);
        else if (!right_version)
            count_drop(w, DROP_IN_INNER_VERSION, ipv6, 1);
        else if (e->hooks.inject(e->owner, o.inner, o.length, from->link))
            count_drop(w, DROP_IN_HOST_REFUSED, ipv6, 1);
        else
            s->injected++;
        return;
    }
    if (!i->running || !i->up) {
        count_drop(w, DROP_IN_INTERFACE_DOWN, ipv6, 1);
        return;
    }
    ADD(i->ipackets, 1);
    ADD(i->ibytes, o.length);
    if (i->monitor)
        count_drop(w, DROP_IN_MONITOR, ipv6, 1);
    else if (!right_version)
        count_drop(w, DROP_IN_INNER_VERSION, ipv6, 1);
    else
        deliver(w, i, o.inner, o.length, ipv6);
}

void end_of_arrivals(worker *w, int outer_ipv6)
{
    scrub_stack();
    flush_flows(w, outer_ipv6);
}
