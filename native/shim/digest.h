/* The digest that libcudart asks for at start-up: HMAC (RFC 2104) over MD2 (RFC 1319). */
#ifndef TALLY_SHIM_DIGEST_H
#define TALLY_SHIM_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define SHIM_DIGEST_BYTES 16u

struct shim_md2 {
    uint8_t state[SHIM_DIGEST_BYTES];
    uint8_t checksum[SHIM_DIGEST_BYTES];
    uint8_t block[SHIM_DIGEST_BYTES];
    size_t filled; /* bytes of block */
};

void shim_md2_start(struct shim_md2 *md2); /* all zeroes */
void shim_md2_add(struct shim_md2 *md2, const void *bytes, size_t count);
void shim_md2_end(struct shim_md2 *md2, uint8_t digest[SHIM_DIGEST_BYTES]);

struct shim_hmac {
    struct shim_md2 inner;
    uint8_t outer_pad[SHIM_DIGEST_BYTES];
};

/* Key of exactly one block; MD2's block is as long as its digest. */
void shim_hmac_start(struct shim_hmac *hmac, const uint8_t key[SHIM_DIGEST_BYTES]);
void shim_hmac_add(struct shim_hmac *hmac, const void *bytes, size_t count);
void shim_hmac_end(struct shim_hmac *hmac, uint8_t digest[SHIM_DIGEST_BYTES]);

#endif
