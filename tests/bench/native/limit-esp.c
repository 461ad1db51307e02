/* limit-esp: what batching alone allows over raw ESP. A measuring tool, not a product: one SA each way with a fixed
 * key, IPv4 only, no replay check, nothing validated.
 *
 *   limit-esp DEV LOCAL REMOTE SPI_OUT MTU [plain]
 *
 * TUN with virtio_net_hdr + TSO; super-packets are cut into MTU segments with checksums, each sealed with AES-128-GCM
 * (libcrypto EVP) into one slot of a batch, batches leave by sendmmsg on a connected raw socket; arrivals come by
 * recvmmsg, are opened, and TCP segments in a row are joined again into one write to the TUN. With "plain" the cipher
 * is left out: the limit of the I/O alone. Build: gcc -O3 -march=native -o limit-esp limit-esp.c -lcrypto
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

typedef uint8_t u8;
enum { BATCH = 64, SLOT = 2048, VNET = 10 };

static u8 tx_slots[BATCH * SLOT], rx_slots[BATCH * SLOT], super_in[70000], super_out[80000];
static struct mmsghdr tx_msgs[BATCH], rx_msgs[BATCH];
static struct iovec tx_iov[BATCH], rx_iov[BATCH];
static int tun, sock, queued, plain;
static uint32_t spi_out;
static uint64_t seq;
static EVP_CIPHER_CTX *enc, *dec;
static const u8 salt[4] = "salt";

/* ones' complement sum in memory order, folded to 16 bits */
static uint32_t sum(const u8 *b, int len, uint32_t carry)
{
    uint64_t acc = carry;
    for (; len >= 8; b += 8, len -= 8) {
        uint64_t x;
        memcpy(&x, b, 8);
        acc += x & 0xffffffff;
        acc += x >> 32;
    }
    for (; len >= 2; b += 2, len -= 2) {
        uint16_t x;
        memcpy(&x, b, 2);
        acc += x;
    }
    if (len)
        acc += *b;
    while (acc >> 16)
        acc = (acc & 0xffff) + (acc >> 16);
    return acc;
}
static void put16(u8 *p, uint16_t host)
{
    host = htons(host);
    memcpy(p, &host, 2);
}
static void put32(u8 *p, uint32_t host)
{
    host = htonl(host);
    memcpy(p, &host, 4);
}
static uint32_t get32(const u8 *p)
{
    uint32_t x;
    memcpy(&x, p, 4);
    return ntohl(x);
}
static uint32_t pseudo(const u8 *ip, int tcp_len)
{
    u8 tail[4] = {0, 6, tcp_len >> 8, tcp_len & 255};
    return sum(tail, 4, sum(ip + 12, 8, 0));
}

static void flush_tx(void)
{
    for (int done = 0; done < queued;) {
        int k = sendmmsg(sock, tx_msgs + done, queued - done, 0);
        if (k > 0) {
            done += k;
            continue;
        }
        if (errno != EAGAIN)
            break;
        struct pollfd p = {sock, POLLOUT, 0};
        poll(&p, 1, 10);
    }
    queued = 0;
}

static void seal(const u8 *head, int head_len, const u8 *body, int body_len)
{
    u8 *out = tx_slots + queued * SLOT, *text = out + 16;
    int len = head_len + body_len, pad = -(len + 2) & 3, moved;
    seq++;
    put32(out, spi_out);
    put32(out + 4, seq);
    put32(out + 8, seq >> 32);
    put32(out + 12, seq);
    memcpy(text, head, head_len);
    memcpy(text + head_len, body, body_len);
    for (int i = 0; i < pad; i++)
        text[len + i] = i + 1;
    text[len + pad] = pad;
    text[len + pad + 1] = 4;
    len += pad + 2;
    if (!plain) {
        u8 nonce[12];
        memcpy(nonce, salt, 4);
        memcpy(nonce + 4, out + 8, 8);
        EVP_EncryptInit_ex(enc, 0, 0, 0, nonce);
        EVP_EncryptUpdate(enc, 0, &moved, out, 8);
        EVP_EncryptUpdate(enc, text, &moved, text, len);
        EVP_EncryptFinal_ex(enc, text + len, &moved);
        EVP_CIPHER_CTX_ctrl(enc, EVP_CTRL_AEAD_GET_TAG, 16, text + len);
    }
    tx_iov[queued++].iov_len = 16 + len + 16;
    if (queued == BATCH)
        flush_tx();
}

static void from_tun(void)
{
    for (int turn = 0; turn < 8; turn++) {
        int len = read(tun, super_in, sizeof super_in);
        if (len <= 0)
            break;
        struct virtio_net_hdr *v = (void *)super_in;
        u8 *ip = super_in + VNET;
        len -= VNET;
        if (v->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
            if (v->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
                uint16_t c = ~sum(ip + v->csum_start, len - v->csum_start, 0);
                memcpy(ip + v->csum_start + v->csum_offset, &c, 2);
            }
            seal(ip, 0, ip, len);
            continue;
        }
        int ihl = (ip[0] & 15) * 4, hdr = ihl + (ip[ihl + 12] >> 4) * 4, body = len - hdr, mss = v->gso_size;
        u8 h[128];
        memcpy(h, ip, hdr);
        uint32_t tcp_seq = get32(h + ihl + 4);
        uint16_t id = ip[4] << 8 | ip[5], c;
        u8 flags = h[ihl + 13];
        for (int off = 0; off < body; off += mss) {
            int n = body - off < mss ? body - off : mss;
            put16(h + 2, hdr + n);
            put16(h + 4, id++);
            put16(h + 10, 0);
            c = ~sum(h, ihl, 0);
            memcpy(h + 10, &c, 2);
            put32(h + ihl + 4, tcp_seq);
            tcp_seq += n;
            h[ihl + 13] = off + n >= body ? flags : flags & ~9; /* FIN, PSH only on the last */
            put16(h + ihl + 16, 0);
            c = ~sum(ip + hdr + off, n, sum(h + ihl, hdr - ihl, pseudo(h, hdr - ihl + n)));
            memcpy(h + ihl + 16, &c, 2);
            seal(h, hdr, ip + hdr + off, n);
        }
    }
    if (queued)
        flush_tx();
}

static int held, held_len, held_mss, held_hdr, open_;
static uint32_t held_next;
static void flush_rx(void)
{
    if (!held)
        return;
    struct virtio_net_hdr *v = (void *)super_out;
    u8 *ip = super_out + VNET;
    memset(v, 0, VNET);
    if (held_len > held_hdr + held_mss) {
        uint16_t c;
        put16(ip + 2, held_len);
        put16(ip + 10, 0);
        c = ~sum(ip, 20, 0);
        memcpy(ip + 10, &c, 2);
        c = pseudo(ip, held_len - 20);
        memcpy(ip + 36, &c, 2);
        v->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        v->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
        v->hdr_len = held_hdr;
        v->gso_size = held_mss;
        v->csum_start = 20;
        v->csum_offset = 16;
    }
    if (write(tun, super_out, held_len + VNET) < 0) { /* counted by nobody here */
    }
    held = 0;
}

static void from_net(void)
{
    for (int turn = 0; turn < 4; turn++) {
        int k = recvmmsg(sock, rx_msgs, BATCH, MSG_DONTWAIT, 0);
        if (k <= 0)
            return;
        for (int i = 0; i < k; i++) {
            u8 *esp = rx_slots + i * SLOT + 20, *ip = esp + 16;
            int len = (int)rx_msgs[i].msg_len - 20 - 32, moved;
            if (len < 2)
                continue;
            if (!plain) {
                u8 nonce[12];
                memcpy(nonce, salt, 4);
                memcpy(nonce + 4, esp + 8, 8);
                EVP_DecryptInit_ex(dec, 0, 0, 0, nonce);
                EVP_DecryptUpdate(dec, 0, &moved, esp, 8);
                EVP_DecryptUpdate(dec, ip, &moved, ip, len);
                EVP_CIPHER_CTX_ctrl(dec, EVP_CTRL_AEAD_SET_TAG, 16, ip + len);
                if (EVP_DecryptFinal_ex(dec, ip + len, &moved) <= 0)
                    continue;
            }
            int inner = len - 2 - ip[len - 2];
            if (ip[0] != 0x45 || ip[9] != 6) {
                u8 t[SLOT + VNET];
                flush_rx();
                memset(t, 0, VNET);
                memcpy(t + VNET, ip, inner);
                if (write(tun, t, inner + VNET) < 0) {
                }
                continue;
            }
            int hdr = 20 + (ip[32] >> 4) * 4, body = inner - hdr;
            uint32_t s = get32(ip + 24);
            int good = sum(ip + 20, inner - 20, pseudo(ip, inner - 20)) == 0xffff;
            u8 *h = super_out + VNET;
            if (good && held && open_ && body > 0 && body <= held_mss && s == held_next && hdr == held_hdr &&
                held_len + body < 65000 && !memcmp(ip + 12, h + 12, 12) && !memcmp(ip + 28, h + 28, 4) &&
                !memcmp(ip + 40, h + 40, hdr - 40)) {
                memcpy(h + held_len, ip + hdr, body);
                held_len += body;
                held_next += body;
                if (body < held_mss || ip[33] & 8)
                    open_ = 0;
                h[33] |= ip[33] & 8;
                continue;
            }
            flush_rx();
            memcpy(h, ip, inner);
            held = 1;
            held_len = inner;
            held_hdr = hdr;
            held_mss = body;
            held_next = s + body;
            open_ = good && body > 0 && !(ip[33] & 0x2f);
        }
        flush_rx();
        if (k < BATCH)
            return;
    }
}

int main(int argc, char **argv)
{
    if (argc < 6)
        return 2;
    plain = argc > 6;
    tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq ifr = {0};
    strncpy(ifr.ifr_name, argv[1], IFNAMSIZ - 1);
    ifr.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
    if (tun < 0 || ioctl(tun, TUNSETIFF, &ifr) || ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)) {
        perror("tun");
        return 1;
    }
    ifr.ifr_mtu = atoi(argv[5]);
    if (ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFMTU, &ifr)) {
        perror("mtu");
        return 1;
    }
    sock = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_ESP);
    struct sockaddr_in l = {AF_INET}, r = {AF_INET};
    inet_pton(AF_INET, argv[2], &l.sin_addr);
    inet_pton(AF_INET, argv[3], &r.sin_addr);
    int size = 8 << 20;
    if (sock < 0 || bind(sock, (void *)&l, sizeof l) || connect(sock, (void *)&r, sizeof r)) {
        perror("socket");
        return 1;
    }
    setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &size, 4);
    setsockopt(sock, SOL_SOCKET, SO_SNDBUFFORCE, &size, 4);
    spi_out = atoi(argv[4]);
    for (int i = 0; i < BATCH; i++) {
        tx_iov[i].iov_base = tx_slots + i * SLOT;
        tx_msgs[i].msg_hdr.msg_iov = tx_iov + i;
        tx_msgs[i].msg_hdr.msg_iovlen = 1;
        rx_iov[i].iov_base = rx_slots + i * SLOT;
        rx_iov[i].iov_len = SLOT;
        rx_msgs[i].msg_hdr.msg_iov = rx_iov + i;
        rx_msgs[i].msg_hdr.msg_iovlen = 1;
    }
    enc = EVP_CIPHER_CTX_new();
    dec = EVP_CIPHER_CTX_new();
    const u8 *key = (const u8 *)"0123456789abcdef";
    EVP_EncryptInit_ex(enc, EVP_aes_128_gcm(), 0, key, 0);
    EVP_DecryptInit_ex(dec, EVP_aes_128_gcm(), 0, key, 0);
    for (;;) {
        struct pollfd p[2] = {{tun, POLLIN}, {sock, POLLIN}};
        poll(p, 2, -1);
        if (p[0].revents)
            from_tun();
        if (p[1].revents)
            from_net();
    }
}
