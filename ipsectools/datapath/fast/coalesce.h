/* Segments of one flow that arrived one after the other, joined into one write to the TUN device.
 *
 * Only what Linux would cut into exactly the same packets again is joined; a packet that is not joined goes as it came,
 * and never past an earlier packet of its flow. Checksums are verified before, because Linux believes a joined packet.
 */
#ifndef IPSECTOOLS_COALESCE_H
#define IPSECTOOLS_COALESCE_H

#include "engine.h"

/* An inner packet for an interface; it stays where it is until the flows are flushed. */
void deliver(worker *w, interface *i, u8 *ip, u32 length, int outer_ipv6);

/* Everything that is held goes out, in the order in which the flows began. */
void flush_flows(worker *w, int outer_ipv6);

#endif
