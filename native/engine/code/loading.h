/* Loading and unloading of modules. */
#ifndef TALLY_ENGINE_LOADING_H
#define TALLY_ENGINE_LOADING_H

#include "engine/ops/message.h"

void modules_close(struct session *session);

#endif
