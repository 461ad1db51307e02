#include "traffic.h"

#include <stdlib.h>

traffic *traffic_new(void *place, uint8_t *ring, uint64_t ring_length)
{
    traffic *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->at = place ? place : (t->own = calloc(1, sizeof *t->own));
    if (!t->at) {
        free(t);
        return NULL;
    }
    t->ring = ring;
    t->ring_length = ring_length;
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void traffic_free(traffic *t)
{
    if (!t)
        return;
    free(t->own);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

int traffic_leave(traffic *t)
{
    if (t->own)
        return 0;
    slot *own = calloc(1, sizeof *own);
    if (!own)
        return -1;
    pthread_mutex_lock(&t->lock);
    memcpy(own, t->at, sizeof *own);
    t->at = t->own = own;
    t->ring = NULL;
    t->ring_length = 0;
    pthread_mutex_unlock(&t->lock);
    return 0;
}

void traffic_grant(traffic *t)
{
    pthread_mutex_lock(&t->lock);
    t->granted_sequence = t->sequence_limit;
    t->granted_iv = t->iv_limit;
    t->granted_received = t->received_limit;
    pthread_mutex_unlock(&t->lock);
}

static u64 *field_of(traffic *t, enum traffic_field field)
{
    switch (field) {
    case TRAFFIC_SEQUENCE: return &t->at->sequence;
    case TRAFFIC_IV: return &t->at->iv;
    case TRAFFIC_RECEIVED_HIGH: return &t->at->received_high;
    case TRAFFIC_ADVANCING: return &t->at->advancing;
    case TRAFFIC_RECEIVED_FLOOR: return &t->at->received_floor;
    case TRAFFIC_PACKETS: return &t->at->packets;
    case TRAFFIC_BYTES: return &t->at->bytes;
    case TRAFFIC_FIRST_USED: return &t->at->first_used;
    case TRAFFIC_SEQUENCE_LIMIT: return &t->sequence_limit;
    case TRAFFIC_IV_LIMIT: return &t->iv_limit;
    default: return &t->received_limit;
    }
}

uint64_t traffic_get(const traffic *t, enum traffic_field field) { return *field_of((traffic *)t, field); }

void traffic_set(traffic *t, enum traffic_field field, uint64_t value)
{
    pthread_mutex_lock(&t->lock);
    u64 *at = field_of(t, field);
    if (field == TRAFFIC_RECEIVED_LIMIT && value < t->granted_received) {
        if (value < t->at->received_high)
            value = t->at->received_high;
        t->granted_received = value;
    }
    if (field >= TRAFFIC_SEQUENCE_LIMIT || value > *at)
        *at = value;
    pthread_mutex_unlock(&t->lock);
}
