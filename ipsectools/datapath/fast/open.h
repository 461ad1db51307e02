/* ESP (RFC 4303), inbound: one packet opened. */
#ifndef IPSECTOOLS_OPEN_H
#define IPSECTOOLS_OPEN_H

#include "drops.h"
#include "sa.h"

/* What a packet turned out to hold: `inner` points into the buffer it came in. */
typedef struct opened {
    u8 *inner;
    u32 length;
    u8 next;
} opened;

/* Checks and decrypts the `length` bytes from the SPI on, in place, as far as the ICV: the first half of opening. */
enum drop sa_decrypt(sa *a, u8 *esp, u32 length, core_counters *s, u32 *high_out);

/* The second half: the replay window moves, padding comes off. */
enum drop sa_unwrap(sa *a, u8 *esp, u32 length, core_counters *s, opened *o);

#endif
