/* Rewritten forms of kernels in modules of their own, made and loaded by a thread in the
 * background. So no program waits for them: until they are there its kernels run whole. Sessions
 * take turns, one module each.
 *
 * Only for images whose forms may be in a module of their own (tally_rewrite_beside_fn). */
#ifndef TALLY_ENGINE_REWRITER_H
#define TALLY_ENGINE_REWRITER_H

#include "engine/code/image.h"

struct rewriter;
struct forms; /* what becomes of one module's */

enum forms_state { FORMS_PENDING, FORMS_READY, FORMS_NONE };

struct rewriter *rewriter_create(struct tally_engine *engine);
/* No session is left. Waits for the image that is being rewritten. */
void rewriter_destroy(struct rewriter *rewriter);

/* Has the forms of the image, which is loaded as `originals`, made and loaded for the session.
 * NULL: short of memory. */
struct forms *rewriter_add(struct rewriter *rewriter, struct session *session, struct image *image,
                           CUmodule originals);
/* Waits so long for forms that are being made; not if others are made before them. */
void rewriter_wait(struct rewriter *rewriter, const struct forms *forms, uint64_t ns_max);
/* READY: *module is the driver's. Stays READY or NONE. */
enum forms_state forms_state(const struct forms *forms, CUmodule *module);
/* Frees them, whatever their state; then nothing looks at the originals any more. The driver's
 * module that has to be unloaded, or NULL. */
CUmodule rewriter_drop(struct rewriter *rewriter, struct forms *forms);
/* Nothing is loaded for the session any more once this returns; its forms still have to be
 * dropped. */
void rewriter_forget(struct rewriter *rewriter, struct session *session);

#endif
