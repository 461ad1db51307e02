/* HMAC (RFC 2104) with the hashes of libcrypto, whose keyed states are copied for each packet: nothing is allocated. */
#ifndef IPSECTOOLS_HMAC_H
#define IPSECTOOLS_HMAC_H

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "bytes.h"

enum { AUTH_SHA1 = 3, AUTH_SHA256 = 5, AUTH_SHA384 = 6, AUTH_SHA512 = 7, AUTH_NULL = 251 };
enum { AUTH_GMAC_128 = 11, AUTH_GMAC_192 = 12, AUTH_GMAC_256 = 13, AUTH_CHACHA = 14 }; /* what an AEAD cipher brings along */

typedef union hash_state {
    SHA_CTX sha1;
    SHA256_CTX sha256;
    SHA512_CTX sha512;
} hash_state;

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

static void hash_update(int auth, hash_state *h, const u8 *data, size_t length)
{
    switch (auth) {
    case AUTH_SHA1: SHA1_Update(&h->sha1, data, length); break;
    case AUTH_SHA256: SHA256_Update(&h->sha256, data, length); break;
    default: SHA512_Update(&h->sha512, data, length);
    }
}

/* Puts the digest into `out` (64 bytes of room), gives its length. */
static int hash_finish(int auth, hash_state *h, u8 *out)
{
    switch (auth) {
    case AUTH_SHA1: SHA1_Final(out, &h->sha1); return 20;
    case AUTH_SHA256: SHA256_Final(out, &h->sha256); return 32;
    case AUTH_SHA384: SHA384_Final(out, &h->sha512); return 48;
    default: SHA512_Final(out, &h->sha512); return 64;
    }
}

#pragma GCC diagnostic pop

/* The states after the inner and the outer pad: what an HMAC with this key (of at most a block) begins with. */
static void hmac_prepare(int auth, const u8 *auth_key, size_t length, hash_state *inner, hash_state *outer)
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

/* The first `size` bytes of the HMAC over two pieces of data. */
static void hmac_two(int auth, const hash_state *inner, const hash_state *outer, const u8 *data, size_t length,
                     const u8 *more, size_t more_length, u8 *icv, size_t size)
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

#endif
