#include "jit_options.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "module_send.h"

CUresult shim_jit_read(struct shim_jit *jit)
{
    if (jit->count && (!jit->options || !jit->values))
        return CUDA_ERROR_INVALID_VALUE;
    struct shim_module_log *log = &jit->log;
    *log = (struct shim_module_log){0};
    clock_gettime(CLOCK_MONOTONIC, &jit->began);
    for (unsigned i = 0; i < jit->count; i++) {
        void *value = jit->values[i];
        if (jit->options[i] >= CU_JIT_NUM_OPTIONS)
            return CUDA_ERROR_INVALID_VALUE;
        if (jit->options[i] == CU_JIT_INFO_LOG_BUFFER)
            log->info = value;
        else if (jit->options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES)
            log->info_bytes = (unsigned)(uintptr_t)value;
        else if (jit->options[i] == CU_JIT_ERROR_LOG_BUFFER)
            log->error = value;
        else if (jit->options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
            log->error_bytes = (unsigned)(uintptr_t)value;
    }
    shim_module_log_clear(log);
    return CUDA_SUCCESS;
}

void shim_jit_tell(struct shim_jit *jit, const char *format, ...)
{
    struct shim_module_log *log = &jit->log;
    if (!log->error || log->error_filled + 1 >= log->error_bytes)
        return;
    size_t room = log->error_bytes - log->error_filled;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(log->error + log->error_filled, room, format, arguments);
    va_end(arguments);
    if (length > 0)
        log->error_filled += (size_t)length < room ? (size_t)length : room - 1;
}

static float milliseconds_since(const struct timespec *began)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (float)(now.tv_sec - began->tv_sec) * 1e3f +
           (float)(now.tv_nsec - began->tv_nsec) * 1e-6f;
}

void shim_jit_write(struct shim_jit *jit)
{
    for (unsigned i = 0; i < jit->count; i++) {
        float wall_ms;
        switch (jit->options[i]) {
        case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
            jit->values[i] = (void *)(uintptr_t)jit->log.info_filled;
            break;
        case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
            jit->values[i] = (void *)(uintptr_t)jit->log.error_filled;
            break;
        case CU_JIT_WALL_TIME:
            wall_ms = milliseconds_since(&jit->began);
            memcpy(&jit->values[i], &wall_ms, sizeof wall_ms);
            break;
        default:
            break;
        }
    }
}
