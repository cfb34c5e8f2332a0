/* The control blocks of a session's guarded launches (layout: scheduler/ptx/guard.py), one for each that can be
 * with the device at a time. They lie in device memory that the program does not know of; a kernel that
 * overwrites one spoils launches of its own program only.
 *
 * softgpu's device memory can be read and stored to from here. With a real device all goes through the
 * engine's urgent stream, so that a late rise of the flag cannot come after what lowers it: the head is
 * written before a launch, the flag raised during it, and what the block says afterwards is read by the
 * session's completion thread, before it reports. */
#include "engine/launch/control.h"

#include <string.h>

#include "engine/session/session.h"

#define HEAD_BYTES 64u
#define WORD_FLAG 0u
#define WORD_STARTED 4u

static uint32_t *words(const struct control *control) { return (uint32_t *)(uintptr_t)control->address; }

static bool write_head(struct session *session, const struct control *control, const uint32_t head[5])
{
    if (session->driver->is_soft) {
        for (uint32_t i = 0; i < 5; i++)
            __atomic_store_n(&words(control)[i], head[i], __ATOMIC_RELEASE);
        return true;
    }
    const struct tally_driver *cu = &session->driver->cu;
    CUstream urgent = session->engine->urgent;
    return cu->cuMemcpyHtoDAsync_v2(control->address, head, 5 * sizeof *head, urgent) == CUDA_SUCCESS &&
           cu->cuStreamSynchronize(urgent) == CUDA_SUCCESS;
}

static bool clear(struct session *session, CUdeviceptr address, uint32_t room)
{
    const struct tally_driver *cu = &session->driver->cu;
    size_t bytes = HEAD_BYTES + (size_t)room * 4;
    if (session->driver->is_soft)
        return cu->cuMemsetD8_v2(address, 0, bytes) == CUDA_SUCCESS;
    return cu->cuMemsetD8Async(address, 0, bytes, session->engine->urgent) == CUDA_SUCCESS;
}

static bool grow(struct session *session, struct control *control, uint32_t blocks)
{
    const struct tally_driver *cu = &session->driver->cu;
    if (blocks <= control->room)
        return true;
    uint32_t room = blocks < 1024 ? 1024 : blocks;
    CUdeviceptr address = 0;
    if (cu->cuMemAlloc_v2(&address, HEAD_BYTES + (size_t)room * 4) != CUDA_SUCCESS)
        return false;
    if (control->address)
        cu->cuMemFree_v2(control->address);
    *control = (struct control){.address = address, .room = room};
    return clear(session, address, room);
}

bool control_prepare(struct session *session, uint32_t slot, uint32_t blocks)
{
    struct control *control = &session->control[slot];
    if (!grow(session, control, blocks))
        return false;
    if (++control->epoch == 0) { /* the marks of four billion launches ago would count */
        if (!clear(session, control->address, control->room))
            return false;
        control->epoch = 1;
    }
    return write_head(session, control, (uint32_t[5]){0, control->epoch, 0, blocks, 0});
}

static bool copy_marks(struct session *session, const struct control *from,
                       const struct control *to, uint32_t blocks)
{
    const struct tally_driver *cu = &session->driver->cu;
    size_t bytes = (size_t)blocks * 4;
    if (session->driver->is_soft) {
        const uint8_t *source = (const uint8_t *)(uintptr_t)from->address;
        memcpy((uint8_t *)(uintptr_t)to->address + HEAD_BYTES, source + HEAD_BYTES, bytes);
        return true;
    }
    return cu->cuMemcpyDtoDAsync_v2(to->address + HEAD_BYTES, from->address + HEAD_BYTES, bytes,
                                    session->engine->urgent) == CUDA_SUCCESS;
}

bool control_copy(struct session *session, uint32_t from, uint32_t slot, uint32_t blocks)
{
    struct control *source = &session->control[from], *control = &session->control[slot];
    if (!session->driver->is_soft && control->room < blocks)
        control->address = 0; /* to free it would wait for the launch that hangs; rescues are few */
    if (!grow(session, control, blocks) || !copy_marks(session, source, control, blocks))
        return false;
    control->epoch = source->epoch;
    control->started = 0;
    return write_head(session, control, (uint32_t[5]){0, control->epoch, 0, blocks, 0});
}

CUdeviceptr control_address(const struct session *session, uint32_t slot)
{
    return session->control[slot].address;
}

void control_raise(struct session *session, uint32_t slot)
{
    const struct control *control = &session->control[slot];
    const struct tally_driver *cu = &session->driver->cu;
    CUstream urgent = session->engine->urgent;
    CUdeviceptr flag = control->address + WORD_FLAG * 4;
    if (session->driver->is_soft) {
        __atomic_store_n(&words(control)[WORD_FLAG], 1, __ATOMIC_RELEASE);
        return;
    }
    cu->cuCtxSetCurrent(session->engine->context); /* whoever changes a policy may have none */
    if (!cu->cuStreamWriteValue32_v2 || cu->cuStreamWriteValue32_v2(urgent, flag, 1, 0) != CUDA_SUCCESS)
        cu->cuMemsetD32Async(flag, 1, 1, urgent);
}

void control_lower(struct session *session, uint32_t slot)
{
    const struct control *control = &session->control[slot];
    if (session->driver->is_soft)
        __atomic_store_n(&words(control)[WORD_FLAG], 0, __ATOMIC_RELEASE);
}

uint32_t control_read(struct session *session, uint32_t slot)
{
    const struct control *control = &session->control[slot];
    if (session->driver->is_soft)
        return __atomic_load_n(&words(control)[WORD_STARTED], __ATOMIC_ACQUIRE);
    return control->started;
}

CUresult control_count(struct session *session, uint32_t slot, uint32_t *begun)
{
    const struct tally_driver *cu = &session->driver->cu;
    CUdeviceptr word = session->control[slot].address + WORD_STARTED * 4;
    CUstream urgent = session->engine->urgent;
    *begun = control_read(session, slot);
    if (session->driver->is_soft)
        return CUDA_SUCCESS;
    CUresult result = cu->cuMemcpyDtoHAsync_v2(begun, word, sizeof *begun, urgent);
    return result == CUDA_SUCCESS ? cu->cuStreamSynchronize(urgent) : result;
}

CUresult control_fetch(struct session *session, uint32_t slot)
{
    const struct tally_driver *cu = &session->driver->cu;
    struct control *control = &session->control[slot];
    if (session->driver->is_soft)
        return CUDA_SUCCESS; /* control_read looks for itself */
    CUstream urgent = session->engine->urgent;
    CUresult result = cu->cuMemcpyDtoHAsync_v2(&control->started, control->address + WORD_STARTED * 4,
                                               sizeof control->started, urgent);
    if (result == CUDA_SUCCESS)
        result = cu->cuMemsetD32Async(control->address + WORD_FLAG * 4, 0, 1, urgent);
    return result == CUDA_SUCCESS ? cu->cuStreamSynchronize(urgent) : result;
}

void control_close(struct session *session)
{
    for (uint32_t i = 0; i <= RESCUE_SLOT; i++) {
        if (session->control[i].address)
            session->driver->cu.cuMemFree_v2(session->control[i].address);
        session->control[i] = (struct control){0};
    }
}
