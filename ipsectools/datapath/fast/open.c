#include "open.h"

#include <openssl/crypto.h>

enum drop sa_check(sa *a, const u8 *esp, u32 length, u32 *high)
{
    u32 overhead = 8 + (u32)a->iv_length + (u32)a->icv;
    *high = 0;
    if (!a->ready && sa_prepare(a))
        return DROP_IN_NO_TRANSFORM;
    if (length % 4 || length <= overhead || (length - overhead) % (u32)a->block)
        return DROP_IN_LENGTH;
    if (a->window && (a->aead || a->auth)) {
        int64_t checked = replay_check(&a->window_state, get32(esp + 4));
        if (checked < 0)
            return checked == REPLAY_WRAPPED ? DROP_IN_WRAP : DROP_IN_REPLAY;
        *high = (u32)checked;
    }
    return PASSED;
}

enum drop sa_open(sa *a, u8 *esp, u32 length, u32 high, core_counters *s)
{
    u32 size = length - 8 - (u32)a->iv_length - (u32)a->icv;
    u8 *iv = esp + 8, *text = iv + a->iv_length, *icv = text + size;
    int moved = 0, authentic = 1;
    s->ibytes += size;
    if (a->aead) {
        u8 aad[12];
        int aad_length = 8;
        memcpy(aad, esp, 4);
        if (a->esn && a->window) { /* FreeBSD knows no high half without a window */
            put32(aad + 4, high);
            aad_length = 12;
        }
        put32(aad + aad_length - 4, get32(esp + 4));
        if (!sa_start(a, iv) || EVP_CIPHER_CTX_ctrl(a->cipher, EVP_CTRL_AEAD_SET_TAG, 16, icv) != 1 ||
            EVP_DecryptUpdate(a->cipher, NULL, &moved, aad, aad_length) != 1)
            return DROP_IN_CRYPTO;
        authentic = EVP_DecryptUpdate(a->cipher, text, &moved, text, (int)size) == 1 &&
                    EVP_DecryptFinal_ex(a->cipher, text + size, &moved) == 1;
    } else if (a->auth) {
        u8 wanted[32] = {0};
        if (a->auth != AUTH_NULL)
            sa_icv(a, esp, (size_t)(icv - esp), high, wanted);
        authentic = CRYPTO_memcmp(wanted, icv, (size_t)a->icv) == 0;
    }
    s->encryption[a->enc]++;
    s->authentication[a->auth]++;
    if (!authentic)
        return DROP_IN_ICV;
    if (a->cipher && !a->aead) {
        if (!sa_start(a, iv) || EVP_DecryptUpdate(a->cipher, text, &moved, text, (int)size) != 1)
            return DROP_IN_CRYPTO;
    }
    return PASSED;
}

enum drop sa_commit(sa *a, u8 *esp, u32 length, core_counters *s, opened *o)
{
    u8 *text = esp + 8 + a->iv_length;
    u32 size = length - 8 - (u32)a->iv_length - (u32)a->icv;
    traffic *t = a->traffic;
    if (a->window) {
        int updated = replay_update(&a->window_state, get32(esp + 4), t->granted_received);
        if (updated)
            return updated == REPLAY_UNRESERVED ? DROP_IN_WINDOW_UNRESERVED : DROP_IN_LATE_REPLAY;
        t->at->sequence++;
    }
    s->middle++;
    if (size < 2 || (u32)text[size - 2] + 2 > size)
        return DROP_IN_PAD_LENGTH;
    u32 pad = text[size - 2];
    if ((a->flags & FLAG_PMASK) != FLAG_PRAND && pad && text[size - 3] != pad)
        return DROP_IN_PADDING;
    o->next = text[size - 1];
    if (o->next == NEXT_NONE)
        return DROP_IN_DUMMY;
    o->inner = text;
    o->length = size - 2 - pad;
    return PASSED;
}
