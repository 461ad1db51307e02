/* HMAC (RFC 2104) with the hashes of libcrypto, whose keyed states are copied for each packet: nothing is allocated. */
#ifndef IPSECTOOLS_HMAC_H
#define IPSECTOOLS_HMAC_H

#include <openssl/sha.h>

#include "bytes.h"

enum { AUTH_SHA1 = 3, AUTH_SHA256 = 5, AUTH_SHA384 = 6, AUTH_SHA512 = 7, AUTH_NULL = 251 };
enum {
    AUTH_GMAC_128 = 11,
    AUTH_GMAC_192 = 12,
    AUTH_GMAC_256 = 13,
    AUTH_CHACHA = 14
}; /* what an AEAD cipher brings along */

typedef union hash_state {
    SHA_CTX sha1;
    SHA256_CTX sha256;
    SHA512_CTX sha512;
} hash_state;

void hash_update(int auth, hash_state *h, const u8 *data, size_t length);

/* Puts the digest into `out` (64 bytes of room), gives its length. */
int hash_finish(int auth, hash_state *h, u8 *out);

/* The states after the inner and the outer pad: what an HMAC with this key (of at most a block) begins with. */
void hmac_prepare(int auth, const u8 *auth_key, size_t length, hash_state *inner, hash_state *outer);

/* The first `size` bytes of the HMAC over two pieces of data. */
void hmac_two(int auth, const hash_state *inner, const hash_state *outer, const u8 *data, size_t length, const u8 *more,
              size_t more_length, u8 *icv, size_t size);

#endif
