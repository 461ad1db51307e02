/* leftovers AUTH: computes an HMAC with hmac.h in a thread, and says what it left on that one's stack. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hmac.h"

enum { STACK = 1 << 18 };

static u8 stack[STACK] __attribute__((aligned(4096)));
static u8 key[64], data[100], icv[16];
static hash_state inner, outer;

static void *work(void *argument)
{
    int auth = *(int *)argument;
    size_t size = auth == AUTH_SHA1 ? 20 : auth == AUTH_SHA256 ? 32 : 64;
    hmac_prepare(auth, key, size, &inner, &outer);
    hmac_two(auth, &inner, &outer, data, sizeof data, NULL, 0, icv, sizeof icv);
    return NULL;
}

static int holds(const u8 *secret, size_t length)
{
    for (size_t i = 0; i + length <= STACK; i++)
        if (!memcmp(stack + i, secret, length))
            return 1;
    return 0;
}

int main(int argc, char **argv)
{
    int auth = argc > 1 ? atoi(argv[1]) : AUTH_SHA256;
    u8 secrets[4][64];
    pthread_attr_t attributes;
    pthread_t thread;
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (u8)(i * 37 + 11);
    pthread_attr_init(&attributes);
    if (pthread_attr_setstack(&attributes, stack, STACK) || pthread_create(&thread, &attributes, work, &auth))
        return 1;
    pthread_join(thread, NULL);

    hash_state h = inner;
    hash_update(auth, &h, data, sizeof data);
    size_t size = (size_t)hash_finish(auth, &h, secrets[2]);
    h = outer;
    hash_update(auth, &h, secrets[2], size);
    hash_finish(auth, &h, secrets[3]);
    for (size_t i = 0; i < size; i++) {
        secrets[0][i] = key[i] ^ 0x36;
        secrets[1][i] = key[i] ^ 0x5c;
    }
    static const char *names[] = {"inner pad", "outer pad", "inner digest", "uncut ICV"};
    for (int n = 0; n < 4; n++)
        if (holds(secrets[n], size))
            puts(names[n]);
    puts("looked");
    return 0;
}
