#include "coalesce.h"

#include <errno.h>

static void count_delivered(worker *w, int packets, int error, int ipv6)
{
    if (!error)
        w->stats.delivered += (u64)packets;
    else
        count_drop(w, error == EAGAIN || error == ENOBUFS ? DROP_IN_TUN_FULL : DROP_IN_TUN_ERROR, ipv6, (u32)packets);
}

/* In memory: to the owner, as one. */
static int hand_in(worker *w, const interface *i, const struct iovec *pieces, int count)
{
    u32 length = 0;
    u8 *packet = w->super; /* a worker of this direction reads nothing from a device */
    for (int n = 1; n < count; n++) {
        memcpy(packet + length, pieces[n].iov_base, pieces[n].iov_len);
        length += (u32)pieces[n].iov_len;
    }
    return w->core->hooks.deliver(w->core->owner, i->index, pieces[0].iov_base, packet, length);
}

/* Gives pieces[0..count) to the device; pieces[0] is the virtio_net_hdr, left out for a device without. */
static int write_tun(worker *w, interface *i, const struct iovec *pieces, int count)
{
    if (w->core->in_memory)
        return hand_in(w, i, pieces, count);
    int skip = !i->vnet;
    while (writev(i->fd, pieces + skip, count - skip) < 0)
        if (errno != EINTR)
            return errno;
    return 0;
}

static void deliver_alone(worker *w, interface *i, u8 *packet, u32 length, int outer_ipv6)
{
    static const vnet_header nothing = {0};
    struct iovec pieces[2] = {{(void *)&nothing, VNET}, {packet, length}};
    count_delivered(w, 1, write_tun(w, i, pieces, 2), outer_ipv6);
}

/* Linux does not take what was joined: the parts go as they came, and if that helps, no others are joined for the
 * device. `head` is the header of the first one as it was. */
static void deliver_apart(worker *w, flow *f, const u8 *head, int type, int outer_ipv6)
{
    interface *i = f->interface;
    u64 delivered = w->stats.delivered;
    memcpy(f->packet, head, f->header);
    deliver_alone(w, i, f->packet, (u32)f->pieces[1].iov_len, outer_ipv6);
    for (int n = 2; n <= f->count; n++)
        deliver_alone(w, i, (u8 *)f->pieces[n].iov_base - f->header, f->header + (u32)f->pieces[n].iov_len, outer_ipv6);
    if (w->stats.delivered != delivered && !(__atomic_fetch_or(&i->refused, 1 << type, __ATOMIC_RELAXED) >> type & 1))
        w->core->hooks.event(w->core->owner, EVENT_REFUSED, (u64)i->index << 8 | (u64)type, 0, 0);
}

static int gso_type(int version, int is_tcp) { return !is_tcp ? GSO_UDP_L4 : version == 4 ? GSO_TCPV4 : GSO_TCPV6; }

static void close_flow(worker *w, flow *f, int outer_ipv6)
{
    vnet_header vnet = {0};
    u8 *ip = f->packet, *upper = ip + f->transport, head[LONGEST_HEADER];
    if (f->count > 1) {
        memcpy(head, ip, f->header);
        if (f->is_tcp)
            head[f->transport + 13] &=
                (u8)~TCP_PSH; /* which came from the last one: nothing is joined to a pushed one */
        if (f->version == 4) {
            put16(ip + 2, f->total);
            ip[10] = ip[11] = 0;
            put_checksum(ip + 10, sum_bytes(ip, f->transport, 0));
        } else {
            put16(ip + 4, f->total - 40);
        }
        u32 length = f->total - f->transport, at = f->is_tcp ? 16 : 6;
        u16 partial = fold(sum_pseudo(ip, f->is_tcp ? 6 : 17, length));
        memcpy(upper + at, &partial, 2);
        if (!f->is_tcp)
            put16(upper + 4, length);
        vnet.flags = VNET_NEEDS_CSUM;
        vnet.gso_type = (u8)gso_type(f->version, f->is_tcp);
        vnet.hdr_len = (u16)f->header;
        vnet.gso_size = (u16)f->size;
        vnet.csum_start = (u16)f->transport;
        vnet.csum_offset = (u16)at;
    }
    f->pieces[0].iov_base = &vnet;
    f->pieces[0].iov_len = VNET;
    int error = write_tun(w, f->interface, f->pieces, f->count + 1);
    if (error && error != EAGAIN && error != ENOBUFS && f->count > 1)
        deliver_apart(w, f, head, vnet.gso_type, outer_ipv6);
    else
        count_delivered(w, f->count, error, outer_ipv6);
    f->count = 0;
}

void flush_flows(worker *w, int outer_ipv6)
{
    for (u32 n = 0; n < w->open_flows; n++)
        if (w->flows[n].count)
            close_flow(w, &w->flows[n], outer_ipv6);
    w->open_flows = 0;
}

/* What a packet is to the joiner. */
typedef struct parsed {
    int version, ported, joinable, is_tcp; /* ported: TCP or UDP, not a later fragment */
    u32 transport, header;
    u16 id;
} parsed;

static void parse_inner(const u8 *ip, u32 length, int udp_too, parsed *p)
{
    memset(p, 0, sizeof *p);
    p->version = ip[0] >> 4;
    u8 protocol;
    if (p->version == 4) {
        p->transport = (u32)(ip[0] & 15) * 4;
        protocol = ip[9];
        if (p->transport < 20 || p->transport > length || (get16(ip + 6) & 0x3fff))
            return;
        p->id = get16(ip + 4);
    } else {
        p->transport = 40;
        protocol = ip[6];
    }
    if ((protocol != 6 && protocol != 17) || p->transport + 8 > length)
        return;
    p->ported = 1;
    p->is_tcp = protocol == 6;
    const u8 *upper = ip + p->transport;
    u32 rest = length - p->transport;
    if (p->version == 4 ? p->transport != 20 || get16(ip + 2) != length || fold(sum_bytes(ip, 20, 0)) != 0xffff
                        : get16(ip + 4) != length - 40u)
        return;
    if (p->is_tcp) {
        if (rest < 20)
            return;
        p->header = p->transport + (u32)(upper[12] >> 4) * 4;
        if (p->header < p->transport + 20 || p->header >= length || (upper[12] & 15) ||
            (upper[13] & ~(TCP_PSH)) != TCP_ACK || get16(upper + 18))
            return;
    } else {
        p->header = p->transport + 8;
        if (!udp_too || p->header >= length || get16(upper + 4) != rest || !get16(upper + 6))
            return;
    }
    p->joinable = fold(sum_bytes(upper, rest, sum_pseudo(ip, protocol, rest))) == 0xffff;
}

static int same_flow(const flow *f, const interface *i, const u8 *ip, const parsed *p)
{
    const u8 *other = f->packet;
    if (f->interface != i || f->version != p->version || f->is_tcp != p->is_tcp)
        return 0;
    int same_ends = p->version == 4 ? !memcmp(ip + 12, other + 12, 8) : !memcmp(ip + 8, other + 8, 32);
    return same_ends && !memcmp(ip + p->transport, other + f->transport, 4);
}

/* Whether the packet is the next segment of the flow. */
static int continues(const flow *f, const u8 *ip, u32 length, const parsed *p)
{
    const u8 *first = f->packet, *upper = ip + p->transport, *other = first + f->transport;
    u32 body = length - p->header;
    if (f->closed || f->count == FLOW_PACKETS || p->header != f->header || body > f->size || f->total + body > LONGEST)
        return 0;
    if (p->version == 4) {
        if (ip[1] != first[1] || ip[6] != first[6] || ip[7] != first[7] || ip[8] != first[8])
            return 0;
        /* Linux will count the id up. With DF it means nothing (RFC 6864), so there one that stands still will do. */
        int counts = p->id == (u16)(f->id + f->count), stands = p->id == f->id && (ip[6] & 0x40);
        if (f->count == 1 ? !counts && !stands : f->id_fixed ? !stands : !counts)
            return 0;
    } else if (memcmp(ip, first, 4) || ip[7] != first[7]) {
        return 0;
    }
    if (!p->is_tcp)
        return 1;
    return get32(upper + 4) == f->next && !memcmp(upper + 8, other + 8, 5) && !memcmp(upper + 14, other + 14, 2) &&
           !memcmp(upper + 20, other + 20, p->header - p->transport - 20);
}

void deliver(worker *w, interface *i, u8 *ip, u32 length, int outer_ipv6)
{
    parsed p;
    flow *f = NULL;
    if (!w->core->coalesce) {
        deliver_alone(w, i, ip, length, outer_ipv6);
        return;
    }
    parse_inner(ip, length, i->uso, &p);
    if (__atomic_load_n(&i->refused, __ATOMIC_RELAXED) >> gso_type(p.version, p.is_tcp) & 1)
        p.joinable = 0;
    if (!p.ported) {
        flush_flows(w, outer_ipv6);
        deliver_alone(w, i, ip, length, outer_ipv6);
        return;
    }
    for (u32 n = 0; n < w->open_flows && !f; n++)
        if (w->flows[n].count && same_flow(&w->flows[n], i, ip, &p))
            f = &w->flows[n];
    if (f && p.joinable && continues(f, ip, length, &p)) {
        u32 body = length - p.header;
        if (f->count == 1 && p.version == 4)
            f->id_fixed = p.id == f->id;
        f->count++;
        f->pieces[f->count].iov_base = ip + p.header;
        f->pieces[f->count].iov_len = body;
        f->total += body;
        f->next += body;
        if (p.is_tcp)
            f->packet[f->transport + 13] |= ip[p.transport + 13] & TCP_PSH;
        f->closed = body < f->size || (p.is_tcp && (ip[p.transport + 13] & TCP_PSH));
        return;
    }
    if (f)
        close_flow(w, f, outer_ipv6);
    if (!p.joinable) {
        deliver_alone(w, i, ip, length, outer_ipv6);
        return;
    }
    if (!f) {
        if (w->open_flows == FLOWS)
            flush_flows(w, outer_ipv6);
        f = &w->flows[w->open_flows++];
    }
    f->interface = i;
    f->packet = ip;
    f->header = p.header;
    f->transport = p.transport;
    f->total = length;
    f->size = length - p.header;
    f->version = p.version;
    f->is_tcp = p.is_tcp;
    f->id = p.id;
    f->id_fixed = 0;
    f->next = p.is_tcp ? get32(ip + p.transport + 4) + f->size : 0;
    f->closed = p.is_tcp && (ip[p.transport + 13] & TCP_PSH);
    f->count = 1;
    f->pieces[1].iov_base = ip;
    f->pieces[1].iov_len = length;
}
