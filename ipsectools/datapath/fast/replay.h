/* The replay window: esp/replay.py in C; see there for the rules. */
#ifndef IPSECTOOLS_REPLAY_H
#define IPSECTOOLS_REPLAY_H

#include "traffic.h"

enum { REPLAY_ACCEPTED = 0, REPLAY_SEEN = -1, REPLAY_WRAPPED = -2, REPLAY_UNRESERVED = -3 };

/* A kill may come between any two instructions: what stands before this is in the page before what follows. */
#define IN_ORDER() __atomic_signal_fence(__ATOMIC_SEQ_CST)

typedef struct replay {
    slot *at; /* the edge is `received_high` there */
    u64 needed, mask;
    u32 window, near;     /* in packets */
    int esn, cycseq, own; /* own: the ring belongs to nobody else */
    u8 *ring;
} replay;

/* 0, or -1 without memory. `ring`: the bitmap that is kept with the slot, if there is one. */
int replay_start(replay *r, u64 window, int esn, int cycseq, slot *at, u8 *ring, u64 ring_length);

/* Before the cryptography: the high half of the number, REPLAY_SEEN or REPLAY_WRAPPED. */
int64_t replay_check(const replay *r, u32 low);

/* After it: marks the number. REPLAY_SEEN: to be dropped after all. REPLAY_UNRESERVED: it is above `limit`, nothing
 * changed. */
int replay_update(replay *r, u32 low, u64 limit);

#endif
