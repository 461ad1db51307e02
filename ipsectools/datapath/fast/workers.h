/* The workers' loops: one thread for the way out, one for the way in, or several of each. They run without Python. */
#ifndef IPSECTOOLS_WORKERS_H
#define IPSECTOOLS_WORKERS_H

#include "in.h"

/* What a watched descriptor is; the low half of epoll's data is the descriptor, or the index of an interface. */
enum watched { WATCH_STOP = 1, WATCH_TUN, WATCH_RAW4, WATCH_RAW6, WATCH_UDP };

static int watch(worker *w, int fd, enum watched kind, u32 ident)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = (u64)kind << 32 | ident};
    return epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &e);
}

static void unwatch(worker *w, int fd) { epoll_ctl(w->epoll, EPOLL_CTL_DEL, fd, NULL); }

static int serve(worker *w, const struct epoll_event *e)
{
    u32 ident = (u32)e->data.u64;
    switch (e->data.u64 >> 32) {
    case WATCH_TUN: return drain_tun(w, (int)ident);
    case WATCH_RAW4: return drain_raw4(w, (int)ident);
    case WATCH_RAW6: return drain_raw6(w, (int)ident);
    case WATCH_UDP: return drain_udp(w, (int)ident);
    default: return 1; /* the bell of `stopping` */
    }
}

/* Runs until the engine stops. */
static void run_worker(worker *w)
{
    struct epoll_event ready[64];
    while (!__atomic_load_n(&w->engine->stopping, __ATOMIC_ACQUIRE)) {
        int idle = 1, count = epoll_wait(w->epoll, ready, 64, -1);
        for (int n = 0; n < count; n++)
            if (serve(w, &ready[n]) > 0)
                idle = 0;
        /* A descriptor that is ready for ever without anything in it (its device was destroyed, its interface goes next)
         * must not keep a CPU busy. */
        if (count > 0 && idle) {
            struct timespec pause = {0, 1000000};
            nanosleep(&pause, NULL);
        }
    }
}

/* One turn over everything that is ready now. */
static int turn_worker(worker *w)
{
    struct epoll_event ready[64];
    int moved = 0, count = epoll_wait(w->epoll, ready, 64, 0);
    for (int n = 0; n < count; n++)
        moved += serve(&w[0], &ready[n]) > 0;
    return moved;
}

#endif
