/* What an SA has sent and seen, and how far it may go: esp/traffic.py's Traffic. */
#ifndef IPSECTOOLS_TRAFFIC_H
#define IPSECTOOLS_TRAFFIC_H

#include <pthread.h>

#include "bytes.h"
#include "core.h"

/* An SA's counters, as kernel/key/page.py lays them out (esp/traffic.py says what they mean): in the traffic page,
 * which outlives the process, or in memory of its own. */
typedef struct slot {
    u64 sequence, iv, received_high, advancing, received_floor, packets, bytes, first_used;
    u64 identity[4];
    u8 ring[32];
} slot;

/* Counters at `at`, the window's bitmap in `ring` if that is kept with them. Limits are reserved, then granted, and
 * `lock` is held, as datapath/__init__.py says. */
struct traffic {
    slot *at, *own; /* own: memory to be freed, if the counters are in no page */
    u8 *ring;
    u64 ring_length;
    u64 sequence_limit, iv_limit, received_limit;
    u64 granted_sequence, granted_iv, granted_received;
    pthread_mutex_t lock;
};

#endif
