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

/* Counters at `at`, the window's bitmap in `ring` if that is kept with them. What the key engine reserves is in force
 * when it is granted: once it is in the state file. `lock` is held by whoever seals or opens with the SA, and by the
 * owner for a moment. */
struct traffic {
    slot *at, *own; /* own: memory to be freed, if the counters are in no page */
    u8 *ring;
    u64 ring_length;
    u64 sequence_limit, iv_limit, received_limit;
    u64 granted_sequence, granted_iv, granted_received;
    pthread_mutex_t lock;
};

#endif
