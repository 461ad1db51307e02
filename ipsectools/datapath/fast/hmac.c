#include "hmac.h"

#include <openssl/crypto.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* SHA*_Update: HMAC without an allocation per packet */

static void hash_start(int auth, hash_state *h)
{
    switch (auth) {
    case AUTH_SHA1: SHA1_Init(&h->sha1); break;
    case AUTH_SHA256: SHA256_Init(&h->sha256); break;
    case AUTH_SHA384: SHA384_Init(&h->sha512); break;
    default: SHA512_Init(&h->sha512);
    }
}

void hash_update(int auth, hash_state *h, const u8 *data, size_t length)
{
    switch (auth) {
    case AUTH_SHA1: SHA1_Update(&h->sha1, data, length); break;
    case AUTH_SHA256: SHA256_Update(&h->sha256, data, length); break;
    default: SHA512_Update(&h->sha512, data, length);
    }
}

int hash_finish(int auth, hash_state *h, u8 *out)
{
    switch (auth) {
    case AUTH_SHA1: SHA1_Final(out, &h->sha1); return 20;
    case AUTH_SHA256: SHA256_Final(out, &h->sha256); return 32;
    case AUTH_SHA384: SHA384_Final(out, &h->sha512); return 48;
    default: SHA512_Final(out, &h->sha512); return 64;
    }
}

#pragma GCC diagnostic pop

void hmac_prepare(int auth, const u8 *auth_key, size_t length, hash_state *inner, hash_state *outer)
{
    u8 pad[128], key[128] = {0};
    size_t block = auth == AUTH_SHA1 || auth == AUTH_SHA256 ? 64 : 128;
    memcpy(key, auth_key, length);
    for (size_t i = 0; i < block; i++)
        pad[i] = key[i] ^ 0x36;
    hash_start(auth, inner);
    hash_update(auth, inner, pad, block);
    for (size_t i = 0; i < block; i++)
        pad[i] = key[i] ^ 0x5c;
    hash_start(auth, outer);
    hash_update(auth, outer, pad, block);
    OPENSSL_cleanse(pad, sizeof pad);
    OPENSSL_cleanse(key, sizeof key);
}

void hmac_two(int auth, const hash_state *inner, const hash_state *outer, const u8 *data, size_t length, const u8 *more,
              size_t more_length, u8 *icv, size_t size)
{
    u8 digest[64];
    hash_state h = *inner;
    hash_update(auth, &h, data, length);
    if (more_length)
        hash_update(auth, &h, more, more_length);
    int digest_size = hash_finish(auth, &h, digest);
    h = *outer;
    hash_update(auth, &h, digest, (size_t)digest_size);
    hash_finish(auth, &h, digest);
    memcpy(icv, digest, size);
    OPENSSL_cleanse(&h, sizeof h);
    OPENSSL_cleanse(digest, sizeof digest);
}
