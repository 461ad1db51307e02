/* ESP (RFC 4303), outbound: whether an SA may send, and one packet sealed. */
#ifndef IPSECTOOLS_SEAL_H
#define IPSECTOOLS_SEAL_H

#include "drops.h"
#include "sa.h"

static inline u32 sa_sealed_length(const sa *a, u32 inner)
{
    u32 multiple = (u32)a->pad_to;
    return 8 + (u32)a->iv_length + (inner + 2 + multiple - 1) / multiple * multiple + (u32)a->icv;
}

/* Whether the next packet may have a number and an IV; see esp/traffic.py. */
enum drop sa_may_send(const sa *a);

/* Seals `head` and `body` as one inner packet into `esp`, which has room for sa_sealed_length bytes. */
enum drop sa_seal(sa *a, random_pool *pool, const u8 *head, u32 head_length, const u8 *body, u32 body_length, u8 next,
                  u8 *esp);

#endif
