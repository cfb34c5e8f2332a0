/* Functions of modules, and the rewritten forms that they have. */
#ifndef TALLY_ENGINE_FUNCTION_H
#define TALLY_ENGINE_FUNCTION_H

#include "engine/launch/residency.h"
#include "engine/ops/message.h"
#include "tally/cuda.h"

struct module;

/* What the program asked of a kernel; its forms, which may come later, are to be like it. */
struct function_settings {
    bool cached, banked, carved; /* the program said so, of the next three */
    CUfunc_cache cache;
    CUsharedconfig banks;
    int carveout;
    bool clusters; /* its forms could not follow: it runs whole */
};

struct function {
    CUfunction driver;
    struct module *module;
    char *name;
    uint64_t code;                      /* hash of the image and the name */
    uint64_t noted;                     /* the signature that was described last, see kernels.c */
    bool meets;                         /* kernels of other sessions (meeting.h) */
    bool forms_pending;                 /* it is not known yet which rewritten forms there are */
    struct function *guarded, *subgrid; /* rewritten forms, or NULL */
    struct function_settings settings;
    struct residency residency;
    uint32_t dynamic_shared_bytes; /* of a rewritten form: what it was last allowed */
    uint32_t param_count, param_bytes;
    bool params_known; /* false: the driver cannot tell, launch with one buffer */
    struct tally_param params[];
};

void functions_init(struct session *session);
/* NULL: there is none. */
struct function *function_find(const struct session *session, uint64_t handle);
/* Gives the function the rewritten forms that were made in the background, once they are there. */
void function_update(struct session *session, struct function *function);
/* The message has changed how the driver runs a function: so it is with the function's forms. */
void function_follow(struct session *session, const struct message *message);
/* The module goes, and its functions with it; NULL: all. */
void functions_drop(struct session *session, const struct module *module);

#endif
