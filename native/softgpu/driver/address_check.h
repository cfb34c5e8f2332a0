/* Which addresses a tenant may name in calls. */
#ifndef TALLY_SOFTGPU_ADDRESS_CHECK_H
#define TALLY_SOFTGPU_ADDRESS_CHECK_H

#include "soft.h"

enum soft_place {
    SOFT_PLACE_BAD,      /* in the arena, and not the tenant's or not allocated */
    SOFT_PLACE_KNOWN,    /* allocated or registered: stays while work is queued */
    SOFT_PLACE_PINNED,   /* in the pinned range: may lose pages */
    SOFT_PLACE_PAGEABLE, /* any other host memory */
};

enum soft_place soft_address_place(struct soft_tenant *tenant, uint64_t address, uint64_t bytes);
/* Known or pinned: device addresses, as calls understand them. */
bool soft_address_known(struct soft_tenant *tenant, uint64_t address, uint64_t bytes);

#endif
