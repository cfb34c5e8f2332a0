/* The codec's helpers: readers never read beyond, SHA-256 is SHA-256. */
#include "check.h"
#include "wire/message.h"
#include "wire/sha256.h"

static void test_sha256(void)
{
    static const struct {
        const char *text, *digest;
    } vectors[] = {
        /* FIPS 180-2, appendix B */
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        uint8_t digest[TALLY_SHA256_BYTES];
        char hex[2 * sizeof digest + 1];
        tally_sha256(vectors[i].text, strlen(vectors[i].text), digest);
        for (size_t j = 0; j < sizeof digest; j++)
            snprintf(hex + 2 * j, 3, "%02x", digest[j]);
        CHECK(strcmp(hex, vectors[i].digest) == 0);
    }
}

/* However the bytes are cut, the digest is the same: all lengths around the block size. */
static void test_sha256_pieces(void)
{
    uint8_t data[300], whole[TALLY_SHA256_BYTES], pieces[TALLY_SHA256_BYTES];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    for (size_t bytes = 0; bytes <= sizeof data; bytes++)
        for (size_t cut = 0; cut <= bytes; cut += 13) {
            struct tally_sha256 sha;
            tally_sha256(data, bytes, whole);
            tally_sha256_init(&sha);
            tally_sha256_update(&sha, data, cut);
            tally_sha256_update(&sha, data + cut, bytes - cut);
            tally_sha256_final(&sha, pieces);
            CHECK(memcmp(whole, pieces, sizeof whole) == 0);
        }
}

static void test_reader(void)
{
    const uint8_t bytes[5] = {1, 2, 3, 4, 5};
    struct tally_reader reader = tally_reader_of(bytes, sizeof bytes);
    uint32_t word = 0;
    CHECK(tally_reader_copy(&reader, &word, sizeof word) && word == 0x04030201);
    CHECK(!tally_reader_end(&reader));
    CHECK(!tally_reader_copy(&reader, &word, sizeof word) && word == 0 && reader.bad);
    CHECK(!tally_reader_take(&reader, 1)); /* bad stays bad */
    CHECK(!tally_reader_end(&reader));
    reader = tally_reader_of(bytes, sizeof bytes);
    CHECK(!tally_reader_take(&reader, SIZE_MAX));
}

static void test_headers(void)
{
    struct tally_op_stream sent = {.op = {.code = TALLY_OP_STREAM_SYNC, .bytes = sizeof sent},
                                   .stream = 7};
    struct tally_op_stream got;
    struct tally_op op;
    CHECK(tally_op_read(&sent, sizeof sent, &op) && op.code == TALLY_OP_STREAM_SYNC);
    CHECK(!tally_op_read(&sent, sizeof sent - 1, &op));
    CHECK(!tally_op_read(&sent, 3, &op));
    CHECK(tally_op_split(&sent, sizeof sent, &got, sizeof got, NULL) && got.stream == 7);
    CHECK(!tally_op_split(&sent, sizeof sent - 1, &got, sizeof got, NULL));
    sent.op.flags = 1;
    CHECK(!tally_op_read(&sent, sizeof sent, &op));
    struct tally_reply reply = {.bytes = sizeof reply, .kind = TALLY_REPLY_STDERR + 1};
    CHECK(!tally_reply_read(&reply, sizeof reply, &reply));
}

int main(void)
{
    test_sha256();
    test_sha256_pieces();
    test_reader();
    test_headers();
    return CHECK_RESULT();
}
