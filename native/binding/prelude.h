/* Real headers behind the cdefs; one include per part. */
#include <stdint.h>
#include <stdbool.h>
#include "tally/protocol.h"
#include "tally/sched.h"
#include "tally/plan.h"
#include "tally/rates.h"
#include "sim.h"
#include "engine/engine.h"
#include "wire/gate.h"
