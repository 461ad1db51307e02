#include "out.h"

#include <unistd.h>

#include "seal.h"
#include "send.h"

typedef struct piece {
    const u8 *head, *body, *whole; /* whole: the packet or super-packet that it is taken from */
    u32 head_length, body_length, whole_length;
    int version;
} piece;

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

/* --- the stages of a packet's way out, in FreeBSD's order of checks ------------------------------------------------
 */

/* decide: whether the packet has a way out. */
static enum drop decide(worker *w, interface *i, const piece *p)
{
    const tables *t = &w->core->tables;
    u32 length = p->head_length + p->body_length;
    if (i->way.refusal)
        return i->way.refusal;
    if (p->version == 4 ? length < 20 : p->version != 6 || length < 40)
        return DROP_OUT_MALFORMED;
    if (t->esp_guards && is_own(t, p->whole, p->whole_length))
        return DROP_OUT_LOOP;
    i->opackets++;
    i->obytes += length;
    if (!t->settings.esp_enable)
        return DROP_OUT_ESP_DISABLED;
    if (!i->way.sa) {
        i->acquire[p->version == 6]++;
        return DROP_OUT_NO_SA;
    }
    return PASSED;
}

/* number: whether the SA has a sequence number and an IV for it. The SA's traffic is locked. */
static enum drop number(worker *w, sa *a, u32 length)
{
    if (a->blocked)
        return (enum drop)a->blocked;
    if (!a->ready && sa_prepare(a))
        return DROP_OUT_NO_TRANSFORM;
    w->stats.output++;
    if ((a->family == 4 ? 20 : 40) + sa_sealed_length(a, length) > LONGEST)
        return DROP_OUT_TOO_BIG;
    w->stats.obytes += length;
    enum drop reason = sa_may_send(a);
    if (reason == DROP_OUT_SEQUENCE_UNRESERVED)
        ask_at_limit(w, a, 0, a->traffic->granted_sequence ^ a->traffic->granted_iv, EVENT_RESERVE);
    else if (reason == DROP_OUT_SEQUENCE_EXHAUSTED)
        tell(w, EVENT_EXHAUSTED, a, 0);
    return reason;
}

/* The next place in the batch, which is sent if there is none; with room for a UDP header before it. */
static outgoing *reserve_place(worker *w)
{
    if (w->batched == BATCH || w->tx_used + LONGEST > TX_ROOM)
        flush_out(w);
    outgoing *o = &w->batch[w->batched];
    o->data = w->tx + ((w->tx_used + UDP_HEADER + 63) & ~63u);
    return o;
}

/* seal: the packet as ESP, in its place. */
static enum drop seal(worker *w, interface *i, const piece *p, outgoing *o)
{
    sa *a = i->way.sa;
    o->sa = a;
    o->interface = i;
    o->version = (u8)p->version;
    o->inner = p->head_length + p->body_length;
    o->length = sa_sealed_length(a, o->inner);
    w->tx_used = (u32)(o->data - w->tx) + o->length;
    return sa_seal(a, &w->random, p->head, p->head_length, p->body, p->body_length,
                   p->version == 4 ? NEXT_IPV4 : NEXT_IPV6, o->data);
}

/* The beginning of a packet whose sender may have to be told of the path MTU, kept behind the sealed one. */
static void keep_quote(worker *w, const piece *p, outgoing *o)
{
    u32 kept = p->head_length < QUOTED ? p->head_length : QUOTED, more = QUOTED - kept;
    more = more < p->body_length ? more : p->body_length;
    o->quote = w->tx + w->tx_used;
    o->quote_length = kept + more;
    memcpy(o->quote, p->head, kept);
    memcpy(o->quote + kept, p->body, more);
    w->tx_used += o->quote_length;
}

/* wrap: what the outer header says, by the inner one and the settings. */
static void wrap(worker *w, interface *i, const piece *p, outgoing *o)
{
    const core_settings *settings = &w->core->tables.settings;
    const sa *a = o->sa;
    const u8 *ip = p->head;
    u8 tos = p->version == 4 ? ip[1] : (u8)(ip[0] << 4 | ip[1] >> 4);
    o->df = o->doubt = 0;
    o->quote = NULL;
    o->quote_length = 0;
    if (a->family != 4) {
        o->tos = settings->tos6[tos];
        return;
    }
    o->tos = settings->tos4[tos];
    if (settings->dfbit == 0 || settings->dfbit == 1)
        o->df = (u8)settings->dfbit;
    else
        o->df = p->version == 6 || (ip[6] & 0x40) != 0;
    o->doubt = __atomic_load_n(&i->doubt, __ATOMIC_RELAXED) != 0;
    if (o->df && (o->doubt || i->path_until))
        suit_path(&w->core->tables, i, o, 20 + (a->natt ? UDP_HEADER : 0) + o->length);
    if (o->df)
        keep_quote(w, p, o);
}

/* send: the packet is in the batch, and counted. */
static void put_into_batch(worker *w, sa *a, const outgoing *o)
{
    w->batched++;
    w->stats.encryption[a->enc]++;
    w->stats.authentication[a->auth]++;
    sa_used(a, o->length + (a->family == 4 ? 20 : 40));
    ask_for_more(w, a, a->traffic->at->sequence, a->traffic->granted_sequence, EVENT_RESERVE);
    if (a->counter_iv && a->traffic->granted_iv - a->traffic->at->iv == IVS_LEFT)
        tell(w, EVENT_RESERVE, a, 0);
}

static enum drop pass_out(worker *w, interface *i, const piece *p, int *locked)
{
    enum drop reason = decide(w, i, p);
    if (reason)
        return reason;
    sa *a = i->way.sa;
    if (!*locked) {
        lock_sa(a);
        *locked = 1;
    }
    if ((reason = number(w, a, p->head_length + p->body_length)))
        return reason;
    outgoing *o = reserve_place(w);
    if ((reason = seal(w, i, p, o)))
        return reason;
    wrap(w, i, p, o);
    put_into_batch(w, a, o);
    return PASSED;
}

/* One inner packet. `locked`: whether the traffic of the interface's SA is locked, which is kept up from packet to
 * packet. */
static void outbound_one(worker *w, interface *i, piece *p, int *locked)
{
    w->stats.taken++;
    p->version = p->head_length ? p->head[0] >> 4 : 0;
    enum drop reason = pass_out(w, i, p, locked);
    if (reason) {
        i->oerrors += w->core->oerrors[reason];
        count_drop(w, reason, p->version == 6, 1);
    }
}

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
        unlock_sa(i->way.sa);
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
