/* A batch of sealed packets on its way to the sockets: raw ESP, or UDP, there in trains where the kernel takes them. */
#ifndef IPSECTOOLS_SEND_H
#define IPSECTOOLS_SEND_H

#include "engine.h"

#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
enum { UDP_HEADER = 8 };

/* Sends what is in the batch of the worker. */
void flush_out(worker *w);

#endif
