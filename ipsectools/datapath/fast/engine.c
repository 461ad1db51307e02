#include "engine.h"

#include <time.h>

u64 now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (u64)t.tv_sec * 1000 + (u64)t.tv_nsec / 1000000;
}

void ask_for_more(worker *w, sa *a, u64 used, u64 limit, enum core_event kind)
{
    if (limit == UINT64_MAX || (used < a->ask_at && a->asked == limit))
        return;
    if (a->asked != limit) {
        a->asked = limit;
        a->ask_at = limit > used ? used + (limit - used + 1) / 2 : used + 1;
        if (used < a->ask_at)
            return;
    }
    a->ask_at = UINT64_MAX;
    tell(w, kind, a, used);
}

void ask_at_limit(worker *w, sa *a, u64 needed, u64 limit, enum core_event kind)
{
    u64 now = now_ms();
    if (a->refused == limit && now < a->again_at)
        return;
    a->refused = limit;
    a->again_at = now + AGAIN_MS;
    tell(w, kind, a, needed);
}
