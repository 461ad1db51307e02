#include "replay.h"

#include <stdlib.h>

static int replay_advance(replay *r, u64 number, u64 limit)
{
    if (number > limit) {
        r->needed = number;
        return REPLAY_UNRESERVED;
    }
    u64 before = r->at->received_high >> 3, place = number >> 3;
    r->at->advancing = number;
    IN_ORDER();
    if (place - before > r->mask) {
        u8 *fresh = r->own ? calloc(r->mask + 1, 1) : NULL; /* cheaper than clearing, if the ring is large */
        if (fresh) {
            free(r->ring);
            r->ring = fresh;
        } else {
            memset(r->ring, 0, r->mask + 1);
        }
    } else if (place - before > 64) {
        u64 start = (before + 1) & r->mask, count = place - before, to_end = r->mask + 1 - start;
        memset(r->ring + start, 0, count < to_end ? count : to_end);
        if (count > to_end)
            memset(r->ring, 0, count - to_end);
    } else {
        while (before < place)
            r->ring[++before & r->mask] = 0;
    }
    r->ring[place & r->mask] |= (u8)(1 << (number & 7));
    IN_ORDER();
    r->at->received_high = number;
    return REPLAY_ACCEPTED;
}

int replay_start(replay *r, u64 window, int esn, int cycseq, slot *at, u8 *ring, u64 ring_length)
{
    u64 length = 1, needed = (window + 7) / 8 + 3;
    while (length <= needed)
        length *= 2;
    r->own = !ring || ring_length != length;
    r->ring = r->own ? calloc(length, 1) : ring;
    if (!r->ring)
        return -1;
    r->at = at;
    r->window = (u32)((window + 7) / 8 * 8);
    r->near = r->window - 1;
    r->mask = length - 1;
    r->esn = esn;
    r->cycseq = cycseq;
    if (r->own)
        at->received_floor = at->received_high;
    if (at->advancing > at->received_high)
        replay_advance(r, at->advancing, UINT64_MAX); /* as was interrupted */
    return 0;
}

static int replay_seen(const replay *r, u64 number)
{
    return (r->at->received_floor && number <= r->at->received_floor) ||
           (r->ring[(number >> 3) & r->mask] & 1 << (number & 7));
}

int64_t replay_check(const replay *r, u32 low)
{
    u64 last = r->at->received_high;
    u32 top = (u32)last, bottom = top - r->near;
    u64 high = last >> 32;
    if (top >= r->near ? low >= bottom : low < bottom) {
        if (low <= top && (!last || replay_seen(r, high << 32 | low)))
            return REPLAY_SEEN;
        return (int64_t)high;
    }
    if (top == 0xffffffff && !r->esn && !r->cycseq)
        return REPLAY_WRAPPED;
    if (top < r->near) {
        if (!high || replay_seen(r, (high - 1) << 32 | low))
            return REPLAY_SEEN;
        return (int64_t)high - 1;
    }
    if (high == 0xffffffff && !r->cycseq)
        return REPLAY_WRAPPED;
    return (u32)(high + 1);
}

int replay_update(replay *r, u32 low, u64 limit)
{
    u64 last = r->at->received_high;
    u32 top = (u32)last, bottom = top - r->near;
    u64 high = last >> 32, number = high << 32 | low;
    if (top >= r->near ? low >= bottom : low < bottom) {
        if (low > top)
            return replay_advance(r, number, limit);
        if (!last)
            return REPLAY_SEEN;
    } else if (!r->esn) {
        return REPLAY_SEEN;
    } else if (top < r->near) {
        if (!high)
            return REPLAY_SEEN;
        number -= 1ull << 32;
    } else {
        if (high == 0xffffffff)
            return REPLAY_SEEN;
        return replay_advance(r, number + (1ull << 32), limit);
    }
    if (replay_seen(r, number))
        return REPLAY_SEEN;
    r->ring[(number >> 3) & r->mask] |= (u8)(1 << (number & 7));
    return REPLAY_ACCEPTED;
}
