/* The workers' loops, which run without Python: two threads for the two directions, or several such pairs.
 *
 * Waking a sleeping thread takes longer than all that is done with a small packet. So one thread of a pair moves
 * packets both ways, and an answer finds it awake; the other sleeps. When the first does not come to rest, both
 * directions have their share in that, and there is a processor with nothing to do, it lends the way out to the second,
 * which gives it back when that is quiet again. `lent`, in both workers of a pair, says so; a direction that is lent is
 * not watched by the first thread, so each belongs to one thread at any time.
 */
#ifndef IPSECTOOLS_WORKERS_H
#define IPSECTOOLS_WORKERS_H

#include "engine.h"

/* What a watched descriptor is; the low half of epoll's data is the descriptor, or the index of an interface. */
enum watched { WATCH_STOP = 1, WATCH_TUN, WATCH_RAW4, WATCH_RAW6, WATCH_UDP, WATCH_OTHER };

int watch(worker *w, int fd, enum watched kind, u32 ident);
void unwatch(worker *w, int fd);

/* Makes two workers a pair, whose first thread moves both ways. 0, or -1. */
int pair_workers(worker *out, worker *into);

/* The two threads of a pair: the way in, and the way out unless that is lent; the way out while it is lent. Both run
 * until the core stops. */
void run_both(worker *w);
void run_lent(worker *w);

/* One turn over everything that is ready now; how many descriptors had something. */
int turn_worker(worker *w);

#endif
