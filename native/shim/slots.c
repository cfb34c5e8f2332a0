/* The slots through which bulk bytes go. A slot belongs to one thread from take to give; after
 * that to the executor until done[slot] shows the sequence number that went with it. */
#include <sched.h>
#include <time.h>

#include "channel.h"
#include "tally/assert.h"

uint32_t shim_slot_bytes(const struct shim_channel *channel) { return channel->slot_bytes; }

uint32_t shim_slot_count(const struct shim_channel *channel) { return channel->slot_count; }

static bool slot_done(const struct shim_channel *channel, uint32_t index)
{
    return __atomic_load_n(&channel->page->done[index], __ATOMIC_ACQUIRE) ==
           channel->slot_sequence[index];
}

/* A copy of one slot takes some 100 us: look a few times, then sleep for growing parts of that. */
static CUresult wait_done(struct shim_channel *channel, uint32_t index)
{
    for (int i = 0; i < 100; i++) {
        if (slot_done(channel, index))
            return CUDA_SUCCESS;
        __builtin_ia32_pause();
    }
    long slept_us = 0;
    for (long sleep_us = 20;; sleep_us = sleep_us < 100 ? 2 * sleep_us : 200) {
        nanosleep(&(struct timespec){.tv_nsec = sleep_us * 1000}, NULL);
        if (slot_done(channel, index))
            return CUDA_SUCCESS;
        CUresult result = shim_channel_check(channel);
        if (result)
            return result;
        slept_us += sleep_us;
        if (slept_us >= SHIM_WATCH_MS * 1000) {
            slept_us = 0;
            shim_channel_lost(channel);
        }
    }
}

/* The lowest slot that the executor is done with: the same few are used over and over, and stay in
 * the caches of both sides. Else the one that was sent longest ago. */
static uint32_t find_free_locked(const struct shim_channel *channel) REQUIRES(channel->slot_lock)
{
    for (uint32_t index = 0; index < channel->slot_count; index++)
        if (!channel->slot_held[index] && slot_done(channel, index))
            return index;
    uint32_t oldest = UINT32_MAX;
    for (uint32_t index = 0; index < channel->slot_count; index++)
        if (!channel->slot_held[index] &&
            (oldest == UINT32_MAX || channel->slot_sent[index] < channel->slot_sent[oldest]))
            oldest = index;
    return oldest;
}

CUresult shim_slot_take(struct shim_channel *channel, bool wait, struct shim_slot *slot)
{
    tally_mutex_take(&channel->slot_lock);
    uint32_t index;
    while ((index = find_free_locked(channel)) == UINT32_MAX && wait)
        tally_mutex_wait(&channel->slot_lock, &channel->slot_wake);
    if (index == UINT32_MAX) {
        tally_mutex_give(&channel->slot_lock);
        return CUDA_ERROR_NOT_READY;
    }
    TALLY_ASSERT(index < channel->slot_count && !channel->slot_held[index]);
    channel->slot_held[index] = true;
    tally_mutex_give(&channel->slot_lock);

    uint32_t sequence = channel->slot_sequence[index] + 1;
    *slot = (struct shim_slot){
        .index = index,
        .sequence = sequence ? sequence : 1, /* 0 means "no slot" in an op */
        .offset = (uint64_t)index * channel->slot_bytes,
        .bytes = channel->slots + (size_t)index * channel->slot_bytes,
    };
    CUresult result = wait_done(channel, index);
    if (result)
        shim_slot_give(channel, slot, false);
    return result;
}

void shim_slot_give(struct shim_channel *channel, const struct shim_slot *slot, bool sent)
{
    tally_mutex_take(&channel->slot_lock);
    TALLY_ASSERT(slot->index < channel->slot_count && channel->slot_held[slot->index]);
    if (sent) {
        channel->slot_sequence[slot->index] = slot->sequence;
        channel->slot_sent[slot->index] = ++channel->slots_sent;
    }
    channel->slot_held[slot->index] = false;
    pthread_cond_signal(&channel->slot_wake);
    tally_mutex_give(&channel->slot_lock);
}
