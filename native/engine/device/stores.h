/* Words of ours that are stored to the device in the order in which it was decided, though a
 * driver's call may block: a decision is made under a lock, its call without one.
 *
 * Whoever lets go of the lock makes the calls that wait, unless another thread is at it: so none is
 * handed to a thread that would have to wake up first, and high's own thread has raised the flags
 * against best-effort work before it makes its launch. */
#ifndef TALLY_ENGINE_STORES_H
#define TALLY_ENGINE_STORES_H

#include <stdbool.h>
#include <stdint.h>

#include "tally/cuda.h"

struct driver;
struct stores;

/* For a driver of which every store is a call (device_ops.store_calls). NULL: short of memory. */
struct stores *stores_open(struct driver *driver);
void stores_close(struct stores *stores); /* NULL: nothing */

/* Under any lock. */
void device_store(struct driver *driver, CUdeviceptr word, uint32_t value);
/* Without a lock: the calls that wait. */
void stores_go(struct driver *driver);
/* Whether `stores_go` would have something to do. Under any lock. */
bool stores_wanted(const struct driver *driver);
/* As stores_go, and those that another thread is making: what was stored before is with the driver.
 */
void stores_settle(struct driver *driver);

#endif
