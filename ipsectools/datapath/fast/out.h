/* The way out: inner packet -> interface -> SA -> sealed packet in the batch -> socket. */
#ifndef IPSECTOOLS_OUT_H
#define IPSECTOOLS_OUT_H

#include "engine.h"
#include "segment.h"

/* A packet or super-packet from the interface's device, which may be changed. */
void outbound_packet(worker *w, interface *i, u8 *packet, u32 length, const vnet_header *vnet);

/* Sends what is sealed, and asks for an SA if packets missed one. */
void end_of_turn(worker *w, interface *i);

/* Takes what waits in a TUN device, a bounded part of it, and sends it. Gives 1 if there was anything. */
int drain_tun(worker *w, int index);

#endif
