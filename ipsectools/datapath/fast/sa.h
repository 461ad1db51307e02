/* ESP (RFC 4303) of one SA in one direction: many packets sealed or opened with one keyed context, in place.
 *
 * The same order of checks as esp/sa.py. Contexts are made at the SA's first packet: an SA that is only in the table costs
 * little. Whoever seals or opens holds the lock of its traffic.
 */
#ifndef IPSECTOOLS_SA_H
#define IPSECTOOLS_SA_H

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "drops.h"
#include "hmac.h"
#include "replay.h"

enum { ENC_NULL = 11, ENC_CBC = 12, ENC_CTR = 13, ENC_CHACHA = 15, ENC_GCM = 20 };
enum { FLAG_OLD = 1, FLAG_CYCSEQ = 0x40, FLAG_PRAND = 0x100, FLAG_PZERO = 0x200, FLAG_PMASK = 0x300, FLAG_ESN = 0x400 };
enum { MAX_KEY = 36, MAX_AUTH_KEY = 128 };
enum { MODE_ANY = 0, MODE_TRANSPORT = 1, MODE_TUNNEL = 2 };
enum { NEXT_IPV4 = 4, NEXT_IPV6 = 41, NEXT_NONE = 59 };

/* esp/traffic.py's Traffic: counters at `at`, the window's bitmap in `ring` if that is kept with them. What the key engine
 * reserves is in force when it is granted: once it is in the state file. `lock` is held by whoever seals or opens with the
 * SA, and by Python for a moment. */
typedef struct traffic {
    slot *at, *own; /* own: memory to be freed, if the counters are in no page */
    u8 *ring;
    u64 ring_length;
    u64 sequence_limit, iv_limit, received_limit;
    u64 granted_sequence, granted_iv, granted_received;
    pthread_mutex_t lock;
} traffic;

typedef struct sa {
    struct sa *next; /* in its hash bucket */
    u32 spi;
    u64 id; /* tells it from an earlier one with that SPI */
    int family; /* of the outer addresses: 4 or 6 */
    u8 src[16], dst[16];
    int mode, enc, auth, flags, outbound;
    int natt;
    u16 sport, dport;
    int blocked; /* a drop reason, or 0 */
    int broken;  /* algorithms that there are not */
    struct sockaddr_storage peer; /* outbound: where its packets go */
    socklen_t peer_length;
    int iv_length, block, pad_to, icv, aead, counter_iv, esn;
    u64 window;
    int key_length, auth_key_length; /* auth_key_length: may be more than there is room for, if it is not used */
    u8 key[MAX_KEY], auth_key[MAX_AUTH_KEY];
    traffic *traffic;
    u64 asked, ask_at;     /* the limit that was seen last, and the number at which to ask for a higher one */
    u64 refused, again_at; /* the limit at which packets were refused, and when (ms) to ask once more */
    struct target *target; /* inbound: the interface that its packets belong to */
    u64 generation;        /* tells an SA from another at the same address in memory */
    /* made at the first packet */
    int ready;
    EVP_CIPHER_CTX *cipher;
    hash_state inner, outer;
    replay window_state;
} sa;

/* Unpredictable bytes, fetched many at a time; each is used once. */
typedef struct random_pool {
    u32 left;
    u8 bytes[4096];
} random_pool;

static int random_take(random_pool *pool, u8 *out, u32 length)
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

/* The ICV over `length` bytes from the SPI on and, with ESN, the high half of the number. */
static void sa_icv(const sa *a, const u8 *esp, size_t length, u32 high, u8 *icv)
{
    u8 word[4];
    put32(word, high);
    hmac_two(a->auth, &a->inner, &a->outer, esp, length, word, a->esn ? 4 : 0, icv, (size_t)a->icv);
}

/* --- life -------------------------------------------------------------------------------------------------------- */

/* Fills in what follows from the algorithms. 0, or -1 for algorithms that there are not. */
static int sa_describe(sa *a, int ctr_compatibility)
{
    int key = a->key_length - 4;
    if (a->flags & FLAG_OLD)
        return -1;
    a->esn = (a->flags & FLAG_ESN) != 0;
    a->block = 1;
    a->pad_to = 4;
    switch (a->enc) {
    case ENC_NULL:
        a->block = 4;
        break;
    case ENC_CBC:
        key = a->key_length;
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
    default:
        return -1;
    }
    if (a->enc == ENC_CHACHA ? key != 32 : a->enc != ENC_NULL && key != 16 && key != 24 && key != 32)
        return -1;
    if (a->aead) {
        int implied = a->enc == ENC_CHACHA ? AUTH_CHACHA : key == 16 ? AUTH_GMAC_128 : key == 24 ? AUTH_GMAC_192 : AUTH_GMAC_256;
        return a->auth == 0 || a->auth == implied ? 0 : -1;
    }
    switch (a->auth) {
    case 0: a->icv = 0; break;
    case AUTH_NULL: case AUTH_SHA1: a->icv = 12; break;
    case AUTH_SHA256: a->icv = 16; break;
    case AUTH_SHA384: a->icv = 24; break;
    case AUTH_SHA512: a->icv = 32; break;
    default: return -1;
    }
    if (a->auth && a->auth != AUTH_NULL &&
        (a->auth_key_length < 1 || a->auth_key_length > (a->auth <= AUTH_SHA256 ? 64 : MAX_AUTH_KEY)))
        return -1;
    return 0;
}

enum { SALT = 4 };

/* Tells the cipher the IV of the next packet; the nonce is made of that and the end of the key, and only for this moment. */
static int sa_start(const sa *a, const u8 *iv)
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

static const EVP_CIPHER *sa_cipher(const sa *a)
{
    int key = a->enc == ENC_CBC ? a->key_length : a->key_length - 4;
    switch (a->enc) {
    case ENC_CBC: return key == 16 ? EVP_aes_128_cbc() : key == 24 ? EVP_aes_192_cbc() : EVP_aes_256_cbc();
    case ENC_CTR: return key == 16 ? EVP_aes_128_ctr() : key == 24 ? EVP_aes_192_ctr() : EVP_aes_256_ctr();
    case ENC_GCM: return key == 16 ? EVP_aes_128_gcm() : key == 24 ? EVP_aes_192_gcm() : EVP_aes_256_gcm();
    default: return EVP_chacha20_poly1305();
    }
}

/* Makes the contexts. 0, or -1 if the library cannot. */
static int sa_prepare(sa *a)
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
        hmac_prepare(a->auth, a->auth_key, (size_t)a->auth_key_length, &a->inner, &a->outer);
    if (!a->outbound && a->window &&
        replay_start(&a->window_state, a->window, a->esn, (a->flags & FLAG_CYCSEQ) != 0, a->traffic->at,
                     a->traffic->ring, a->traffic->ring_length))
        return -1;
    a->ready = 1;
    return 0;
}

static void sa_free(sa *a)
{
    EVP_CIPHER_CTX_free(a->cipher);
    if (a->window_state.own)
        free(a->window_state.ring);
    OPENSSL_cleanse(a, sizeof *a);
    free(a);
}

/* libcrypto leaves counter blocks and schedules where its frames were: a turn that sealed or opened ends with this. */
static __attribute__((noinline)) void scrub_stack(void)
{
    u8 frames[8192];
    memset(frames, 0, sizeof frames); /* a ninth of OPENSSL_cleanse's time */
    __asm__ volatile("" : : "r"(frames) : "memory"); /* and not left out */
}

static void sa_used(sa *a, u64 bytes)
{
    slot *at = a->traffic->at;
    at->packets++;
    at->bytes += bytes;
    if (!at->first_used)
        at->first_used = (u64)time(NULL);
}

/* --- out --------------------------------------------------------------------------------------------------------- */

static inline u32 sa_sealed_length(const sa *a, u32 inner)
{
    u32 multiple = (u32)a->pad_to;
    return 8 + (u32)a->iv_length + (inner + 2 + multiple - 1) / multiple * multiple + (u32)a->icv;
}

/* Whether the next packet may have a number and an IV; see esp/traffic.py. */
static inline enum drop sa_may_send(sa *a)
{
    traffic *t = a->traffic;
    u64 last = a->esn ? UINT64_MAX : 0xffffffff;
    if (a->blocked)
        return (enum drop)a->blocked;
    if (t->at->sequence >= last || (a->counter_iv && t->at->iv == UINT64_MAX))
        return DROP_OUT_SEQUENCE_EXHAUSTED;
    if (t->at->sequence >= t->granted_sequence || (a->counter_iv && t->at->iv >= t->granted_iv))
        return DROP_OUT_SEQUENCE_UNRESERVED;
    return PASSED;
}

/* Seals `head` and `body` as one inner packet into `esp`, which has room for sa_sealed_length bytes. */
static enum drop sa_seal(sa *a, random_pool *pool, const u8 *head, u32 head_length, const u8 *body, u32 body_length, u8 next,
                         u8 *esp)
{
    slot *at = a->traffic->at;
    u32 inner = head_length + body_length, padded = sa_sealed_length(a, inner) - 8 - (u32)a->iv_length - (u32)a->icv;
    u8 *iv = esp + 8, *text = iv + a->iv_length, *icv = text + padded, *pad = text + inner;
    u32 pad_length = padded - inner - 2, high;
    int moved = 0;

    u64 number = ++at->sequence;
    high = (u32)(number >> 32);
    put32(esp, a->spi);
    put32(esp + 4, (u32)number);
    if (a->counter_iv) {
        put64(iv, at->iv++);
    } else if (a->iv_length && random_take(pool, iv, 16)) {
        return DROP_OUT_CRYPTO;
    }
    memcpy(text, head, head_length);
    memcpy(text + head_length, body, body_length);
    switch (a->flags & FLAG_PMASK) {
    case FLAG_PRAND:
        if (random_take(pool, pad, pad_length))
            return DROP_OUT_CRYPTO;
        break;
    case FLAG_PZERO:
        memset(pad, 0, pad_length);
        break;
    default:
        for (u32 i = 0; i < pad_length; i++)
            pad[i] = (u8)(i + 1);
    }
    pad[pad_length] = (u8)pad_length;
    pad[pad_length + 1] = next;

    if (a->aead) {
        u8 aad[12];
        int aad_length = 8;
        memcpy(aad, esp, 4);
        if (a->esn) {
            put32(aad + 4, high);
            aad_length = 12;
        }
        put32(aad + aad_length - 4, (u32)number);
        if (!sa_start(a, iv) || EVP_EncryptUpdate(a->cipher, NULL, &moved, aad, aad_length) != 1 ||
            EVP_EncryptUpdate(a->cipher, text, &moved, text, (int)padded) != 1 ||
            EVP_EncryptFinal_ex(a->cipher, text + moved, &moved) != 1 ||
            EVP_CIPHER_CTX_ctrl(a->cipher, EVP_CTRL_AEAD_GET_TAG, 16, icv) != 1)
            return DROP_OUT_CRYPTO;
        return PASSED;
    }
    if (a->cipher && (!sa_start(a, iv) || EVP_EncryptUpdate(a->cipher, text, &moved, text, (int)padded) != 1))
        return DROP_OUT_CRYPTO;
    if (a->auth == AUTH_NULL)
        memset(icv, 0, 12);
    else if (a->auth)
        sa_icv(a, esp, (size_t)(icv - esp), high, icv);
    return PASSED;
}

/* --- in ---------------------------------------------------------------------------------------------------------- */

/* What a packet turned out to hold: `inner` points into the buffer it came in. */
typedef struct opened {
    u8 *inner;
    u32 length;
    u8 next;
} opened;

/* Checks and decrypts the `length` bytes from the SPI on, in place, as far as the ICV: the first half of opening. */
static enum drop sa_decrypt(sa *a, u8 *esp, u32 length, stats *s, u32 *high_out)
{
    u32 overhead = 8 + (u32)a->iv_length + (u32)a->icv, low, high = 0;
    int moved = 0, authentic = 1;
    if (!a->ready && sa_prepare(a))
        return DROP_IN_NO_TRANSFORM;
    if (length % 4 || length <= overhead || (length - overhead) % (u32)a->block)
        return DROP_IN_LENGTH;
    u32 size = length - overhead;
    u8 *iv = esp + 8, *text = iv + a->iv_length, *icv = text + size;
    low = get32(esp + 4);
    if (a->window && (a->aead || a->auth)) {
        int64_t checked = replay_check(&a->window_state, low);
        if (checked < 0)
            return checked == REPLAY_WRAPPED ? DROP_IN_WRAP : DROP_IN_REPLAY;
        high = (u32)checked;
    }
    *high_out = high;
    s->ibytes += size;
    if (a->aead) {
        u8 aad[12];
        int aad_length = 8;
        memcpy(aad, esp, 4);
        if (a->esn && a->window) { /* FreeBSD knows no high half without a window */
            put32(aad + 4, high);
            aad_length = 12;
        }
        put32(aad + aad_length - 4, low);
        if (!sa_start(a, iv) || EVP_CIPHER_CTX_ctrl(a->cipher, EVP_CTRL_AEAD_SET_TAG, 16, icv) != 1 ||
            EVP_DecryptUpdate(a->cipher, NULL, &moved, aad, aad_length) != 1)
            return DROP_IN_CRYPTO;
        authentic = EVP_DecryptUpdate(a->cipher, text, &moved, text, (int)size) == 1 &&
                    EVP_DecryptFinal_ex(a->cipher, text + size, &moved) == 1;
    } else if (a->auth) {
        u8 wanted[32] = {0};
        if (a->auth != AUTH_NULL)
            sa_icv(a, esp, (size_t)(icv - esp), high, wanted);
        authentic = CRYPTO_memcmp(wanted, icv, (size_t)a->icv) == 0;
    }
    s->encryption[a->enc]++;
    s->authentication[a->auth]++;
    if (!authentic)
        return DROP_IN_ICV;
    if (a->cipher && !a->aead) {
        if (!sa_start(a, iv) || EVP_DecryptUpdate(a->cipher, text, &moved, text, (int)size) != 1)
            return DROP_IN_CRYPTO;
    }
    return PASSED;
}

/* The second half: the replay window moves, padding comes off. */
static enum drop sa_unwrap(sa *a, u8 *esp, u32 length, stats *s, opened *o)
{
    u8 *text = esp + 8 + a->iv_length;
    u32 size = length - 8 - (u32)a->iv_length - (u32)a->icv;
    traffic *t = a->traffic;
    if (a->window) {
        int updated = replay_update(&a->window_state, get32(esp + 4), t->granted_received);
        if (updated)
            return updated == REPLAY_UNRESERVED ? DROP_IN_WINDOW_UNRESERVED : DROP_IN_LATE_REPLAY;
        t->at->sequence++;
    }
    s->middle++;
    if (size < 2 || (u32)text[size - 2] + 2 > size)
        return DROP_IN_PAD_LENGTH;
    u32 pad = text[size - 2];
    if ((a->flags & FLAG_PMASK) != FLAG_PRAND && pad && text[size - 3] != pad)
        return DROP_IN_PADDING;
    o->next = text[size - 1];
    if (o->next == NEXT_NONE)
        return DROP_IN_DUMMY;
    o->inner = text;
    o->length = size - 2 - pad;
    return PASSED;
}

#endif
