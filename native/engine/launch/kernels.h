/* What a signature stands for: a kernel's name and the shape of its launch, for people and for
 * recordings. A table of bounded size that forgets nothing; beyond its bounds a signature stays
 * without a description. */
#ifndef TALLY_ENGINE_KERNELS_H
#define TALLY_ENGINE_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/launch/launch.h"

struct kernels;

struct kernels *kernels_create(void);
void kernels_destroy(struct kernels *kernels);
/* Describes the launch's signature, if that is not done yet. Session thread; asks the driver. */
void kernels_note(struct kernels *kernels, const struct launch *launch);
bool kernels_find(struct kernels *kernels, uint64_t signature, struct tally_kernel *kernel);

#endif
