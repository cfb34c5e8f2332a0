/* Real headers behind the cdefs; one include per part. */
#include "engine/engine.h"
#include "sim.h"
#include "tally/plans.h"
#include "tally/protocol.h"
#include "tally/rates.h"
#include "tally/sched.h"
#include "wire/gate.h"
#include <stdbool.h>
#include <stdint.h>
