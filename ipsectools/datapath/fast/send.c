#include "send.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>

enum { UDP_TRAIN = 64, UDP_TRAIN_BYTES = 65000 };

static enum drop drop_of_errno(int error)
{
    switch (error) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM: return DROP_OUT_WIRE_FULL;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN: return DROP_OUT_NO_ROUTE;
    case EINVAL:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT: return DROP_OUT_ADDRESS;
    case EMSGSIZE: return DROP_OUT_FRAGMENTATION;
    default: return DROP_OUT_WIRE_ERROR;
    }
}

static void set_option(int fd, int level, int option, int value)
{
    setsockopt(fd, level, option, &value, sizeof value);
}

static int discovery_of(const outgoing *o)
{
    return o->doubt ? (o->df ? IP_PMTUDISC_PROBE : IP_PMTUDISC_OMIT) : o->df ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;
}

static void set_discovery(int fd, int *present, int wanted)
{
    if (*present != wanted)
        set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, *present = wanted);
}

/* The raw socket by which a packet leaves. */
static int raw_socket(worker *w, const outgoing *o)
{
    if (o->sa->family == 6)
        return w->raw6;
    if (!o->doubt)
        return o->df ? w->raw4_df : w->raw4;
    set_discovery(w->raw4_doubt, &w->discovery, discovery_of(o));
    return w->raw4_doubt;
}

/* What the owner is shown of a packet. */
static core_sealed seen_from_outside(const worker *w, const outgoing *o)
{
    const sa *a = o->sa;
    const core_settings *settings = &w->core->tables.settings;
    return (core_sealed){
        .src = a->src,
        .dst = a->dst,
        .data = o->data,
        .length = o->length,
        .mark = o->interface->way.mark,
        .family = a->family,
        .natt = a->natt,
        .sport = a->sport,
        .dport = a->dport,
        .tos = o->tos,
        .ttl = (u8)(a->family == 4 ? settings->ttl : settings->hlim),
        .df = o->df,
        .doubt = o->doubt,
        .version = o->version,
        .inner = o->inner,
        .quote = o->quote,
        .quote_length = o->quote_length,
        .index = o->interface->index,
        .owner = a->owner,
    };
}

/* In memory: one packet to the owner. 0, or an error. */
static int hand_out(worker *w, const outgoing *o)
{
    int error = EIO;
    core_sealed packet = seen_from_outside(w, o);
    w->core->hooks.send(w->core->owner, &packet, 1, &error);
    return error;
}

/* Sends a message of one packet once more, as the packet's fields are now. 0, or an error. */
static int send_again(worker *w, endpoint *p, const outgoing *o, const struct msghdr *m)
{
    if (w->core->in_memory)
        return hand_out(w, o);
    int before = p ? p->discovery : 0, fd = p ? p->fd : raw_socket(w, o);
    if (p)
        set_discovery(fd, &p->discovery, discovery_of(o));
    int error = sendmsg(fd, m, MSG_DONTWAIT) < 0 ? errno : 0;
    if (p)
        set_discovery(fd, &p->discovery, before); /* for the rest of the batch */
    return error;
}

/* What becomes of a packet that is too big, and what is known of its path from now on. */
static enum core_verdict ask_verdict(worker *w, outgoing *o)
{
    interface *i = o->interface;
    core_path path = {0};
    core_sealed packet = seen_from_outside(w, o);
    if (!o->df)
        return VERDICT_DROP;
    enum core_verdict verdict =
        (enum core_verdict)w->core->hooks.too_big(w->core->owner, &packet, w->core->tables.settings.min_pmtu, &path);
    i->doubt = path.narrow;
    i->path_mtu = path.mtu;
    i->path_until = now_ms() + path.remember;
    if (verdict == VERDICT_LEAVES) {
        o->df = path.df;
        o->doubt = path.doubt;
    }
    return verdict;
}

/* A packet was refused, by a message of its own. What is too big only by what the kernel believes of the path may leave
 * yet: without regard to that, then (if it is too big for the device) as the path is. */
static void refused(worker *w, endpoint *p, outgoing *o, const struct msghdr *m, int error)
{
    enum drop reason = drop_of_errno(error);
    for (int tries = 0; error == EMSGSIZE && o->quote && tries < 2; tries++) {
        enum core_verdict verdict = ask_verdict(w, o);
        if (verdict != VERDICT_LEAVES) {
            reason = verdict == VERDICT_TOLD ? DROP_OUT_MTU : DROP_OUT_FRAGMENTATION;
            break;
        }
        if (!(error = send_again(w, p, o, m))) {
            w->stats.sent++;
            return;
        }
        reason = drop_of_errno(error);
    }
    o->interface->oerrors += w->core->oerrors[reason];
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

/* What the kernel has to know of one message beside its bytes: source, TOS, mark. */
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
    if (o->interface->way.mark != w->core->tables.settings.mark) /* the socket has that one */
        add_control(m, buffer, SOL_SOCKET, SO_MARK, &o->interface->way.mark, sizeof o->interface->way.mark);
}

/* Sends messages [0, count), each of one packet of the batch, from number `first` on. `p`: over this UDP socket. */
static void send_messages(worker *w, int fd, endpoint *p, int count, u32 first)
{
    int done = 0, patience = 4;
    while (done < count) {
        int sent = sendmmsg(fd, w->messages + done, (unsigned)(count - done), MSG_DONTWAIT);
        if (sent > 0) {
            w->stats.sent += (u64)sent;
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
        refused(w, p, &w->batch[first + (u32)done], &w->messages[done].msg_hdr, errno);
        done++;
    }
}

/* Packets [from, to) of the batch, all raw ESP over one socket. */
static void send_raw(worker *w, int fd, u32 from, u32 to)
{
    int count = 0;
    for (u32 i = from; i < to; i++, count++) {
        w->pieces[count].iov_base = w->batch[i].data;
        w->pieces[count].iov_len = w->batch[i].length;
        describe(w, count, &w->batch[i], 1);
    }
    send_messages(w, fd, NULL, count, from);
}

/* One UDP packet at a time; over a raw socket with a header made here if the port is somebody else's. */
static void send_datagrams(worker *w, endpoint *p, u32 from, u32 to)
{
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
            u8 *header = o->data - UDP_HEADER; /* room kept by `reserve_place` */
            put16(header, o->sa->sport);
            put16(header + 2, o->sa->dport);
            put16(header + 4, o->length + UDP_HEADER);
            put16(header + 6, 0);
            w->pieces[count].iov_base = header;
            w->pieces[count].iov_len += UDP_HEADER;
        }
    }
    send_messages(w, p->fd, p, count, from);
}

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
        /* One packet at least, however long: it may be refused, but not left over. */
        while (i < to && i - start < UDP_TRAIN && w->batch[i].length <= size &&
               (i == start || bytes + w->batch[i].length <= UDP_TRAIN_BYTES)) {
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
            /* Packets longer than the link's MTU are refused as a train, and so are all by a device without the means.
             */
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
    endpoint *p = o->interface->way.encap;
    if (!p) {
        for (u32 i = from; i < to; i++)
            refused(w, NULL, &w->batch[i], NULL, EADDRNOTAVAIL);
        return;
    }
    int train = 0;
    for (u32 i = from + 1; i < to && !p->shared; i++)
        train |= w->batch[i].length <= w->batch[i - 1].length;
    pthread_mutex_lock(&p->lock);
    if (p->family == 4) {
        /* A UDP checksum of zero, as RFC 3948 wants it; but the kernel cuts trains only if it may compute one. */
        set_discovery(p->fd, &p->discovery, discovery_of(o));
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
    if (a->sa->family != b->sa->family || a->sa->natt != b->sa->natt || a->df != b->df || a->doubt != b->doubt)
        return 0;
    return !a->sa->natt || (a->sa == b->sa && a->tos == b->tos && a->interface == b->interface);
}

static void hand_out_batch(worker *w)
{
    core_sealed packets[BATCH];
    int errors[BATCH];
    for (u32 n = 0; n < w->batched; n++) {
        packets[n] = seen_from_outside(w, &w->batch[n]);
        errors[n] = EIO;
    }
    w->core->hooks.send(w->core->owner, packets, w->batched, errors);
    for (u32 n = 0; n < w->batched; n++) {
        if (errors[n])
            refused(w, NULL, &w->batch[n], NULL, errors[n]);
        else
            w->stats.sent++;
    }
}

void flush_out(worker *w)
{
    u32 count = w->batched;
    if (w->core->in_memory && count) {
        hand_out_batch(w);
    } else {
        for (u32 from = 0, to; from < count; from = to) {
            outgoing *o = &w->batch[from];
            for (to = from + 1; to < count && same_way(o, &w->batch[to]);)
                to++;
            if (o->sa->natt)
                send_encap(w, from, to);
            else
                send_raw(w, raw_socket(w, o), from, to);
        }
    }
    w->batched = w->tx_used = 0;
}
