#include "address_check.h"

enum soft_place soft_address_place(struct soft_tenant *tenant, uint64_t address, uint64_t bytes)
{
    struct soft_range range;
    uint64_t end = address + bytes;
    if (end < address || !address)
        return SOFT_PLACE_BAD;
    if (soft_memory_find(tenant, address, &range))
        return bytes <= range.bytes - (address - range.base) ? SOFT_PLACE_KNOWN : SOFT_PLACE_BAD;
    if (address - tenant->pinned_base < tenant->pinned_bytes)
        return bytes <= tenant->pinned_bytes - (address - tenant->pinned_base) ? SOFT_PLACE_PINNED
                                                                               : SOFT_PLACE_BAD;
    if (address < soft.arena_base + TALLY_ARENA_BYTES && end > soft.arena_base)
        return SOFT_PLACE_BAD;
    return SOFT_PLACE_PAGEABLE;
}

bool soft_address_known(struct soft_tenant *tenant, uint64_t address, uint64_t bytes)
{
    enum soft_place place = soft_address_place(tenant, address, bytes);
    return place == SOFT_PLACE_KNOWN || place == SOFT_PLACE_PINNED;
}
