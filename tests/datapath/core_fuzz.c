/* core_fuzz SEED ROUNDS: two cores, without Python, between which a hostile wire lies; built with sanitizers.
 *
 * Every inner packet, virtio_net_hdr and outer packet may be anything; most outer packets were sealed by the other
 * core. After each round the books of both have to balance: what came in went on, or has a named reason. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

enum { WIRE = 256, SPI = 0x1234, INDEX = 7 };

typedef struct host {
    core *core;
    traffic *out, *in;
    struct host *peer;
    uint8_t *wire[WIRE]; /* sealed for the peer */
    size_t length[WIRE];
    int held;
    uint64_t delivered, injected;
} host;

static uint64_t state;
static int mode, natt, reads_whole;

static uint32_t any(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static void require(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "core_fuzz: %s\n", what);
    abort();
}

static void on_event(void *owner, int kind, uint64_t ident, uint64_t id, uint64_t value)
{
    (void)owner, (void)ident, (void)id, (void)value;
    require(kind >= EVENT_ACQUIRE && kind <= EVENT_REFUSED, "no such event");
}

static int on_too_big(void *owner, const core_sealed *packet, int min_pmtu, core_path *path)
{
    (void)owner, (void)min_pmtu;
    require(packet->df && packet->quote_length <= packet->inner, "asked about a packet without DF");
    path->mtu = any(2000);
    path->remember = any(3);
    path->df = any(2) != 0;
    path->doubt = any(2) != 0;
    return (int)any(3);
}

static int on_inject(void *owner, const uint8_t *packet, uint32_t length, uint32_t link)
{
    host *h = owner;
    (void)link;
    require(length >= 20 && packet[0] >> 4 >= 4, "no IP packet for the host");
    h->injected++;
    return 0;
}

static void on_send(void *owner, const core_sealed *packets, uint32_t count, int *errors)
{
    host *h = owner;
    for (uint32_t n = 0; n < count; n++) {
        errors[n] = any(20) ? 0 : (int)any(120);
        if (errors[n] || h->held == WIRE)
            continue;
        h->wire[h->held] = malloc(packets[n].length);
        memcpy(h->wire[h->held], packets[n].data, packets[n].length);
        h->length[h->held++] = packets[n].length;
    }
}

static int on_deliver(void *owner, int index, const uint8_t *vnet, const uint8_t *packet, uint32_t length)
{
    host *h = owner;
    uint32_t sum = 0;
    require(index == INDEX && length >= 20 && length <= CORE_LONGEST, "no packet for the device");
    for (uint32_t n = 0; n < length; n++)
        sum += packet[n];
    reads_whole += sum != 0;
    if (vnet[1]) {
        uint16_t fields[4];
        memcpy(fields, vnet + 2, sizeof fields);
        require(vnet[0] == 1 && fields[1] && (uint32_t)fields[2] + fields[3] + 2 <= length, "Linux would not take it");
    }
    h->delivered++;
    return 0;
}

static void set_tables(host *h, int index, int family, int enc, const uint8_t *key, size_t key_length, int auth,
                       size_t auth_length, int flags, uint64_t window)
{
    static const int reasons[] = {0, 0, 0, 0, 0, 0, 1};
    core_settings settings = {.esp_enable = any(20) != 0, .accept_unclaimed = any(2) != 0, .ttl = 64, .hlim = 64};
    settings.dfbit = (int)any(3);
    settings.min_pmtu = (int)any(1500);
    core_sa sa = {.spi = SPI, .family = family, .mode = mode, .enc = enc, .auth = auth, .flags = flags, .key = key};
    sa.key_length = key_length;
    sa.auth_key = key;
    sa.auth_key_length = auth_length;
    sa.window = window;
    sa.natt = natt;
    sa.sport = sa.dport = 4500;
    sa.src[0] = (uint8_t)(1 + index);
    sa.dst[0] = (uint8_t)(2 - index);
    sa.traffic = h->out;
    sa.blocked = reasons[any(7)];
    core_interface entry = {.index = INDEX, .fd = -1, .up = any(20) != 0, .running = any(20) != 0, .monitor = !any(20)};
    entry.family = any(20) ? family : 0;
    memcpy(entry.src, sa.src, 16);
    memcpy(entry.dst, sa.dst, 16);
    entry.outbound = any(20) ? &sa : NULL;
    core_set_settings(h->core, &settings);
    require(!core_set_interface(h->core, &entry), "no interface");
    core_sa in = sa;
    memcpy(in.src, sa.dst, 16);
    memcpy(in.dst, sa.src, 16);
    in.traffic = h->in;
    require(!core_set_inbound(h->core, &in, any(2) != 0 && h->delivered), "no SA");
    core_switch_set(h->core, CORE_COALESCE, any(5) != 0);
}

static size_t make_inner(uint8_t *packet)
{
    size_t length = any(10) ? any(1500) : any(65536);
    for (size_t n = 0; n < length; n += 1 + any(64))
        packet[n] = (uint8_t)any(256);
    if (length > 60 && any(10)) {
        int six = any(2) != 0, tcp = any(2) != 0;
        memset(packet, 0, 60);
        packet[0] = six ? 0x60 : 0x45;
        packet[six ? 4 : 2] = (uint8_t)((length - (six ? 40 : 0)) >> 8);
        packet[six ? 5 : 3] = (uint8_t)(length - (six ? 40 : 0));
        packet[six ? 6 : 9] = tcp ? 6 : 17;
        packet[six ? 52 : 32] = 0x50;
    }
    return length;
}

static void turn_out(host *h)
{
    enum { MOST = 40 };
    static uint8_t inner[MOST][CORE_LONGEST], header[MOST][CORE_VNET];
    core_packet packets[MOST];
    uint32_t count = 1 + any(MOST);
    for (uint32_t n = 0; n < count; n++) {
        packets[n].length = make_inner(inner[n]);
        packets[n].data = inner[n];
        packets[n].vnet = any(3) ? NULL : header[n];
        static const uint8_t kinds[] = {0, 1, 4, 5};
        int six = inner[n][0] >> 4 == 6;
        uint16_t fields[] = {60, (uint16_t)(500 + any(1000)), six ? 40 : 20, any(2) ? 16 : 6};
        if (!any(4))
            fields[any(4)] = (uint16_t)any(65536);
        if (fields[1] < 100 && packets[n].length > 2000)
            fields[1] = 100; /* a segment for each byte would take long */
        header[n][0] = 1;
        header[n][1] = any(10) ? kinds[any(4)] : (uint8_t)any(256);
        memcpy(header[n] + 2, fields, sizeof fields);
    }
    core_outbound(h->core, INDEX, packets, count);
}

static void turn_in(host *h, int family)
{
    core_arrival packets[WIRE];
    uint8_t address[16] = {0};
    host *from = h->peer;
    address[0] = (uint8_t)(h->peer->peer == h && h < from ? 1 : 2);
    for (int n = 0; n < from->held; n++) {
        uint8_t *data = from->wire[n];
        if (!any(8) && from->length[n])
            data[any((uint32_t)from->length[n])] ^= (uint8_t)(1 << any(8));
        if (!any(16))
            from->length[n] = any((uint32_t)from->length[n] + 1);
        packets[n] = (core_arrival){.dst = address, .data = data, .length = from->length[n], .family = family};
        packets[n].natt = any(16) ? natt : !natt;
        packets[n].sport = packets[n].dport = any(16) ? 4500 : 1;
    }
    core_inbound(h->core, packets, (size_t)from->held);
    if (from->held && !any(3))
        core_inbound(h->core, packets, (size_t)from->held); /* all of them again */
    for (int n = 0; n < from->held; n++)
        free(from->wire[n]);
    from->held = 0;
}

static void check_books(const host *h)
{
    core_counters c;
    uint64_t out = 0, in = 0;
    core_count(h->core, &c);
    for (int n = 1; core_drop_name(n); n++)
        *(strncmp(core_drop_name(n), "out", 3) ? &in : &out) += c.drops[n][0] + c.drops[n][1];
    require(c.taken == c.sent + out, "the way out does not balance");
    require(c.arrived == c.delivered + c.injected + in, "the way in does not balance");
    require(c.injected == h->injected && c.delivered >= h->delivered, "delivered without being counted");
}

/* Two hosts with one kind of SA between them, for some turns. Gives how many packets were delivered. */
static uint64_t play(void)
{
    static const struct {
        int enc, auth;
        size_t key, auth_key;
    } kinds[] = {{11, 0, 0, 0},  {11, 3, 0, 20}, {12, 5, 16, 32}, {12, 6, 24, 48}, {13, 7, 20, 64},
                 {15, 0, 36, 0}, {20, 0, 20, 0}, {20, 0, 36, 0},  {11, 251, 0, 0}, {12, 99, 16, 7}};
    static const int flags[] = {0, 0x100, 0x200, 0x400, 0x40, 0x500};
    static const uint64_t windows[] = {0, 8, 32, 64, 1024};
    static const core_hooks hooks = {on_event, on_too_big, on_inject, on_send, on_deliver};
    uint8_t key[64], oerrors[CORE_MOST_DROPS];
    host hosts[2] = {{.peer = &hosts[1]}, {.peer = &hosts[0]}};
    uint32_t kind = any(10);
    int family = any(2) ? 4 : 6;
    mode = any(4) ? 2 : (int)any(3);
    natt = any(3) == 0;
    memset(oerrors, 1, sizeof oerrors);
    for (size_t n = 0; n < sizeof key; n++)
        key[n] = (uint8_t)any(256);
    for (int n = 0; n < 2; n++) {
        hosts[n].core = core_new(1 + (int)any(2), 1, &hooks, &hosts[n], oerrors);
        hosts[n].out = traffic_new(NULL, NULL, 0);
        hosts[n].in = traffic_new(NULL, NULL, 0);
        require(hosts[n].core && hosts[n].out && hosts[n].in, "no memory");
        for (int field = TRAFFIC_SEQUENCE_LIMIT; field <= TRAFFIC_RECEIVED_LIMIT; field++) {
            traffic_set(hosts[n].out, (enum traffic_field)field, any(10) ? 1 << 20 : any(100));
            traffic_set(hosts[n].in, (enum traffic_field)field, any(10) ? 1 << 20 : any(100));
        }
        traffic_grant(hosts[n].out);
        traffic_grant(hosts[n].in);
    }
    int flag = flags[any(6)];
    uint64_t window = windows[any(5)];
    for (int turn = 0; turn < 12; turn++) {
        for (int n = 0; n < 2; n++) {
            if (!(turn % 4))
                set_tables(&hosts[n], n, family, kinds[kind].enc, key, kinds[kind].key, kinds[kind].auth,
                           kinds[kind].auth_key, flag, window);
            turn_out(&hosts[n]);
            turn_in(&hosts[n], family);
            check_books(&hosts[n]);
        }
        if (!any(8))
            core_remove_interface(hosts[0].core, INDEX);
        if (!any(8))
            core_remove_inbound(hosts[1].core, SPI);
    }
    for (int n = 0; n < 2; n++) {
        while (hosts[n].held)
            free(hosts[n].wire[--hosts[n].held]);
        core_free(hosts[n].core);
        traffic_free(hosts[n].out);
        traffic_free(hosts[n].in);
    }
    return hosts[0].delivered + hosts[1].delivered;
}

int main(int argc, char **argv)
{
    uint64_t delivered = 0;
    int rounds = argc > 2 ? atoi(argv[2]) : 20;
    state = 0x9e3779b97f4a7c15ull ^ (argc > 1 ? strtoull(argv[1], NULL, 10) : 1);
    for (int n = 0; n < rounds; n++)
        delivered += play();
    require(delivered > 0, "nothing was delivered at all");
    printf("%d rounds, %llu packets delivered\n", rounds, (unsigned long long)delivered);
    return 0;
}
