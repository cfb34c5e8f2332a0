/* Sizing of module images: the six shapes, and what is cut short or lies. */
#include "shim/image.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "wire/bundle.h"

struct fatbin {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t payload_bytes;
    uint8_t payload[64];
};

struct wrapper {
    uint32_t magic, version;
    const void *data;
    const void *more;
};

static struct fatbin sample(void)
{
    return (struct fatbin){
        .magic = 0xBA55ED50u, .version = 1, .header_bytes = 16, .payload_bytes = 64};
}

/* A wrapper of version 2: what is linked, and a list. */
static void test_bundle(void)
{
    struct fatbin linked = sample(), first = sample(), second = sample();
    linked.payload_bytes = 0;
    first.payload[0] = 1;
    second.payload[63] = 2;
    const void *list[] = {&first, &second, NULL};
    struct tally_fatbin_wrapper wrapper = {TALLY_FATBIN_WRAPPER_MAGIC, 2, &linked, list};
    struct shim_image image;
    CHECK(shim_image_find(&wrapper, &image) == CUDA_SUCCESS && image.owned);
    CHECK(tally_is_bundle(image.data, image.bytes) &&
          tally_bundle_count(image.data, image.bytes) == 3);
    size_t bytes;
    const uint8_t *at = tally_bundle_at(image.data, image.bytes, 2, &bytes);
    CHECK(at && bytes == 80 && (uintptr_t)at % 8 == 0 && memcmp(at, &second, 80) == 0);
    CHECK(tally_bundle_at(image.data, image.bytes, 0, &bytes) && bytes == 16);
    CHECK(!tally_bundle_at(image.data, image.bytes, 3, &bytes));
    for (size_t cut = 0; cut < image.bytes; cut++)
        CHECK(tally_bundle_count(image.data, cut) == 0);
    shim_image_drop(&image);
    list[1] = "no fatbin is here, though there is enough to read";
    CHECK(shim_image_find(&wrapper, &image) == CUDA_ERROR_INVALID_IMAGE);
    list[1] = NULL;
    CHECK(shim_image_find(&wrapper, &image) == CUDA_SUCCESS &&
          tally_bundle_count(image.data, image.bytes) == 2);
    shim_image_drop(&image);
}

/* A bundle in memory, as cuLinkComplete gives it: found whole, also where nothing can be read
 * behind it. */
static void test_linked(void)
{
    struct fatbin first = sample(), second = sample();
    const void *fatbins[] = {&first, &second};
    const size_t sizes[] = {sizeof first, sizeof second};
    size_t bytes, page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *bundle = tally_bundle_make(fatbins, sizes, 2, &bytes);
    uint8_t *pages =
        mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(bundle && pages != MAP_FAILED && mprotect(pages + page, page, PROT_NONE) == 0);
    uint8_t *end = pages + page;
    struct shim_image image;
    memcpy(end - bytes, bundle, bytes);
    CHECK(shim_image_find(end - bytes, &image) == CUDA_SUCCESS);
    CHECK(image.data == end - bytes && image.bytes == bytes && !image.owned);
    for (size_t cut = 1; cut < bytes; cut++) {
        memcpy(end - bytes + cut, bundle, bytes - cut);
        CHECK(shim_image_find(end - bytes + cut, &image) == CUDA_ERROR_INVALID_IMAGE);
    }
    munmap(pages, 2 * page);
    free(bundle);
}

struct elf {
    Elf64_Ehdr header;
    Elf64_Shdr sections[2];
    uint8_t text[40];
};

static struct elf sample_elf(void)
{
    struct elf elf = {.header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB}}};
    elf.header.e_shoff = offsetof(struct elf, sections);
    elf.header.e_shnum = 2;
    elf.header.e_shentsize = sizeof(Elf64_Shdr);
    elf.sections[1] = (Elf64_Shdr){
        .sh_type = SHT_PROGBITS, .sh_offset = offsetof(struct elf, text), .sh_size = 40};
    return elf;
}

static void test_elf(void)
{
    struct elf elf = sample_elf();
    CHECK(shim_elf_bytes(&elf, sizeof elf) == sizeof elf);
    for (size_t cut = 0; cut < sizeof elf; cut++)
        CHECK(shim_elf_bytes(&elf, cut) == 0);
    elf.sections[1].sh_type = SHT_NOBITS; /* takes no room in the file */
    elf.sections[1].sh_size = 1 << 30;
    CHECK(shim_elf_bytes(&elf, sizeof elf) == offsetof(struct elf, text));
    elf = sample_elf();
    elf.sections[1].sh_offset = UINT64_MAX - 3; /* the sum overflows */
    CHECK(shim_elf_bytes(&elf, sizeof elf) == 0);
    elf = sample_elf();
    elf.header.e_shoff = UINT64_MAX - 64;
    CHECK(shim_elf_bytes(&elf, sizeof elf) == 0);
    elf = sample_elf();
    elf.header.e_shentsize = 1;
    CHECK(shim_elf_bytes(&elf, sizeof elf) == 0);
}

static void test_text(void)
{
    static const char ptx[] = "//\n.version 8.0\n";
    CHECK(shim_text_bytes(ptx, sizeof ptx) == sizeof ptx - 1);
    CHECK(shim_text_bytes(ptx, sizeof ptx - 1) == 0); /* no NUL in what may be read */
    CHECK(shim_text_bytes("\x01garbage", 9) == 0);
    CHECK(shim_text_bytes("", 1) == 0);
}

static void test_find(void)
{
    struct fatbin fatbin = sample();
    struct wrapper wrapper = {.magic = 0x466243b1u, .version = 1, .data = &fatbin};
    struct shim_image image;
    CHECK(shim_image_find(&wrapper, &image) == CUDA_SUCCESS && image.data == (void *)&fatbin &&
          image.bytes == 80);
    CHECK(shim_image_find(&fatbin, &image) == CUDA_SUCCESS && image.bytes == 80);
    wrapper.data = (void *)8;
    CHECK(shim_image_find(&wrapper, &image) == CUDA_ERROR_INVALID_IMAGE);
    wrapper.version = 9;
    CHECK(shim_image_find(&wrapper, &image) == CUDA_ERROR_INVALID_IMAGE);
    CHECK(shim_image_find((void *)16, &image) == CUDA_ERROR_INVALID_IMAGE);
}

/* An image whose header promises more than is mapped; text that ends with the mapping. */
static void test_end_of_mapping(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *pages =
        mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages + page, page, PROT_NONE);
    struct fatbin fatbin = sample();
    struct shim_image image;
    memcpy(pages + page - 16, &fatbin, 16);
    CHECK(shim_image_find(pages + page - 16, &image) == CUDA_ERROR_INVALID_IMAGE);
    memcpy(pages + page - sizeof fatbin, &fatbin, sizeof fatbin);
    CHECK(shim_image_find(pages + page - sizeof fatbin, &image) == CUDA_SUCCESS);
    memset(pages + page - 8, '/', 8);
    CHECK(shim_image_find(pages + page - 8, &image) == CUDA_ERROR_INVALID_IMAGE);
    memcpy(pages + page - 2, "\x50\xed", 2); /* half a magic number */
    CHECK(shim_image_find(pages + page - 2, &image) == CUDA_ERROR_INVALID_IMAGE);
    munmap(pages, 2 * page);
}

static void test_in_file(void)
{
    char path[] = "/tmp/tally-image-XXXXXX";
    int fd = mkstemp(path);
    struct fatbin fatbin = sample();
    uint8_t block[4096 + 80] = {0};
    memcpy(block + 4096, &fatbin, sizeof fatbin);
    CHECK(write(fd, block, sizeof block) == (ssize_t)sizeof block);
    uint8_t *shown = mmap(NULL, sizeof block, PROT_READ, MAP_PRIVATE, fd, 0);
    struct shim_image image;
    struct shim_image_file file;
    CHECK(shim_image_find(shown + 4096, &image) == CUDA_SUCCESS && image.bytes == 80);
    CHECK(shim_image_in_file(&image, &file) && file.offset == 4096 && strcmp(file.path, path) == 0);
    struct shim_image stack = {.data = (uint8_t *)&fatbin, .bytes = sizeof fatbin};
    CHECK(!shim_image_in_file(&stack, &file));
    mprotect(shown, sizeof block, PROT_READ | PROT_WRITE); /* may differ from the file */
    CHECK(!shim_image_in_file(&image, &file));
    mprotect(shown, sizeof block, PROT_READ);
    unlink(path);
    CHECK(!shim_image_in_file(&image, &file));
    close(fd);
}

int main(void)
{
    test_bundle();
    test_linked();
    test_elf();
    test_text();
    test_find();
    test_end_of_mapping();
    test_in_file();
    return CHECK_RESULT();
}
