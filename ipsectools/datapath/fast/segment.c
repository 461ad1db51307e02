#include "segment.h"

int finish_checksum(u8 *packet, u32 length, const vnet_header *vnet)
{
    u32 at = (u32)vnet->csum_start + vnet->csum_offset;
    if (vnet->csum_start >= length || at + 2 > length)
        return -1;
    put_checksum(packet + at, sum_bytes(packet + vnet->csum_start, length - vnet->csum_start, 0));
    if (packet[at] == 0 && packet[at + 1] == 0)
        packet[at] = packet[at + 1] =
            0xff; /* the other zero: Linux writes it whatever the protocol, since UDP needs it */
    return 0;
}

int cutter_start(cutter *c, const u8 *packet, u32 length, const vnet_header *vnet)
{
    int type = vnet->gso_type & ~GSO_ECN;
    u32 transport = vnet->csum_start, header;
    if (length < 20 || !vnet->gso_size || !(vnet->flags & VNET_NEEDS_CSUM))
        return -1;
    c->version = packet[0] >> 4;
    if (c->version == 4) {
        if (transport != (u32)(packet[0] & 15) * 4 || transport < 20 || type == GSO_TCPV6)
            return -1;
    } else if (c->version == 6) {
        if (transport < 40 || type == GSO_TCPV4)
            return -1;
    } else {
        return -1;
    }
    c->is_tcp = type == GSO_TCPV4 || type == GSO_TCPV6;
    if (c->is_tcp) {
        if (transport + 20 > length || vnet->csum_offset != 16)
            return -1;
        header = transport + (u32)(packet[transport + 12] >> 4) * 4;
        if (header < transport + 20)
            return -1;
    } else if (type == GSO_UDP_L4) {
        if (vnet->csum_offset != 6)
            return -1;
        header = transport + 8;
    } else {
        return -1;
    }
    if (header > LONGEST_HEADER || header >= length || length > LONGEST)
        return -1;
    c->packet = packet;
    c->length = length;
    c->header = header;
    c->transport = transport;
    c->offset = header;
    c->size = vnet->gso_size;
    c->number = 0;
    memcpy(c->head, packet, header);
    if (c->is_tcp) {
        c->sequence = get32(packet + transport + 4);
        c->flags = packet[transport + 13];
    }
    c->id = get16(packet + 4);
    u16 whole; /* Linux left the pseudo header's sum for the whole in the place of the checksum: less its length */
    memcpy(&whole, packet + transport + vnet->csum_offset, 2);
    c->pseudo = (u64)whole + (u16)~in_memory((u16)(length - transport));
    return 0;
}

int next_segment(cutter *c, const u8 **body, u32 *body_length)
{
    if (c->offset >= c->length)
        return 0;
    u8 *h = c->head, *t = h + c->transport;
    u32 left = c->length - c->offset, n = left < c->size ? left : c->size, upper = c->header - c->transport + n;
    int last = n == left;
    if (c->version == 4) {
        put16(h + 2, c->header + n);
        put16(h + 4, (u16)(c->id + c->number));
        h[10] = h[11] = 0;
        put_checksum(h + 10, sum_bytes(h, c->transport, 0));
    } else {
        put16(h + 4, c->header + n - 40);
    }
    u64 total = c->pseudo + in_memory((u16)upper);
    if (c->is_tcp) {
        put32(t + 4, c->sequence + c->offset - c->header);
        u8 flags = c->flags;
        if (!last)
            flags &= (u8) ~(TCP_FIN | TCP_PSH);
        if (c->number)
            flags &= (u8)~TCP_CWR;
        t[13] = flags;
        t[16] = t[17] = 0;
        total = sum_bytes(t, c->header - c->transport, total);
        put_checksum(t + 16, sum_bytes(c->packet + c->offset, n, total));
    } else {
        put16(t + 4, upper);
        t[6] = t[7] = 0;
        total = sum_bytes(t, 8, total);
        put_checksum(t + 6, sum_bytes(c->packet + c->offset, n, total));
        if (!t[6] && !t[7])
            t[6] = t[7] = 0xff;
    }
    *body = c->packet + c->offset;
    *body_length = n;
    c->offset += n;
    c->number++;
    return 1;
}
