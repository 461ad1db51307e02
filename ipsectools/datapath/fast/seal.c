#include "seal.h"

enum drop sa_may_send(const sa *a)
{
    const traffic *t = a->traffic;
    u64 last = a->esn ? UINT64_MAX : 0xffffffff;
    if (a->blocked)
        return (enum drop)a->blocked;
    if (t->at->sequence >= last || (a->counter_iv && t->at->iv == UINT64_MAX))
        return DROP_OUT_SEQUENCE_EXHAUSTED;
    if (t->at->sequence >= t->granted_sequence || (a->counter_iv && t->at->iv >= t->granted_iv))
        return DROP_OUT_SEQUENCE_UNRESERVED;
    return PASSED;
}

enum drop sa_seal(sa *a, random_pool *pool, const u8 *head, u32 head_length, const u8 *body, u32 body_length, u8 next,
                  u8 *esp)
{
    slot *at = a->traffic->at;
    u32 inner = head_length + body_length, padded = sa_sealed_length(a, inner) - 8 - (u32)a->iv_length - (u32)a->icv;
    u8 *iv = esp + 8, *text = iv + a->iv_length, *icv = text + padded, *pad = text + inner;
    u32 pad_length = padded - inner - 2, high;
    int moved = 0;

    u64 number = ++at->sequence;
    high = (u32)(number >> 32);
    put32(esp, a->spi);
    put32(esp + 4, (u32)number);
    if (a->counter_iv) {
        put64(iv, at->iv++);
    } else if (a->iv_length && random_take(pool, iv, 16)) {
        return DROP_OUT_CRYPTO;
    }
    memcpy(text, head, head_length);
    memcpy(text + head_length, body, body_length);
    switch (a->flags & FLAG_PMASK) {
    case FLAG_PRAND:
        if (random_take(pool, pad, pad_length))
            return DROP_OUT_CRYPTO;
        break;
    case FLAG_PZERO: memset(pad, 0, pad_length); break;
    default:
        for (u32 i = 0; i < pad_length; i++)
            pad[i] = (u8)(i + 1);
    }
    pad[pad_length] = (u8)pad_length;
    pad[pad_length + 1] = next;

    if (a->aead) {
        u8 aad[12];
        int aad_length = 8;
        memcpy(aad, esp, 4);
        if (a->esn) {
            put32(aad + 4, high);
            aad_length = 12;
        }
        put32(aad + aad_length - 4, (u32)number);
        if (!sa_start(a, iv) || EVP_EncryptUpdate(a->cipher, NULL, &moved, aad, aad_length) != 1 ||
            EVP_EncryptUpdate(a->cipher, text, &moved, text, (int)padded) != 1 ||
            EVP_EncryptFinal_ex(a->cipher, text + moved, &moved) != 1 ||
            EVP_CIPHER_CTX_ctrl(a->cipher, EVP_CTRL_AEAD_GET_TAG, 16, icv) != 1)
            return DROP_OUT_CRYPTO;
        return PASSED;
    }
    if (a->cipher && (!sa_start(a, iv) || EVP_EncryptUpdate(a->cipher, text, &moved, text, (int)padded) != 1))
        return DROP_OUT_CRYPTO;
    if (a->auth == AUTH_NULL)
        memset(icv, 0, 12);
    else if (a->auth)
        sa_icv(a, esp, (size_t)(icv - esp), high, icv);
    return PASSED;
}
