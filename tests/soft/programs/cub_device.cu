/* CUB's device-wide algorithms, each some rounds on its last result; prints a line for each with a hash of
 * all that it wrote. argv: the algorithms, or none for all. */
#include "check.h"
#include <cstring>
#include <cub/device/device_histogram.cuh>
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_reduce.cuh>
#include <cub/device/device_run_length_encode.cuh>
#include <cub/device/device_scan.cuh>
#include <cub/device/device_select.cuh>
#include <vector>

constexpr int N = 150000, ROUNDS = 3;
constexpr size_t SCRATCH_BYTES = 16 << 20;

struct Data {
    unsigned *in, *out, *values, *more;
    float *reals;
    int *count;
    void *scratch;
};

struct IsOdd {
    __host__ __device__ bool operator()(unsigned x) const { return x & 1; }
};

static void reduce(const Data &d, size_t &bytes)
{
    CHECK(cub::DeviceReduce::Sum(d.scratch, bytes, d.in, d.out, N));
    CHECK(cub::DeviceReduce::Sum(d.scratch, bytes, d.reals, (float *)d.out + 1, N));
    CHECK(cub::DeviceReduce::ArgMax(d.scratch, bytes, d.in, d.out + 2, (long long *)(d.out + 4), (long long)N));
}

static void scan(const Data &d, size_t &bytes)
{
    CHECK(cub::DeviceScan::InclusiveSum(d.scratch, bytes, d.in, d.out, N));
}

static void sort(const Data &d, size_t &bytes)
{
    CHECK(cub::DeviceRadixSort::SortPairs(d.scratch, bytes, d.in, d.out, d.values, d.more, N));
}

static void select(const Data &d, size_t &bytes)
{
    CHECK(cub::DeviceSelect::If(d.scratch, bytes, d.in, d.out, d.count, N, IsOdd()));
}

static void histogram(const Data &d, size_t &bytes)
{
    CHECK(cub::DeviceHistogram::HistogramEven(d.scratch, bytes, d.in, (int *)d.out, 201, 0u, ~0u, N));
}

static void encode(const Data &d, size_t &bytes)
{
    CHECK(cub::DeviceRunLengthEncode::Encode(d.scratch, bytes, d.in, d.out, (int *)d.more, d.count, N));
}

static const struct {
    const char *name;
    void (*run)(const Data &, size_t &);
    unsigned values; /* that inputs are drawn from */
} algorithms[] = {
    {"reduce", reduce, ~0u},       {"scan", scan, ~0u}, {"sort", sort, ~0u}, {"select", select, ~0u},
    {"histogram", histogram, ~0u}, {"encode", encode, 2},
};

static uint64_t hash;

static void take(const void *device, size_t bytes)
{
    std::vector<uint8_t> host(bytes);
    CHECK(cudaMemcpy(host.data(), device, bytes, cudaMemcpyDeviceToHost));
    for (uint8_t byte : host)
        hash = (hash ^ byte) * 1099511628211ull;
}

static void fill(const Data &d, unsigned values)
{
    std::vector<unsigned> host(N);
    std::vector<float> reals(N);
    uint32_t state = 7;
    for (int i = 0; i < N; i++) {
        host[i] = next_random(&state) % values;
        reals[i] = next_float(&state);
    }
    CHECK(cudaMemcpy(d.in, host.data(), N * 4, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(d.values, host.data(), N * 4, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(d.reals, reals.data(), N * 4, cudaMemcpyHostToDevice));
    for (unsigned *array : {d.out, d.more})
        CHECK(cudaMemset(array, 0, N * 4));
    CHECK(cudaMemset(d.count, 0, 4));
}

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], name))
            return true;
    return argc == 1;
}

int main(int argc, char **argv)
{
    Data d;
    for (unsigned **array : {&d.in, &d.out, &d.values, &d.more})
        CHECK(cudaMalloc(array, N * 4));
    CHECK(cudaMalloc(&d.reals, N * 4));
    CHECK(cudaMalloc(&d.count, 4));
    CHECK(cudaMalloc(&d.scratch, SCRATCH_BYTES));
    for (auto &algorithm : algorithms) {
        if (!wanted(algorithm.name, argc, argv))
            continue;
        fill(d, algorithm.values);
        hash = 14695981039346656037ull;
        for (int round = 0; round < ROUNDS; round++) {
            size_t bytes = SCRATCH_BYTES;
            algorithm.run(d, bytes);
            take(d.out, N * 4);
            take(d.more, N * 4);
            take(d.count, 4);
            CHECK(cudaMemcpy(d.in, d.out, N * 4, cudaMemcpyDeviceToDevice));
        }
        CHECK(cudaGetLastError());
        printf("%s %016llx\n", algorithm.name, (unsigned long long)hash);
        fflush(stdout);
    }
}
