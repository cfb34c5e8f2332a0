/* SHA-256 (FIPS 180-4), for naming module images. Not a hot path and no secret in sight. */
#ifndef TALLY_WIRE_SHA256_H
#define TALLY_WIRE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define TALLY_SHA256_BYTES 32

struct tally_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
};

void tally_sha256_init(struct tally_sha256 *sha);
void tally_sha256_update(struct tally_sha256 *sha, const void *data, size_t bytes);
void tally_sha256_final(struct tally_sha256 *sha, uint8_t digest[TALLY_SHA256_BYTES]);

void tally_sha256(const void *data, size_t bytes, uint8_t digest[TALLY_SHA256_BYTES]);

#endif
