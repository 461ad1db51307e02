/* The way in: socket -> SA by SPI -> opened packet -> interface -> TUN device. */
#ifndef IPSECTOOLS_IN_H
#define IPSECTOOLS_IN_H

#include "engine.h"

/* Where a packet came from. */
typedef struct arrival {
    int family, natt;
    const u8 *dst;
    u16 sport, dport;
    u32 link; /* its index, or 0 if nobody told */
} arrival;

/* The `length` bytes from the SPI on, which may be changed. In FreeBSD's order of checks. */
void inbound_one(worker *w, u8 *esp, u32 length, const arrival *from);

/* Delivers what is held. */
void end_of_arrivals(worker *w, int outer_ipv6);

#endif
