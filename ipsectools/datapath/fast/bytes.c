#include "bytes.h"

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && !defined(FAST_NO_CLONES)
#define VECTORISED __attribute__((target_clones("avx2", "default")))
#else
#define VECTORISED
#endif

VECTORISED u64 sum_words(const u8 *p, size_t words)
{
    u64 total = 0;
    for (size_t i = 0; i < words; i++) {
        u32 word;
        memcpy(&word, p + 4 * i, 4);
        total += word;
    }
    return total;
}
