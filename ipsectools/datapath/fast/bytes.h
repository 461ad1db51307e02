/* Bytes of the wire: big-endian numbers and the Internet checksum (RFC 1071). */
#ifndef IPSECTOOLS_BYTES_H
#define IPSECTOOLS_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

static inline u16 get16(const u8 *p) { return (u16)(p[0] << 8 | p[1]); }
static inline u32 get32(const u8 *p) { return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]; }
static inline void put16(u8 *p, u32 v)
{
    p[0] = (u8)(v >> 8);
    p[1] = (u8)v;
}
static inline void put32(u8 *p, u32 v)
{
    p[0] = (u8)(v >> 24);
    p[1] = (u8)(v >> 16);
    p[2] = (u8)(v >> 8);
    p[3] = (u8)v;
}
static inline void put64(u8 *p, u64 v)
{
    put32(p, (u32)(v >> 32));
    put32(p + 4, (u32)v);
}

/* The sum of 32-bit words, in memory order (the checksum does not mind, RFC 1071 section 2) and unfolded, like all sums
 * here. */
u64 sum_words(const u8 *p, size_t words);

static inline u64 sum_bytes(const u8 *p, size_t length, u64 total)
{
    size_t words = length >> 2;
    u16 half = 0;
    if (words < 16) {
        for (size_t i = 0; i < words; i++) {
            u32 word;
            memcpy(&word, p + 4 * i, 4);
            total += word;
        }
    } else {
        total += sum_words(p, words);
    }
    p += words * 4;
    if (length & 2) {
        memcpy(&half, p, 2);
        total += half;
        p += 2;
        half = 0;
    }
    if (length & 1) {
        memcpy(&half, p, 1);
        total += half;
    }
    return total;
}

static inline u16 fold(u64 total)
{
    total = (total >> 32) + (total & 0xffffffff);
    total = (total >> 32) + (total & 0xffffffff);
    total = (total >> 16) + (total & 0xffff);
    total = (total >> 16) + (total & 0xffff);
    return (u16)((total >> 16) + (total & 0xffff));
}

/* A big-endian 16-bit number as it counts in a memory-order sum. */
static inline u16 in_memory(u16 value)
{
    u8 bytes[2] = {(u8)(value >> 8), (u8)value};
    u16 out;
    memcpy(&out, bytes, 2);
    return out;
}

static inline void put_checksum(u8 *at, u64 total)
{
    u16 value = (u16)~fold(total);
    memcpy(at, &value, 2);
}

/* The pseudo header of an IPv4 or IPv6 packet (version in its first byte) for `length` bytes of `protocol`. */
static inline u64 sum_pseudo(const u8 *ip, u8 protocol, u32 length)
{
    u64 total = ip[0] >> 4 == 4 ? sum_bytes(ip + 12, 8, 0) : sum_bytes(ip + 8, 32, 0);
    return total + in_memory(protocol) + in_memory((u16)(length >> 16)) + in_memory((u16)length);
}

#endif
