#include "out.h"

#include <unistd.h>

#include "seal.h"
#include "send.h"

typedef struct piece {
    const u8 *head, *body, *whole; /* whole: the packet or super-packet that it is taken from */
    u32 head_length, body_length, whole_length;
    int version;
} piece;

/* FreeBSD's checks before anything is counted for the interface. */
static enum drop interface_refuses(const interface *i)
{
    if (!i->running)
        return i->has_tunnel ? DROP_OUT_NOT_RUNNING : DROP_OUT_NO_TUNNEL;
    if (!i->up)
        return DROP_OUT_INTERFACE_DOWN;
    if (i->monitor)
        return DROP_OUT_MONITOR;
    return i->has_tunnel ? PASSED : DROP_OUT_NO_TUNNEL;
}

/* Whether a packet with DF (`outer` bytes) leaves so on a narrow path. What its sender has to be told of, the kernel
 * refuses. */
static void suit_path(const tables *t, interface *i, outgoing *o, u32 outer)
{
    u32 believed = (u32)t->settings.min_pmtu;
    if (!o->doubt) {
        if (now_ms() >= i->path_until) {
            i->path_until = 0;
            return;
        }
        believed = i->path_mtu;
    }
    if (outer <= believed)
        return;
    if (o->inner > (o->version == 4 ? SMALLEST_IPV4 : SMALLEST_IPV6))
        o->doubt = 0;
    else
        o->df = 0;
}

/* Seals one packet into the batch. The interface has an SA, whose traffic is locked. */
static enum drop seal_into_batch(worker *w, interface *i, const piece *p)
{
    sa *a = i->outbound;
    u32 inner = p->head_length + p->body_length, length = sa_sealed_length(a, inner);
    const u8 *ip = p->head;
    outgoing *o = &w->batch[w->batched];
    u32 start = (w->tx_used + UDP_HEADER + 63) & ~63u;
    o->data = w->tx + start;
    o->length = length;
    o->sa = a;
    o->interface = i;
    o->version = p->version;
    o->inner = inner;
    o->quote = NULL;
    w->tx_used = start + length;
    u8 tos = p->version == 4 ? ip[1] : (u8)(ip[0] << 4 | ip[1] >> 4);
    o->df = o->doubt = 0;
    if (a->family == 4) {
        int dfbit = w->core->tables.settings.dfbit;
        o->tos = w->core->tables.settings.tos4[tos];
        o->df = dfbit == 0 || dfbit == 1 ? (u8)dfbit : (u8)(p->version == 6 || (ip[6] & 0x40) != 0);
        o->doubt = __atomic_load_n(&i->doubt, __ATOMIC_RELAXED) != 0;
        if (o->df && (o->doubt || i->path_until))
            suit_path(&w->core->tables, i, o, 20 + (a->natt ? UDP_HEADER : 0) + length);
        if (o->df) {
            u32 kept = p->head_length < QUOTED ? p->head_length : QUOTED, more = QUOTED - kept;
            more = more < p->body_length ? more : p->body_length;
            o->quote = w->tx + w->tx_used;
            o->quote_length = kept + more;
            memcpy(o->quote, p->head, kept);
            memcpy(o->quote + kept, p->body, more);
            w->tx_used += o->quote_length;
        }
    } else {
        o->tos = w->core->tables.settings.tos6[tos];
    }
    enum drop failed = sa_seal(a, &w->random, p->head, p->head_length, p->body, p->body_length,
                               p->version == 4 ? NEXT_IPV4 : NEXT_IPV6, o->data);
    if (failed)
        return failed;
    w->batched++;
    w->stats.encryption[a->enc]++;
    w->stats.authentication[a->auth]++;
    sa_used(a, length + (a->family == 4 ? 20 : 40));
    ask_for_more(w, a, a->traffic->at->sequence, a->traffic->granted_sequence, EVENT_RESERVE);
    if (a->counter_iv && a->traffic->granted_iv - a->traffic->at->iv == IVS_LEFT)
        tell(w, EVENT_RESERVE, a, 0);
    return PASSED;
}

/* One inner packet, in FreeBSD's order of checks. `locked`: whether the traffic of the interface's SA is locked, which
 * is kept up from packet to packet. */
static void outbound_one(worker *w, interface *i, piece *p, int *locked)
{
    core *e = w->core;
    tables *t = &e->tables;
    u32 length = p->head_length + p->body_length;
    int version = p->head_length ? p->head[0] >> 4 : 0;
    enum drop reason = interface_refuses(i);
    w->stats.taken++;
    p->version = version;
    if (!reason && (version == 4 ? length < 20 : version != 6 || length < 40))
        reason = DROP_OUT_MALFORMED;
    if (!reason && t->esp_guards && is_own(t, p->whole, p->whole_length))
        reason = DROP_OUT_LOOP;
    if (reason) {
        i->oerrors += e->oerrors[reason];
        count_drop(w, reason, version == 6, 1);
        return;
    }
    i->opackets++;
    i->obytes += length;
    sa *a = i->outbound;
    if (t->settings.esp_enable && !a) {
        i->acquire[version == 6]++;
        count_drop(w, DROP_OUT_NO_SA, version == 6, 1);
        return;
    }
    if (!t->settings.esp_enable) {
        reason = DROP_OUT_ESP_DISABLED;
    } else {
        if (!*locked) {
            lock_sa(a);
            *locked = 1;
        }
        if (a->blocked) {
            reason = (enum drop)a->blocked;
        } else if (!a->ready && sa_prepare(a)) {
            reason = DROP_OUT_NO_TRANSFORM;
        } else {
            w->stats.output++;
            if ((a->family == 4 ? 20 : 40) + sa_sealed_length(a, length) > LONGEST) {
                reason = DROP_OUT_TOO_BIG;
            } else {
                w->stats.obytes += length;
                reason = sa_may_send(a);
            }
        }
        if (reason == DROP_OUT_SEQUENCE_UNRESERVED)
            ask_at_limit(w, a, 0, a->traffic->granted_sequence ^ a->traffic->granted_iv, EVENT_RESERVE);
        if (!reason) {
            if (w->batched == BATCH || w->tx_used + LONGEST > TX_ROOM)
                flush_out(w);
            reason = seal_into_batch(w, i, p);
        }
        if (reason == DROP_OUT_SEQUENCE_EXHAUSTED)
            tell(w, EVENT_EXHAUSTED, a, 0);
    }
    if (reason) {
        i->oerrors += e->oerrors[reason];
        count_drop(w, reason, version == 6, 1);
    }
}

/* A packet or super-packet from the interface's device. */
void outbound_packet(worker *w, interface *i, u8 *packet, u32 length, const vnet_header *vnet)
{
    int locked = 0, super = vnet->gso_type != GSO_NONE;
    cutter c;
    piece p = {.head = packet, .body = packet + length, .whole = packet, .head_length = length, .whole_length = length};
    if (super ? cutter_start(&c, packet, length, vnet)
              : (vnet->flags & VNET_NEEDS_CSUM) && finish_checksum(packet, length, vnet)) {
        w->stats.taken++;
        i->oerrors += w->core->oerrors[DROP_OUT_MALFORMED];
        count_drop(w, DROP_OUT_MALFORMED, length && packet[0] >> 4 == 6, 1);
        return;
    }
    if (!super) {
        outbound_one(w, i, &p, &locked);
    } else {
        p.head = c.head;
        p.head_length = c.header;
        while (next_segment(&c, &p.body, &p.body_length))
            outbound_one(w, i, &p, &locked);
    }
    if (locked)
        unlock_sa(i->outbound);
}

/* Sends what is sealed, and asks for an SA if packets missed one. */
void end_of_turn(worker *w, interface *i)
{
    scrub_stack();
    flush_out(w);
    for (int ipv6 = 0; i && ipv6 < 2; ipv6++) {
        if (i->acquire[ipv6])
            w->core->hooks.event(w->core->owner, EVENT_ACQUIRE, (u64)i->index << 8 | (ipv6 ? 6 : 4), 0,
                                 i->acquire[ipv6]);
        i->acquire[ipv6] = 0;
    }
}

/* Takes what waits in a TUN device, a bounded part of it, and sends it. Gives 1 if there was anything. */
int drain_tun(worker *w, int index)
{
    u32 packets = 0, bytes = 0;
    tables *t = &w->core->tables;
    pthread_rwlock_rdlock(&t->lock);
    interface *i = find_interface(t, index);
    while (i && packets < BATCH && bytes < TX_ROOM) {
        vnet_header vnet = {0};
        ssize_t got = read(i->fd, w->super + (i->vnet ? 0 : VNET), sizeof w->super - VNET);
        u32 skip = i->vnet ? VNET : 0;
        if (got <= (ssize_t)skip)
            break;
        if (i->vnet)
            memcpy(&vnet, w->super, VNET);
        u32 length = (u32)got - skip;
        outbound_packet(w, i, w->super + VNET, length, &vnet);
        packets++;
        bytes += length;
    }
    end_of_turn(w, i);
    pthread_rwlock_unlock(&t->lock);
    return packets > 0;
}
