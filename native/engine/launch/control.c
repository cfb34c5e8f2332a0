/* The control blocks of a session's guarded launches (layout: scheduler/ptx/guard.py), one for each
 * that can be with the device at a time. They lie in device memory that the program does not know
 * of; a kernel that overwrites one spoils launches of its own program only.
 *
 * The head is written before a launch, the flag raised during it, and what the block says
 * afterwards is fetched before the launch's end is reported (device_ops in device/driver.h). */
#include "engine/launch/control.h"

#include "engine/device/stores.h"
#include "engine/session/session.h"

#define HEAD_BYTES 64u
#define WORD_FLAG 0u
#define WORD_STARTED 4u

/* The driver, once flags that were raised before are with it: what comes next is behind them. */
static struct driver *settled(struct session *session)
{
    stores_settle(session->driver);
    return session->driver;
}

static bool write_head(struct session *session, const struct control *control,
                       const uint32_t head[5])
{
    struct driver *driver = settled(session);
    return driver->ops->write(driver, control->address, head, 5) == CUDA_SUCCESS;
}

static bool clear(struct session *session, CUdeviceptr address, uint32_t room)
{
    struct driver *driver = settled(session);
    return driver->ops->clear(driver, address, HEAD_BYTES + (size_t)room * 4) == CUDA_SUCCESS;
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
    if (control->address) {
        stores_settle(session->driver);
        cu->cuMemFree_v2(control->address);
    }
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
    struct driver *driver = settled(session);
    return driver->ops->copy(driver, to->address + HEAD_BYTES, from->address + HEAD_BYTES,
                             (size_t)blocks * 4) == CUDA_SUCCESS;
}

bool control_copy(struct session *session, uint32_t from, uint32_t slot, uint32_t blocks)
{
    struct control *source = &session->control[from], *control = &session->control[slot];
    if (session->driver->ops->free_waits && control->room < blocks)
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

static CUdeviceptr word_of(const struct session *session, uint32_t slot, uint32_t word)
{
    return session->control[slot].address + word * sizeof(uint32_t);
}

void control_raise(struct session *session, uint32_t slot)
{
    device_store(session->driver, word_of(session, slot, WORD_FLAG), 1);
}

void control_lower(struct session *session, uint32_t slot)
{
    session->driver->ops->lower(session->driver, word_of(session, slot, WORD_FLAG));
}

uint32_t control_read(struct session *session, uint32_t slot)
{
    return session->driver->ops->ran(session->driver, word_of(session, slot, WORD_STARTED),
                                     session->control[slot].started);
}

CUresult control_count(struct session *session, uint32_t slot, uint32_t *begun)
{
    *begun = control_read(session, slot);
    struct driver *driver = settled(session);
    return driver->ops->look(driver, word_of(session, slot, WORD_STARTED), begun);
}

CUresult control_fetch(struct session *session, uint32_t slot)
{
    struct driver *driver = settled(session);
    return driver->ops->fetch(driver, word_of(session, slot, WORD_FLAG),
                              word_of(session, slot, WORD_STARTED),
                              &session->control[slot].started);
}

void control_close(struct session *session)
{
    stores_settle(session->driver);
    for (uint32_t i = 0; i <= RESCUE_SLOT; i++) {
        if (session->control[i].address)
            session->driver->cu.cuMemFree_v2(session->control[i].address);
        session->control[i] = (struct control){0};
    }
}
