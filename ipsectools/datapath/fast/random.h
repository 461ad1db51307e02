/* Unpredictable bytes, fetched many at a time; each is used once. */
#ifndef IPSECTOOLS_RANDOM_H
#define IPSECTOOLS_RANDOM_H

#include "bytes.h"

typedef struct random_pool {
    u32 left;
    u8 bytes[4096];
} random_pool;

/* 0, or -1 without such bytes. */
int random_take(random_pool *pool, u8 *out, u32 length);

#endif
