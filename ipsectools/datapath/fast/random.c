#include "random.h"

#include <openssl/rand.h>

int random_take(random_pool *pool, u8 *out, u32 length)
{
    if (length > sizeof pool->bytes)
        return -1;
    if (pool->left < length) {
        if (RAND_bytes(pool->bytes, sizeof pool->bytes) != 1)
            return -1;
        pool->left = sizeof pool->bytes;
    }
    u8 *from = pool->bytes + sizeof pool->bytes - pool->left;
    memcpy(out, from, length);
    memset(from, 0, length);
    pool->left -= length;
    return 0;
}
