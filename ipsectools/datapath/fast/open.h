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

/* check: lengths and the replay window, before any cryptography. *high: the high half of the sequence number. */
enum drop sa_check(sa *a, const u8 *esp, u32 length, u32 *high);

/* open: verifies and decrypts the `length` bytes from the SPI on, in place. */
enum drop sa_open(sa *a, u8 *esp, u32 length, u32 high, core_counters *s);

/* commit: the replay window moves, padding comes off. */
enum drop sa_commit(sa *a, u8 *esp, u32 length, core_counters *s, opened *o);

#endif
