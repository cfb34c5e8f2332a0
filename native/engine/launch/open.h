/* Launches that a session's thread let go: they can be stopped, run, and may have to be started
 * again. A ring, by place as the control blocks. All under the schedule's lock, save
 * open_prepare. */
#ifndef TALLY_ENGINE_OPEN_H
#define TALLY_ENGINE_OPEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/launch/control.h"
#include "engine/launch/launch.h"

struct schedule;

struct open_launch {
    uint32_t index; /* in the schedule's books */
    struct launch launch;
    uint8_t *params;
    size_t params_room;
};

/* A ring. Session thread; under the schedule's lock where others read. */
struct open_launches {
    struct open_launch at[GUARDED_MAX];
    uint32_t first, count;
};

uint32_t open_count(const struct session *session);
struct open_launch *open_at(struct session *session, uint32_t number); /* 0: the oldest */
/* Memory and control block for a launch that may be let go; without the lock. */
bool open_prepare(struct session *session, const struct launch *launch);
/* The place that open_prepare made ready. */
uint32_t open_slot(const struct session *session);
/* The launch stays in that place, with parameters of its own. */
void open_add(struct session *session, const struct launch *launch, uint32_t index);
/* The oldest leaves. */
void open_drop_oldest(struct session *session);
/* Whether launches that the session's thread let go have not all been run. */
bool open_any(const struct schedule *s, const struct session *session);
/* They are forgotten. */
void open_close(struct schedule *s, struct session *session);

#endif
