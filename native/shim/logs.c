/* The driver's log of errors. The shim writes none: what a program should know is in its results,
 * what its operator should know is at tallyd. So there is a log, and it stays empty. */
#include <fcntl.h>
#include <unistd.h>

#include "generated/custom.h"

static char callback_handle; /* its address stands for every registration */

CUresult shim_cuLogsRegisterCallback(CUlogsCallback callbackFunc, void *userData,
                                     CUlogsCallbackHandle *callback_out)
{
    if (callbackFunc == NULL || callback_out == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *callback_out = (CUlogsCallbackHandle)&callback_handle;
    return CUDA_SUCCESS;
}

CUresult shim_cuLogsUnregisterCallback(CUlogsCallbackHandle callback)
{
    return callback == (CUlogsCallbackHandle)&callback_handle ? CUDA_SUCCESS
                                                              : CUDA_ERROR_INVALID_VALUE;
}

CUresult shim_cuLogsCurrent(CUlogIterator *iterator_out, unsigned int flags)
{
    if (iterator_out == NULL || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    *iterator_out = 0;
    return CUDA_SUCCESS;
}

CUresult shim_cuLogsDumpToFile(CUlogIterator *iterator, const char *pathToFile, unsigned int flags)
{
    if (pathToFile == NULL || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    int file = open(pathToFile, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0)
        return CUDA_ERROR_INVALID_VALUE;
    close(file);
    return CUDA_SUCCESS;
}

CUresult shim_cuLogsDumpToMemory(CUlogIterator *iterator, char *buffer, size_t *size,
                                 unsigned int flags)
{
    if (buffer == NULL || size == NULL || *size == 0 || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    buffer[0] = '\0';
    *size = 0;
    return CUDA_SUCCESS;
}
