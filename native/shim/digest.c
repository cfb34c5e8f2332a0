#include "digest.h"

#include <string.h>

#define BLOCK SHIM_DIGEST_BYTES

/* RFC 1319's permutation, made of the digits of pi. */
static const uint8_t pi_table[256] = {
    41,  46,  67,  201, 162, 216, 124, 1,   61,  54,  84,  161, 236, 240, 6,   19,  98,  167, 5,
    243, 192, 199, 115, 140, 152, 147, 43,  217, 188, 76,  130, 202, 30,  155, 87,  60,  253, 212,
    224, 22,  103, 66,  111, 24,  138, 23,  229, 18,  190, 78,  196, 214, 218, 158, 222, 73,  160,
    251, 245, 142, 187, 47,  238, 122, 169, 104, 121, 145, 21,  178, 7,   63,  148, 194, 16,  137,
    11,  34,  95,  33,  128, 127, 93,  154, 90,  144, 50,  39,  53,  62,  204, 231, 191, 247, 151,
    3,   255, 25,  48,  179, 72,  165, 181, 209, 215, 94,  146, 42,  172, 86,  170, 198, 79,  184,
    56,  210, 150, 164, 125, 182, 118, 252, 107, 226, 156, 116, 4,   241, 69,  157, 112, 89,  100,
    113, 135, 32,  134, 91,  207, 101, 230, 45,  168, 2,   27,  96,  37,  173, 174, 176, 185, 246,
    28,  70,  97,  105, 52,  64,  126, 15,  85,  71,  163, 35,  221, 81,  175, 58,  195, 92,  249,
    206, 186, 197, 234, 38,  44,  83,  13,  110, 133, 40,  132, 9,   211, 223, 205, 244, 65,  129,
    77,  82,  106, 220, 55,  200, 108, 193, 171, 250, 36,  225, 123, 8,   12,  189, 177, 74,  120,
    136, 149, 139, 227, 99,  232, 109, 233, 203, 213, 254, 59,  0,   29,  57,  242, 239, 183, 14,
    102, 88,  208, 228, 166, 119, 114, 248, 235, 117, 75,  10,  49,  68,  80,  180, 143, 237, 31,
    26,  219, 153, 141, 51,  159, 17,  131, 20,
};

static void compress(struct shim_md2 *md2, const uint8_t *block)
{
    uint8_t x[3 * BLOCK];
    for (size_t i = 0; i < BLOCK; i++) {
        x[i] = md2->state[i];
        x[BLOCK + i] = block[i];
        x[2 * BLOCK + i] = md2->state[i] ^ block[i];
    }
    uint8_t t = 0;
    for (unsigned int round = 0; round < 18; round++) {
        for (size_t i = 0; i < sizeof x; i++)
            t = x[i] ^= pi_table[t];
        t = (uint8_t)(t + round);
    }
    memcpy(md2->state, x, BLOCK);
}

static void take_block(struct shim_md2 *md2)
{
    uint8_t last = md2->checksum[BLOCK - 1];
    for (size_t i = 0; i < BLOCK; i++)
        last = md2->checksum[i] ^= pi_table[md2->block[i] ^ last];
    compress(md2, md2->block);
    md2->filled = 0;
}

void shim_md2_start(struct shim_md2 *md2) { memset(md2, 0, sizeof *md2); }

void shim_md2_add(struct shim_md2 *md2, const void *bytes, size_t count)
{
    const uint8_t *source = bytes;
    for (size_t i = 0; i < count; i++) {
        md2->block[md2->filled++] = source[i];
        if (md2->filled == BLOCK)
            take_block(md2);
    }
}

void shim_md2_end(struct shim_md2 *md2, uint8_t digest[BLOCK])
{
    uint8_t padding = (uint8_t)(BLOCK - md2->filled);
    memset(md2->block + md2->filled, padding, padding);
    take_block(md2);
    compress(md2, md2->checksum);
    memcpy(digest, md2->state, BLOCK);
}

void shim_hmac_start(struct shim_hmac *hmac, const uint8_t key[BLOCK])
{
    uint8_t inner_pad[BLOCK];
    for (size_t i = 0; i < BLOCK; i++) {
        inner_pad[i] = key[i] ^ 0x36;
        hmac->outer_pad[i] = key[i] ^ 0x5c;
    }
    shim_md2_start(&hmac->inner);
    shim_md2_add(&hmac->inner, inner_pad, BLOCK);
}

void shim_hmac_add(struct shim_hmac *hmac, const void *bytes, size_t count)
{
    shim_md2_add(&hmac->inner, bytes, count);
}

void shim_hmac_end(struct shim_hmac *hmac, uint8_t digest[BLOCK])
{
    uint8_t inner[BLOCK];
    shim_md2_end(&hmac->inner, inner);
    struct shim_md2 outer;
    shim_md2_start(&outer);
    shim_md2_add(&outer, hmac->outer_pad, BLOCK);
    shim_md2_add(&outer, inner, BLOCK);
    shim_md2_end(&outer, digest);
}
