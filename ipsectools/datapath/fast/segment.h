/* What Linux put together for us (TSO, USO, checksum offload) taken apart again: packets as they would have left
 * without.
 *
 * A super-packet comes with a virtio_net_hdr; the headers of its segments follow Linux's own software segmentation:
 * IPv4 id counting up, TCP sequence, FIN and PSH on the last segment only, CWR on the first only, lengths, checksums.
 */
#ifndef IPSECTOOLS_SEGMENT_H
#define IPSECTOOLS_SEGMENT_H

#include "bytes.h"

enum { VNET = 10, LONGEST = 65535, LONGEST_HEADER = 512 };
enum { VNET_NEEDS_CSUM = 1 };
enum { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_UDP_L4 = 5, GSO_ECN = 0x80 };
enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_URG = 32, TCP_ECE = 64, TCP_CWR = 128 };

/* struct virtio_net_hdr, whose fields are in the machine's order. */
typedef struct vnet_header {
    u8 flags, gso_type;
    u16 hdr_len, gso_size, csum_start, csum_offset;
} vnet_header;

/* A packet to be cut: `next_segment` gives one segment after the other. */
typedef struct cutter {
    const u8 *packet;
    u32 length, header, transport, offset, size, number;
    int version, is_tcp;
    u16 id;
    u32 sequence;
    u8 flags;
    u64 pseudo; /* sum of the addresses (those that count: a routing header hides the last one) and the protocol */
    u8 head[LONGEST_HEADER];
} cutter;

/* Fills in a checksum that Linux left to us. 0, or -1 if the header's offsets are not within the packet. */
int finish_checksum(u8 *packet, u32 length, const vnet_header *vnet);

/* Checks a super-packet and prepares to cut it. 0, or -1 if it cannot be one. */
int cutter_start(cutter *c, const u8 *packet, u32 length, const vnet_header *vnet);

/* The next segment: its header in `head`, its body at *body with *body_length bytes. 0 when there is none left. */
int next_segment(cutter *c, const u8 **body, u32 *body_length);

#endif
