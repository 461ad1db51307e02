/* ESP (RFC 4303) of one SA in one direction: many packets sealed or opened with one keyed context, in place.
 *
 * The same order of checks as esp/sa.py. Contexts are made at the SA's first packet: an SA that is only in the table
 * costs little.
 */
#ifndef IPSECTOOLS_SA_H
#define IPSECTOOLS_SA_H

#include <openssl/evp.h>
#include <sys/socket.h>

#include "hmac.h"
#include "random.h"
#include "replay.h"

enum { ENC_NULL = 11, ENC_CBC = 12, ENC_CTR = 13, ENC_CHACHA = 15, ENC_GCM = 20 };
enum { FLAG_OLD = 1, FLAG_CYCSEQ = 0x40, FLAG_PRAND = 0x100, FLAG_PZERO = 0x200, FLAG_PMASK = 0x300, FLAG_ESN = 0x400 };
enum { MODE_ANY = 0, MODE_TRANSPORT = 1, MODE_TUNNEL = 2 };
enum { NEXT_IPV4 = 4, NEXT_IPV6 = 41, NEXT_NONE = 59 };

typedef struct sa {
    struct sa *next; /* in its hash bucket */
    u32 spi;
    u64 id;     /* tells it from an earlier one with that SPI */
    int family; /* of the outer addresses: 4 or 6 */
    u8 src[16], dst[16];
    int mode, enc, auth, flags, outbound;
    int natt;
    u16 sport, dport;
    int blocked;                  /* a drop reason, or 0 */
    int broken;                   /* algorithms that there are not */
    struct sockaddr_storage peer; /* outbound: where its packets go */
    socklen_t peer_length;
    int iv_length, block, pad_to, icv, aead, counter_iv, esn;
    u64 window;
    size_t key_length, auth_key_length; /* auth_key_length: may be more than there is room for, if it is not used */
    u8 key[CORE_MAX_KEY], auth_key[CORE_MAX_AUTH_KEY];
    traffic *traffic;
    u64 asked, ask_at;     /* the limit that was seen last, and the number at which to ask for a higher one */
    u64 refused, again_at; /* the limit at which packets were refused, and when (ms) to ask once more */
    struct target *target; /* inbound: the interface that its packets belong to */
    void *owner;
    /* made at the first packet */
    int ready;
    EVP_CIPHER_CTX *cipher;
    hash_state inner, outer;
    replay window_state;
} sa;

/* The SA of an entry; with `broken` set if it could not be used. NULL without memory. */
sa *sa_new(const core_sa *entry, int outbound);

/* Fills in what follows from the algorithms. 0, or -1 for algorithms that there are not. */
int sa_describe(sa *a, int ctr_compatibility);

/* Makes the contexts. 0, or -1 if the library cannot. */
int sa_prepare(sa *a);

/* Keyed contexts and replay window pass from an SA to its successor with the same keys. */
void sa_take_contexts(sa *a, sa *former);
void sa_free(sa *a);

/* Counts a packet for the SA. */
void sa_used(sa *a, u64 bytes);

/* Tells the cipher the IV of the next packet; the nonce is made of that and the end of the key, and only for this
 * moment. */
int sa_start(const sa *a, const u8 *iv);

/* The ICV over `length` bytes from the SPI on and, with ESN, the high half of the number. */
void sa_icv(const sa *a, const u8 *esp, size_t length, u32 high, u8 *icv);

/* libcrypto leaves counter blocks and schedules where its frames were: a turn that sealed or opened ends with this. */
void scrub_stack(void);

#endif
