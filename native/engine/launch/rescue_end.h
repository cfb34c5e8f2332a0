/* The end of what a rescue has started. */
#ifndef TALLY_ENGINE_RESCUE_END_H
#define TALLY_ENGINE_RESCUE_END_H

#include "engine/launch/books.h"

/* Under the lock: whether the end of this start is the rescue's business; it is dealt with then. */
bool rescue_ended(struct schedule *s, struct pending *pending, struct start *start);

#endif
