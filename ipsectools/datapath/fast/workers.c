#include "workers.h"

#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "out.h"
#include "receive.h"

enum {
    BUSY_MS = 25,      /* without a rest: looks */
    LOOK_MS = 100,     /* for so long, what is lent if a processor is idle half the time, and each direction takes */
    LEAST_MS = 20,     /* at least so much of it */
    LIGHT_TURNS = 256, /* each after a rest: the way out is given back; or after */
    LIGHT_MS = 10,     /* without any packet */
};

int watch(worker *w, int fd, enum watched kind, u32 ident)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = (u64)kind << 32 | ident};
    return epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &e);
}

void unwatch(worker *w, int fd) { epoll_ctl(w->epoll, EPOLL_CTL_DEL, fd, NULL); }

/* Makes two workers a pair, whose first thread moves both ways. 0, or -1. */
int pair_workers(worker *out, worker *into)
{
    out->other = into;
    into->other = out;
    out->call = eventfd(0, EFD_CLOEXEC);
    return out->call < 0 ? -1 : watch(into, out->epoll, WATCH_OTHER, 0);
}

static u64 now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

static int turn_other(worker *w)
{
    u64 began = now_ns();
    int moved = turn_worker(w->other);
    w->for_other += now_ns() - began;
    return moved;
}

static int serve(worker *w, const struct epoll_event *e)
{
    u32 ident = (u32)e->data.u64;
    switch (e->data.u64 >> 32) {
    case WATCH_TUN: return drain_tun(w, (int)ident);
    case WATCH_RAW4: return drain_raw4(w, (int)ident);
    case WATCH_RAW6: return drain_raw6(w, (int)ident);
    case WATCH_UDP: return drain_udp(w, (int)ident);
    case WATCH_OTHER: return turn_other(w);
    default: return 1; /* the bell of `stopping` */
    }
}

static int serve_all(worker *w, const struct epoll_event *ready, int count)
{
    int moved = 0;
    for (int n = 0; n < count; n++)
        moved += serve(w, &ready[n]) > 0;
    return moved;
}

/* A turn of a thread. A descriptor that is ready for ever without anything in it (its device was destroyed, its
 * interface goes next) must not keep a CPU busy. */
static void run_turn(worker *w, const struct epoll_event *ready, int count)
{
    if (!serve_all(w, ready, count) && count > 0) {
        struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
    }
}

/* One turn over everything that is ready now; how many descriptors had something. */
int turn_worker(worker *w)
{
    struct epoll_event ready[64];
    int count = epoll_wait(w->epoll, ready, 64, 0);
    return serve_all(w, ready, count);
}

static int stopping(const worker *w) { return __atomic_load_n(&w->core->stopping, __ATOMIC_ACQUIRE); }

static void set_lent(worker *w, int lent)
{
    __atomic_store_n(&w->lent, lent, __ATOMIC_RELEASE);
    __atomic_store_n(&w->other->lent, lent, __ATOMIC_RELEASE);
}

/* Milliseconds that all processors together have been idle; no less than that of the time where nobody tells. */
static u64 idle_ms(void)
{
    unsigned long long ticks[5];
    FILE *stat = fopen("/proc/stat", "re");
    int found =
        stat ? fscanf(stat, "cpu %llu %llu %llu %llu %llu", ticks, ticks + 1, ticks + 2, ticks + 3, ticks + 4) : 0;
    if (stat)
        fclose(stat);
    return found == 5 ? (ticks[3] + ticks[4]) * 1000 / (u64)sysconf(_SC_CLK_TCK) : now_ms();
}

/* How long a worker has been busy. */
typedef struct strain {
    u64 since, looking, idle, for_other;
} strain;

/* Whether the way out is to be lent, after a turn that followed another without a rest between them. */
static int is_strained(const worker *w, strain *s)
{
    u64 now = now_ms();
    if (!s->looking) {
        if (now - s->since >= BUSY_MS) {
            s->looking = now;
            s->idle = idle_ms();
            s->for_other = w->for_other;
        }
        return 0;
    }
    if (now - s->looking < LOOK_MS)
        return 0;
    u64 looked = now - s->looking, other = (w->for_other - s->for_other) / 1000000;
    s->looking = 0;
    return other >= LEAST_MS && other + LEAST_MS <= looked && idle_ms() - s->idle >= LOOK_MS / 2;
}

static void lend(worker *w)
{
    unwatch(w, w->other->epoll);
    set_lent(w, 1);
    eventfd_write(w->other->call, 1);
}

/* The first thread of a pair: the way in, and the way out unless that is lent. Runs until the core stops. */
void run_both(worker *w)
{
    struct epoll_event ready[64];
    strain strain = {.since = now_ms()};
    while (!stopping(w)) {
        int count = epoll_wait(w->epoll, ready, 64, 0);
        if (!count) {
            count = epoll_wait(w->epoll, ready, 64, -1);
            strain.since = now_ms();
            strain.looking = 0;
        }
        run_turn(w, ready, count);
        if (!__atomic_load_n(&w->lent, __ATOMIC_ACQUIRE) && (w->core->split || is_strained(w, &strain)))
            lend(w);
    }
    eventfd_write(w->other->call, 1);
}

static void give_back(worker *w)
{
    watch(w->other, w->epoll, WATCH_OTHER, 0); /* first: until it is no longer lent, nobody takes it away again */
    set_lent(w, 0);
}

/* The second thread of a pair: the way out while it is lent. Runs until the core stops. */
void run_lent(worker *w)
{
    struct epoll_event ready[64];
    eventfd_t calls;
    while (!eventfd_read(w->call, &calls) && !stopping(w)) {
        if (!__atomic_load_n(&w->lent, __ATOMIC_ACQUIRE))
            continue; /* the call of an earlier end */
        for (int light = 0; light < LIGHT_TURNS && !stopping(w);) {
            int count = epoll_wait(w->epoll, ready, 64, 0);
            light = count ? 0 : light + 1;
            if (!count && !(count = epoll_wait(w->epoll, ready, 64, LIGHT_MS)))
                break;
            run_turn(w, ready, count);
        }
        give_back(w);
    }
    if (__atomic_load_n(&w->lent, __ATOMIC_ACQUIRE))
        give_back(w); /* the end came before it was taken */
}
