#include "engine/launch/meeting.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "engine/stats.h"

#define PATTERN_BYTES 256u

bool meeting_kernel(const char *patterns, const char *name)
{
    char pattern[PATTERN_BYTES];
    while (patterns && *patterns) {
        size_t length = strcspn(patterns, ",");
        if (length > 0 && length < sizeof pattern) {
            snprintf(pattern, sizeof pattern, "%.*s", (int)length, patterns);
            if (fnmatch(pattern, name, 0) == 0)
                return true;
        }
        patterns += length + (patterns[length] == ',');
    }
    return false;
}
