#include "receive.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "in.h"
#include "send.h"

static int receive(worker *w, int fd, int most, int with_control)
{
    for (int n = 0; n < most; n++) {
        w->pieces[n].iov_base = w->rx + (size_t)n * RX_STRIDE;
        w->pieces[n].iov_len = LONGEST + 1;
        struct msghdr *m = &w->messages[n].msg_hdr;
        memset(m, 0, sizeof *m);
        m->msg_iov = &w->pieces[n];
        m->msg_iovlen = 1;
        if (with_control) {
            m->msg_control = w->control[n];
            m->msg_controllen = CONTROL;
            m->msg_name = &w->names[n];
            m->msg_namelen = sizeof w->names[n];
        }
    }
    return recvmmsg(fd, w->messages, (unsigned)most, MSG_DONTWAIT, NULL);
}

static const u8 *find_control(const struct msghdr *m, int level, int type)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR((struct msghdr *)m, c))
        if (c->cmsg_level == level && c->cmsg_type == type)
            return CMSG_DATA(c);
    return NULL;
}

/* The link on which an IPv4 packet arrived, 0 if the kernel was not asked to tell. */
static u32 link_of(const struct msghdr *m)
{
    const u8 *told = find_control(m, IPPROTO_IP, IP_PKTINFO);
    struct in_pktinfo info = {0};
    if (told)
        memcpy(&info, told, sizeof info);
    return (u32)info.ipi_ifindex;
}

static u32 link_of6(const u8 *told)
{
    struct in6_pktinfo info = {0};
    if (told)
        memcpy(&info, told, sizeof info);
    return (u32)info.ipi6_ifindex;
}

int drain_raw4(worker *w, int fd)
{
    int told = __atomic_load_n(&w->core->tables.settings.accept_unclaimed, __ATOMIC_RELAXED),
        got = receive(w, fd, BATCH, told);
    pthread_rwlock_rdlock(&w->core->tables.lock);
    for (int n = 0; n < got; n++) {
        u8 *ip = w->rx + (size_t)n * RX_STRIDE;
        u32 length = w->messages[n].msg_len, header = length ? (u32)(ip[0] & 15) * 4 : 0;
        arrival from = {.family = 4, .dst = ip + 16, .link = told ? link_of(&w->messages[n].msg_hdr) : 0};
        if (length >= 20 && header >= 20 && header <= length) /* the kernel delivers nothing else */
            inbound_one(w, ip + header, length - header, &from);
    }
    end_of_arrivals(w, 0);
    pthread_rwlock_unlock(&w->core->tables.lock);
    return got;
}

int drain_raw6(worker *w, int fd)
{
    int got = receive(w, fd, BATCH, 1);
    pthread_rwlock_rdlock(&w->core->tables.lock);
    for (int n = 0; n < got; n++) {
        const u8 *info = find_control(&w->messages[n].msg_hdr, IPPROTO_IPV6, IPV6_PKTINFO);
        arrival from = {.family = 6, .dst = info, .link = link_of6(info)};
        if (info)
            inbound_one(w, w->rx + (size_t)n * RX_STRIDE, w->messages[n].msg_len, &from);
    }
    end_of_arrivals(w, 1);
    pthread_rwlock_unlock(&w->core->tables.lock);
    return got;
}

/* A raw socket shows a train that nobody has cut (between containers, from a virtual machine) as one datagram. The
 * packets of a train have one SPI, consecutive numbers and one length, except for the last, which may be shorter. */
static u32 train_step(const u8 *data, u32 length)
{
    for (u32 step = 16; step + 8 <= length; step += 4) {
        u32 at = step, number = get32(data + 4) + 1;
        while (at + 8 <= length && get32(data + at) == get32(data) && get32(data + at + 4) == number) {
            at += step;
            number++;
        }
        if (at >= length)
            return step;
    }
    return length;
}

int drain_udp(worker *w, int fd)
{
    int got = -1, shared = 0, family = 0;
    u16 port = 0;
    u8 address[16];
    pthread_rwlock_rdlock(&w->core->tables.lock);
    const endpoint *p = w->core->tables.endpoints;
    while (p && p->fd != fd)
        p = p->next;
    if (p) { /* copied, because waiting for numbers lets go of the tables */
        shared = p->shared;
        family = p->family;
        port = p->port;
        memcpy(address, p->address, sizeof address);
        got = receive(w, fd, shared ? BATCH : UDP_ARRIVALS, 1);
    }
    for (int n = 0; n < got; n++) {
        u8 *data = w->rx + (size_t)n * RX_STRIDE;
        u32 length = w->messages[n].msg_len, step = length;
        const u8 *segment = find_control(&w->messages[n].msg_hdr, SOL_UDP, UDP_GRO);
        const struct sockaddr_storage *name = &w->names[n];
        arrival from = {.family = family, .natt = 1, .dst = address, .dport = port};
        from.link = family == 4 ? link_of(&w->messages[n].msg_hdr)
                                : link_of6(find_control(&w->messages[n].msg_hdr, IPPROTO_IPV6, IPV6_PKTINFO));
        from.sport = ntohs(name->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)name)->sin6_port
                                                       : ((const struct sockaddr_in *)name)->sin_port);
        if (segment) {
            int size;
            memcpy(&size, segment, sizeof size);
            if (size > 0)
                step = (u32)size;
        }
        if (shared) { /* a raw socket: IPv4 shows its header, and the UDP header is there */
            u32 header = family == 4 && length ? (u32)(data[0] & 15) * 4 : 0;
            if (length < header + UDP_HEADER)
                continue;
            from.sport = get16(data + header);
            data += header + UDP_HEADER;
            length -= header + UDP_HEADER;
            step = train_step(data, length);
        }
        if (!length)
            inbound_one(w, data, 0, &from);
        for (u32 offset = 0; offset < length; offset += step)
            inbound_one(w, data + offset, length - offset < step ? length - offset : step, &from);
    }
    end_of_arrivals(w, family == 6);
    pthread_rwlock_unlock(&w->core->tables.lock);
    return got;
}
