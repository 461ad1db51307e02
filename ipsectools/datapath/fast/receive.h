/* Packets from the sockets, many at a time. Each gives how many arrivals there were, negative for none. */
#ifndef IPSECTOOLS_RECEIVE_H
#define IPSECTOOLS_RECEIVE_H

#include "engine.h"

int drain_raw4(worker *w, int fd);
int drain_raw6(worker *w, int fd);
int drain_udp(worker *w, int fd);

#endif
