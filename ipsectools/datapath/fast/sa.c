#include "sa.h"

#include <openssl/crypto.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <time.h>

enum { SALT = 4 };

void sa_icv(const sa *a, const u8 *esp, size_t length, u32 high, u8 *icv)
{
    u8 word[4];
    put32(word, high);
    hmac_two(a->auth, &a->inner, &a->outer, esp, length, word, a->esn ? 4 : 0, icv, (size_t)a->icv);
}

int sa_describe(sa *a, int ctr_compatibility)
{
    int key = (int)a->key_length - SALT;
    if (a->flags & FLAG_OLD)
        return -1;
    a->esn = (a->flags & FLAG_ESN) != 0;
    a->block = 1;
    a->pad_to = 4;
    switch (a->enc) {
    case ENC_NULL: a->block = 4; break;
    case ENC_CBC:
        key = (int)a->key_length;
        a->iv_length = a->block = a->pad_to = 16;
        break;
    case ENC_CTR:
        a->iv_length = 8;
        a->counter_iv = 1;
        a->pad_to = ctr_compatibility ? 16 : 4;
        break;
    case ENC_CHACHA:
    case ENC_GCM:
        a->iv_length = 8;
        a->counter_iv = a->aead = 1;
        a->icv = 16;
        break;
    default: return -1;
    }
    if (a->enc == ENC_CHACHA ? key != 32 : a->enc != ENC_NULL && key != 16 && key != 24 && key != 32)
        return -1;
    if (a->aead) {
        int implied = a->enc == ENC_CHACHA ? AUTH_CHACHA
                      : key == 16          ? AUTH_GMAC_128
                      : key == 24          ? AUTH_GMAC_192
                                           : AUTH_GMAC_256;
        return a->auth == 0 || a->auth == implied ? 0 : -1;
    }
    switch (a->auth) {
    case 0: a->icv = 0; break;
    case AUTH_NULL:
    case AUTH_SHA1: a->icv = 12; break;
    case AUTH_SHA256: a->icv = 16; break;
    case AUTH_SHA384: a->icv = 24; break;
    case AUTH_SHA512: a->icv = 32; break;
    default: return -1;
    }
    if (a->auth && a->auth != AUTH_NULL &&
        (a->auth_key_length < 1 || a->auth_key_length > (a->auth <= AUTH_SHA256 ? 64u : CORE_MAX_AUTH_KEY)))
        return -1;
    return 0;
}

int sa_start(const sa *a, const u8 *iv)
{
    u8 nonce[16];
    if (!a->counter_iv)
        return EVP_CipherInit_ex(a->cipher, NULL, NULL, NULL, iv, a->outbound) == 1;
    memcpy(nonce, a->key + a->key_length - SALT, SALT);
    memcpy(nonce + SALT, iv, 8);
    put32(nonce + SALT + 8, 1); /* of CTR alone; an AEAD takes 12 bytes */
    int done = EVP_CipherInit_ex(a->cipher, NULL, NULL, NULL, nonce, a->outbound) == 1;
    OPENSSL_cleanse(nonce, SALT);
    return done;
}

static socklen_t set_peer(const sa *a, struct sockaddr_storage *peer)
{
    if (a->family == 4) {
        struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(a->dport)};
        memcpy(&four.sin_addr, a->dst, 4);
        memcpy(peer, &four, sizeof four);
        return sizeof four;
    }
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(a->dport)};
    memcpy(&six.sin6_addr, a->dst, 16);
    memcpy(peer, &six, sizeof six);
    return sizeof six;
}

sa *sa_new(const core_sa *entry, int outbound)
{
    sa *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->owner = entry->owner;
    a->spi = entry->spi;
    a->id = entry->id;
    a->family = entry->family;
    memcpy(a->src, entry->src, 16);
    memcpy(a->dst, entry->dst, 16);
    a->mode = entry->mode;
    a->enc = entry->enc;
    a->auth = entry->auth;
    a->flags = entry->flags;
    a->outbound = outbound;
    a->window = entry->window;
    a->traffic = entry->traffic;
    a->key_length = entry->key_length;
    a->auth_key_length = entry->auth_key_length;
    memcpy(a->key, entry->key, a->key_length < CORE_MAX_KEY ? a->key_length : CORE_MAX_KEY);
    memcpy(a->auth_key, entry->auth_key,
           a->auth_key_length < CORE_MAX_AUTH_KEY ? a->auth_key_length : CORE_MAX_AUTH_KEY);
    a->natt = entry->natt;
    a->sport = entry->sport;
    a->dport = entry->dport;
    a->blocked = entry->blocked;
    a->peer_length = set_peer(a, &a->peer);
    a->broken = sa_describe(a, entry->ctr_compatibility) != 0; /* keys that do not fit are, unless they are not used */
    return a;
}

static const EVP_CIPHER *sa_cipher(const sa *a)
{
    size_t key = a->enc == ENC_CBC ? a->key_length : a->key_length - SALT;
    switch (a->enc) {
    case ENC_CBC: return key == 16 ? EVP_aes_128_cbc() : key == 24 ? EVP_aes_192_cbc() : EVP_aes_256_cbc();
    case ENC_CTR: return key == 16 ? EVP_aes_128_ctr() : key == 24 ? EVP_aes_192_ctr() : EVP_aes_256_ctr();
    case ENC_GCM: return key == 16 ? EVP_aes_128_gcm() : key == 24 ? EVP_aes_192_gcm() : EVP_aes_256_gcm();
    default: return EVP_chacha20_poly1305();
    }
}

int sa_prepare(sa *a)
{
    if (a->broken)
        return -1;
    if (a->enc != ENC_NULL) {
        EVP_CIPHER_CTX_free(a->cipher); /* of an attempt that failed half way */
        a->cipher = EVP_CIPHER_CTX_new();
        if (!a->cipher || EVP_CipherInit_ex(a->cipher, sa_cipher(a), NULL, a->key, NULL, a->outbound) != 1)
            return -1;
        if (a->enc == ENC_CBC) /* others have none, and would set it anew with every packet */
            EVP_CIPHER_CTX_set_padding(a->cipher, 0);
    }
    if (!a->aead && a->auth && a->auth != AUTH_NULL)
        hmac_prepare(a->auth, a->auth_key, a->auth_key_length, &a->inner, &a->outer);
    if (!a->outbound && a->window &&
        replay_start(&a->window_state, a->window, a->esn, (a->flags & FLAG_CYCSEQ) != 0, a->traffic->at,
                     a->traffic->ring, a->traffic->ring_length))
        return -1;
    a->ready = 1;
    return 0;
}

void sa_free(sa *a)
{
    EVP_CIPHER_CTX_free(a->cipher);
    if (a->window_state.own)
        free(a->window_state.ring);
    OPENSSL_cleanse(a, sizeof *a);
    free(a);
}

__attribute__((noinline)) void scrub_stack(void)
{
    u8 frames[8192];
    memset(frames, 0, sizeof frames);                /* a ninth of OPENSSL_cleanse's time */
    __asm__ volatile("" : : "r"(frames) : "memory"); /* and not left out */
}

void sa_used(sa *a, u64 bytes)
{
    slot *at = a->traffic->at;
    at->packets++;
    at->bytes += bytes;
    if (!at->first_used)
        at->first_used = (u64)time(NULL);
}

void sa_take_contexts(sa *a, sa *former)
{
    a->cipher = former->cipher;
    a->inner = former->inner;
    a->outer = former->outer;
    a->window_state = former->window_state;
    a->ready = former->ready;
    a->asked = former->asked;
    a->ask_at = former->ask_at;
    former->cipher = NULL;
    former->window_state.own = 0;
}
