/* Block sizes for a kernel: the search runs here, since the program's own function tells how much
 * shared memory a block size needs; each step is one question to the executor. */
#include "context.h"
#include "generated/calls.h"
#include "generated/custom.h"

/* The largest block that function, device and caller allow, in threads. */
static CUresult largest_block(CUfunction func, const struct tally_device_info *info, int limit,
                              int *threads)
{
    CUresult status =
        shim_cuFuncGetAttribute(threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, func);
    if (status != CUDA_SUCCESS)
        return status;
    int device_max = info->attributes[CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK];
    if (*threads > device_max)
        *threads = device_max;
    if (limit > 0 && *threads > limit)
        *threads = limit;
    return CUDA_SUCCESS;
}

CUresult
shim_cuOccupancyMaxPotentialBlockSizeWithFlags(int *minGridSize, int *blockSize, CUfunction func,
                                               CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                               size_t dynamicSMemSize, int blockSizeLimit,
                                               unsigned int flags)
{
    uint32_t device;
    CUresult status = shim_current_device(&device);
    if (status != CUDA_SUCCESS)
        return status;
    if (minGridSize == NULL || blockSize == NULL || blockSizeLimit < 0)
        return CUDA_ERROR_INVALID_VALUE;
    const struct tally_device_info *info = shim_device((int)device);
    int largest;
    status = largest_block(func, info, blockSizeLimit, &largest);
    int warp = info->attributes[CU_DEVICE_ATTRIBUTE_WARP_SIZE];
    int most = info->attributes[CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR];
    int best_size = 0, best_blocks = 0;
    /* From the largest down in whole warps; on a tie the larger block stays. */
    for (int whole = (largest + warp - 1) / warp * warp; status == CUDA_SUCCESS && whole > 0;
         whole -= warp) {
        int size = whole < largest ? whole : largest, blocks;
        size_t shared =
            blockSizeToDynamicSMemSize != NULL ? blockSizeToDynamicSMemSize(size) : dynamicSMemSize;
        status = wire_cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&blocks, func, size,
                                                                           shared, flags);
        if (status == CUDA_SUCCESS && size * blocks > best_size * best_blocks) {
            best_size = size;
            best_blocks = blocks;
        }
        if (best_size * best_blocks >= most)
            break;
    }
    if (status != CUDA_SUCCESS)
        return status;
    *blockSize = best_size;
    *minGridSize = best_blocks * info->attributes[CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT];
    return CUDA_SUCCESS;
}

CUresult shim_cuOccupancyMaxPotentialBlockSize(int *minGridSize, int *blockSize, CUfunction func,
                                               CUoccupancyB2DSize blockSizeToDynamicSMemSize,
                                               size_t dynamicSMemSize, int blockSizeLimit)
{
    return shim_cuOccupancyMaxPotentialBlockSizeWithFlags(
        minGridSize, blockSize, func, blockSizeToDynamicSMemSize, dynamicSMemSize, blockSizeLimit,
        CU_OCCUPANCY_DEFAULT);
}
