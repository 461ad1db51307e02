/* The way out: inner packet -> interface -> SA -> sealed packet in the batch -> socket. */
#ifndef IPSECTOOLS_OUT_H
#define IPSECTOOLS_OUT_H

#include "engine.h"

#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
enum { UDP_TRAIN = 64, UDP_TRAIN_BYTES = 65000, UDP_HEADER = 8 };

/* --- sending ----------------------------------------------------------------------------------------------------- */

static enum drop drop_of_errno(int error)
{
    switch (error) {
    case EAGAIN: case ENOBUFS: case ENOMEM: return DROP_OUT_WIRE_FULL;
    case ENETUNREACH: case EHOSTUNREACH: case ENETDOWN: return DROP_OUT_NO_ROUTE;
    case EINVAL: case EADDRNOTAVAIL: case EAFNOSUPPORT: return DROP_OUT_ADDRESS;
    default: return DROP_OUT_WIRE_ERROR;
    }
}

static void refused(worker *w, const outgoing *o, int error)
{
    enum drop reason = drop_of_errno(error);
    if (error == EMSGSIZE) {
        engine *e = w->engine;
        int told = o->quote && e->hooks.too_big(e, o->interface, o->sa, o->quote, o->quote_length);
        reason = told ? DROP_OUT_MTU : DROP_OUT_FRAGMENTATION;
    }
    o->interface->oerrors += w->engine->oerrors[reason];
    count_drop(w, reason, o->version == 6, 1);
}

static void *add_control(struct msghdr *m, u8 *buffer, int level, int type, const void *data, size_t length)
{
    struct cmsghdr *c = (struct cmsghdr *)(buffer + m->msg_controllen);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(c), data, length);
    m->msg_control = buffer;
    m->msg_controllen += CMSG_SPACE(length);
    return c;
}

/* What the kernel has to know of one message beside its bytes: source, TOS, routing table. */
static void describe(worker *w, int slot, const outgoing *o, int raw)
{
    struct msghdr *m = &w->messages[slot].msg_hdr;
    u8 *buffer = w->control[slot];
    sa *a = o->sa;
    memset(m, 0, sizeof *m);
    m->msg_name = &a->peer;
    m->msg_namelen = a->peer_length;
    m->msg_iov = &w->pieces[slot];
    m->msg_iovlen = 1;
    if (a->family == 4) {
        if (raw) {
            struct in_pktinfo info = {0};
            memcpy(&info.ipi_spec_dst, a->src, 4);
            add_control(m, buffer, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
        }
        if (o->tos) {
            int tos = o->tos;
            add_control(m, buffer, IPPROTO_IP, IP_TOS, &tos, sizeof tos);
        }
    } else {
        if (raw) {
            struct in6_pktinfo info = {0};
            memcpy(&info.ipi6_addr, a->src, 16);
            add_control(m, buffer, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
        }
        if (o->tos) {
            int tos = o->tos;
            add_control(m, buffer, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof tos);
        }
    }
    if (o->interface->fib)
        add_control(m, buffer, SOL_SOCKET, SO_MARK, &o->interface->fib, sizeof o->interface->fib);
}

/* Sends messages [0, count), of which number i carries packets first[i]..first[i+1]-1 of the batch. */
static void send_messages(worker *w, int fd, int count, const u8 *first)
{
    int done = 0, patience = 4;
    while (done < count) {
        int sent = sendmmsg(fd, w->messages + done, (unsigned)(count - done), MSG_DONTWAIT);
        if (sent > 0) {
            w->stats.sent += (u64)(first[done + sent] - first[done]);
            done += sent;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN && patience-- > 0) {
            struct pollfd p = {fd, POLLOUT, 0};
            poll(&p, 1, 2);
            continue;
        }
        int error = errno;
        for (int i = first[done]; i < first[done + 1]; i++)
            refused(w, &w->batch[i], error);
        done++;
    }
}

/* Packets [from, to) of the batch, all raw ESP over one socket. */
static void send_raw(worker *w, int fd, u32 from, u32 to)
{
    u8 first[BATCH + 1];
    int count = 0;
    for (u32 i = from; i < to; i++, count++) {
        w->pieces[count].iov_base = w->batch[i].data;
        w->pieces[count].iov_len = w->batch[i].length;
        describe(w, count, &w->batch[i], 1);
        first[count] = (u8)i;
    }
    first[count] = (u8)to;
    send_messages(w, fd, count, first);
}

/* One UDP packet at a time; over a raw socket with a header made here if the port is somebody else's. */
static void send_datagrams(worker *w, endpoint *p, u32 from, u32 to)
{
    u8 first[BATCH + 1];
    int count = 0;
    for (u32 i = from; i < to; i++, count++) {
        outgoing *o = &w->batch[i];
        w->pieces[count].iov_base = o->data;
        w->pieces[count].iov_len = o->length;
        describe(w, count, o, 0);
        if (p->shared) {
            struct sockaddr_storage *name = &w->names[count];
            *name = o->sa->peer;
            if (name->ss_family == AF_INET6)
                ((struct sockaddr_in6 *)name)->sin6_port = 0; /* a raw socket takes it for a protocol */
            w->messages[count].msg_hdr.msg_name = name;
            u8 *header = o->data - UDP_HEADER; /* room kept by `seal_into_batch` */
            put16(header, o->sa->sport);
            put16(header + 2, o->sa->dport);
            put16(header + 4, o->length + UDP_HEADER);
            put16(header + 6, 0);
            w->pieces[count].iov_base = header;
            w->pieces[count].iov_len += UDP_HEADER;
        }
        first[count] = (u8)i;
    }
    first[count] = (u8)to;
    send_messages(w, p->fd, count, first);
}

static void set_option(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

/* Trains of packets of one length (the last may be shorter), each one message that the kernel or the NIC cuts. */
static void send_trains(worker *w, endpoint *p, u32 from, u32 to)
{
    u8 first[BATCH + 1];
    int count = 0, piece = 0;
    for (u32 i = from; i < to;) {
        u32 size = w->batch[i].length, bytes = 0, start = i;
        describe(w, count, &w->batch[i], 0);
        struct msghdr *m = &w->messages[count].msg_hdr;
        m->msg_iov = &w->pieces[piece];
        while (i < to && i - start < UDP_TRAIN && bytes + w->batch[i].length <= UDP_TRAIN_BYTES && w->batch[i].length <= size) {
            u32 length = w->batch[i].length;
            w->pieces[piece].iov_base = w->batch[i].data;
            w->pieces[piece++].iov_len = length;
            bytes += length;
            i++;
            if (length < size)
                break;
        }
        m->msg_iovlen = i - start;
        if (i - start > 1) {
            u16 segment = (u16)size;
            add_control(m, w->control[count], SOL_UDP, UDP_SEGMENT, &segment, sizeof segment);
        }
        first[count++] = (u8)start;
    }
    first[count] = (u8)to;
    int done = 0, patience = 4;
    while (done < count) {
        int sent = sendmmsg(p->fd, w->messages + done, (unsigned)(count - done), MSG_DONTWAIT);
        if (sent > 0) {
            w->stats.sent += (u64)(first[done + sent] - first[done]);
            done += sent;
        } else if (errno == EAGAIN && patience-- > 0) {
            struct pollfd wait = {p->fd, POLLOUT, 0};
            poll(&wait, 1, 2);
        } else if (errno != EINTR) {
            /* Packets longer than the link's MTU are refused as a train, and so are all by a device without the means. */
            u32 next = first[done], end = first[count];
            if (p->family == 4 && !p->unchecked)
                set_option(p->fd, SOL_SOCKET, SO_NO_CHECK, p->unchecked = 1);
            send_datagrams(w, p, next, end);
            return;
        }
    }
}

static void send_encap(worker *w, u32 from, u32 to)
{
    outgoing *o = &w->batch[from];
    endpoint *p = o->interface->encap;
    if (!p) {
        for (u32 i = from; i < to; i++)
            refused(w, &w->batch[i], EADDRNOTAVAIL);
        return;
    }
    int train = 0;
    for (u32 i = from + 1; i < to && !p->shared; i++)
        train |= w->batch[i].length <= w->batch[i - 1].length;
    pthread_mutex_lock(&p->lock);
    if (p->family == 4) {
        /* A UDP checksum of zero, as RFC 3948 wants it; but the kernel cuts trains only if it may compute one. */
        if (p->df != o->df)
            set_option(p->fd, IPPROTO_IP, IP_MTU_DISCOVER, (p->df = o->df) ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT);
        if (!p->shared && p->unchecked == train)
            set_option(p->fd, SOL_SOCKET, SO_NO_CHECK, p->unchecked = !train);
    }
    if (train)
        send_trains(w, p, from, to);
    else
        send_datagrams(w, p, from, to);
    pthread_mutex_unlock(&p->lock);
}

/* Whether two packets may leave by the same system call. */
static inline int same_way(const outgoing *a, const outgoing *b)
{
    if (a->sa->family != b->sa->family || a->sa->natt != b->sa->natt || a->df != b->df)
        return 0;
    return !a->sa->natt || (a->sa == b->sa && a->tos == b->tos && a->interface == b->interface);
}

static void flush_out(worker *w)
{
    u32 count = w->batched;
    if (w->engine->in_memory && count) {
        w->engine->hooks.send(w);
    } else {
        for (u32 from = 0, to; from < count; from = to) {
            outgoing *o = &w->batch[from];
            for (to = from + 1; to < count && same_way(o, &w->batch[to]);)
                to++;
            if (o->sa->natt)
                send_encap(w, from, to);
            else
                send_raw(w, o->sa->family == 6 ? w->raw6 : o->df ? w->raw4_df : w->raw4, from, to);
        }
    }
    w->batched = w->tx_used = 0;
}

/* --- sealing ----------------------------------------------------------------------------------------------------- */

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
    o->quote = NULL;
    w->tx_used = start + length;
    u8 tos = p->version == 4 ? ip[1] : (u8)(ip[0] << 4 | ip[1] >> 4);
    o->df = 0;
    if (a->family == 4) {
        int dfbit = w->engine->tables.dfbit;
        o->tos = w->engine->tos4[tos];
        o->df = dfbit == 0 || dfbit == 1 ? (u8)dfbit : (u8)(p->version == 6 || (ip[6] & 0x40) != 0);
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
        o->tos = w->engine->tos6[tos];
    }
    enum drop failed = sa_seal(a, &w->random, p->head, p->head_length, p->body, p->body_length,
                               p->version == 4 ? NEXT_IPV4 : NEXT_IPV6, o->data);
    if (failed)
        return failed;
    w->batched++;
    w->stats.encryption[a->enc]++;
    w->stats.authentication[a->auth]++;
    sa_used(a, length + (a->family == 4 ? 20 : 40));
    ask_for_more(w, a, a->traffic->sequence, a->traffic->granted_sequence, EVENT_RESERVE);
    return PASSED;
}

static inline void lock_sa(sa *a) { pthread_mutex_lock(&a->traffic->lock); }
static inline void unlock_sa(sa *a) { pthread_mutex_unlock(&a->traffic->lock); }

/* The SA has no number left that may be used: asks, and waits within bounds. Gives the interface as it is then (NULL: gone),
 * its SA locked. */
static interface *wait_to_send(worker *w, interface *i, enum drop *reason)
{
    int index = i->index;
    u64 generation = i->outbound->generation, deadline = 0;
    u32 spi = i->outbound->spi;
    unlock_sa(i->outbound);
    flush_out(w);
    w->engine->hooks.event(w->engine, EVENT_RESERVE, spi, 0);
    while (*reason == DROP_OUT_SEQUENCE_UNRESERVED && wait_for_numbers(w, &deadline)) {
        i = find_interface(&w->engine->tables, index);
        if (!i || !i->outbound || i->outbound->generation != generation) {
            *reason = DROP_OUT_SA_DEAD;
            return i;
        }
        lock_sa(i->outbound);
        *reason = sa_may_send(i->outbound);
        if (*reason == DROP_OUT_SEQUENCE_UNRESERVED)
            unlock_sa(i->outbound);
    }
    if (*reason == DROP_OUT_SEQUENCE_UNRESERVED)
        lock_sa(i->outbound);
    return i;
}

/* One inner packet, in FreeBSD's order of checks. `locked`: whether the traffic of the interface's SA is locked, which is
 * kept up from packet to packet. Gives the interface, which may be another object after a wait; NULL if it is gone. */
static interface *outbound_one(worker *w, interface *i, piece *p, int *locked)
{
    engine *e = w->engine;
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
        return i;
    }
    i->opackets++;
    i->obytes += length;
    sa *a = i->outbound;
    if (!a) {
        i->acquire[version == 6]++;
        count_drop(w, DROP_OUT_NO_SA, version == 6, 1);
        return i;
    }
    if (!t->esp_enable) {
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
            w->stats.obytes += length;
            if ((a->family == 4 ? 20 : 40) + sa_sealed_length(a, length) > LONGEST)
                reason = DROP_OUT_TOO_BIG;
            else
                reason = sa_may_send(a);
        }
        if (reason == DROP_OUT_SEQUENCE_UNRESERVED) {
            i = wait_to_send(w, i, &reason);
            *locked = i && i->outbound && reason != DROP_OUT_SA_DEAD;
            a = *locked ? i->outbound : NULL;
        }
        if (!reason) {
            if (w->batched == BATCH || w->tx_used + LONGEST > TX_ROOM)
                flush_out(w);
            reason = seal_into_batch(w, i, p);
        }
        if (reason == DROP_OUT_SEQUENCE_EXHAUSTED && a)
            e->hooks.event(e, EVENT_EXHAUSTED, a->spi, 0);
    }
    if (reason) {
        if (i)
            i->oerrors += e->oerrors[reason];
        count_drop(w, reason, version == 6, 1);
    }
    return i;
}

/* A packet or super-packet from the interface's device. Gives the interface as it is then, NULL if it is gone. */
static interface *outbound_packet(worker *w, interface *i, u8 *packet, u32 length, const vnet_header *vnet)
{
    int locked = 0, super = vnet->gso_type != GSO_NONE;
    cutter c;
    piece p = {.head = packet, .body = packet + length, .whole = packet, .head_length = length, .whole_length = length};
    if (super ? cutter_start(&c, packet, length, vnet)
              : (vnet->flags & VNET_NEEDS_CSUM) && finish_checksum(packet, length, vnet)) {
        w->stats.taken++;
        i->oerrors += w->engine->oerrors[DROP_OUT_MALFORMED];
        count_drop(w, DROP_OUT_MALFORMED, length && packet[0] >> 4 == 6, 1);
        return i;
    }
    if (!super) {
        i = outbound_one(w, i, &p, &locked);
    } else {
        p.head = c.head;
        p.head_length = c.header;
        while (next_segment(&c, &p.body, &p.body_length)) {
            if (i) {
                i = outbound_one(w, i, &p, &locked);
            } else {
                w->stats.taken++;
                count_drop(w, DROP_OUT_NO_INTERFACE, c.version == 6, 1);
            }
        }
    }
    if (locked)
        unlock_sa(i->outbound);
    return i;
}

/* Sends what is sealed, and asks for an SA if packets missed one. */
static void end_of_turn(worker *w, interface *i)
{
    flush_out(w);
    for (int ipv6 = 0; i && ipv6 < 2; ipv6++) {
        if (i->acquire[ipv6])
            w->engine->hooks.event(w->engine, EVENT_ACQUIRE, (u64)i->index << 8 | (ipv6 ? 6 : 4), i->acquire[ipv6]);
        i->acquire[ipv6] = 0;
    }
}

/* Takes what waits in a TUN device, a bounded part of it, and sends it. Gives 1 if there was anything. */
static int drain_tun(worker *w, int index)
{
    u32 packets = 0, bytes = 0;
    tables *t = &w->engine->tables;
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
        i = outbound_packet(w, i, w->super + VNET, length, &vnet);
        packets++;
        bytes += length;
    }
    end_of_turn(w, i);
    pthread_rwlock_unlock(&t->lock);
    return packets > 0;
}

#endif
