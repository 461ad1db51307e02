/* The drop reasons of esp/drops.py, by number. */
#ifndef IPSECTOOLS_DROPS_H
#define IPSECTOOLS_DROPS_H

#include "core.h"

/* X(constant, name): the names are those of esp/drops.py, the order is ours. */
#define DROPS(X)                                          \
    X(OUT_NO_INTERFACE, "out-no-interface")               \
    X(OUT_INTERFACE_DOWN, "out-interface-down")           \
    X(OUT_NOT_RUNNING, "out-not-running")                 \
    X(OUT_MONITOR, "out-monitor")                         \
    X(OUT_NO_TUNNEL, "out-no-tunnel")                     \
    X(OUT_MALFORMED, "out-malformed")                     \
    X(OUT_LOOP, "out-loop")                               \
    X(OUT_NO_SA, "out-no-sa")                             \
    X(OUT_ESP_DISABLED, "out-esp-disabled")               \
    X(OUT_NO_TRANSFORM, "out-no-transform")               \
    X(OUT_TOO_BIG, "out-too-big")                         \
    X(OUT_SEQUENCE_EXHAUSTED, "out-sequence-exhausted")   \
    X(OUT_SEQUENCE_UNRESERVED, "out-sequence-unreserved") \
    X(OUT_LEDGER, "out-ledger-unavailable")               \
    X(OUT_CRYPTO, "out-crypto")                           \
    X(OUT_ADDRESS, "out-address")                         \
    X(OUT_MTU, "out-mtu")                                 \
    X(OUT_FRAGMENTATION, "out-fragmentation-needed")      \
    X(OUT_NO_ROUTE, "out-no-route")                       \
    X(OUT_WIRE_FULL, "out-wire-full")                     \
    X(OUT_WIRE_ERROR, "out-wire-error")                   \
    X(IN_NATT_SHORT, "in-natt-short")                     \
    X(IN_NATT_KEEPALIVE, "in-natt-keepalive")             \
    X(IN_NON_ESP_MARKER, "in-non-esp-marker")             \
    X(IN_NATT_NO_SA, "in-natt-no-sa")                     \
    X(IN_NATT_PORTS, "in-natt-ports")                     \
    X(IN_ESP_DISABLED, "in-esp-disabled")                 \
    X(IN_SHORT, "in-short")                               \
    X(IN_UNKNOWN_SPI, "in-unknown-spi")                   \
    X(IN_NO_TRANSFORM, "in-no-transform")                 \
    X(IN_LENGTH, "in-length")                             \
    X(IN_REPLAY, "in-replay")                             \
    X(IN_WRAP, "in-wrap")                                 \
    X(IN_CRYPTO, "in-crypto")                             \
    X(IN_ICV, "in-icv")                                   \
    X(IN_WINDOW_UNRESERVED, "in-window-unreserved")       \
    X(IN_LATE_REPLAY, "in-late-replay")                   \
    X(IN_PAD_LENGTH, "in-pad-length")                     \
    X(IN_PADDING, "in-padding")                           \
    X(IN_DUMMY, "in-dummy")                               \
    X(IN_INNER_SHORT, "in-inner-short")                   \
    X(IN_NEXT_HEADER, "in-next-header")                   \
    X(IN_TRANSPORT, "in-transport")                       \
    X(IN_NO_INTERFACE, "in-no-interface")                 \
    X(IN_HOST_REFUSED, "in-host-refused")                 \
    X(IN_INTERFACE_DOWN, "in-interface-down")             \
    X(IN_MONITOR, "in-monitor")                           \
    X(IN_INNER_VERSION, "in-inner-version")               \
    X(IN_TUN_FULL, "in-tun-full")                         \
    X(IN_TUN_ERROR, "in-tun-error")

#define X_CONSTANT(constant, name) DROP_##constant,
enum drop { PASSED = 0, DROPS(X_CONSTANT) DROP_COUNT };
#undef X_CONSTANT

_Static_assert((int)DROP_COUNT <= (int)CORE_MOST_DROPS, "core_counters has too little room");

#endif
