/* A session's first sticky error: whoever it concerns is told, each once. */
#ifndef TALLY_ENGINE_FAULT_H
#define TALLY_ENGINE_FAULT_H

#include "tally/cuda.h"

struct session;

/* Looks at any driver result: the sticky ones end all later calls. Any thread, no lock held. */
void session_note(struct session *session, CUresult result);

#endif
