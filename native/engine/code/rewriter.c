#include "engine/code/rewriter.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "engine/code/image.h"
#include "engine/code/variables.h"
#include "engine/device/driver.h"
#include "engine/parts.h"
#include "engine/session/ending.h"
#include "engine/session/session.h"

/* Forms go QUEUED -> MAKING -> LOOKING -> LOADING -> READY or NONE, or from any of these to NONE.
 * The thread works without the lock, on what it took out of the queue, and asks before each step
 * whether it is still wanted (advance). What it made is seen once, at the end (publish). */
enum step { QUEUED, MAKING, LOOKING, LOADING, OVER };

struct forms {
    struct forms *next;      /* of the queue */
    struct session *session; /* lives while the forms are wanted, and in LOOKING and LOADING */
    struct image *image;     /* referenced while they are pending */
    CUmodule originals;      /* the driver's; there until they are dropped, and in LOOKING */
    CUmodule module;         /* once OVER; NULL: there are none */
    enum step step;
    _Atomic int state; /* enum forms_state: what sessions see without the lock */
    bool unwanted;     /* the session or the module is going: not to be loaded */
    bool dropped;      /* nobody has a pointer to them any more: the thread frees them */
};

struct rewriter {
    struct tally_engine *engine;
    pthread_mutex_t lock;
    pthread_cond_t work, done; /* done: the one that was current has gone on by a step */
    pthread_t thread;
    bool runs, stopping;
    uint64_t turns;
    struct forms *first, *last, *current;
};

/* ---- the thread, without the lock ----------------------------------------------------------- */

/* False: what is left of the work is not wanted any more. */
static bool advance(struct rewriter *rewriter, struct forms *forms, enum step step)
{
    pthread_mutex_lock(&rewriter->lock);
    bool wanted = !forms->unwanted;
    if (wanted)
        forms->step = step;
    pthread_cond_broadcast(&rewriter->done);
    pthread_mutex_unlock(&rewriter->lock);
    return wanted;
}

static CUresult load(struct session *session, const char *text, const struct addresses *variables,
                     CUmodule *out)
{
    char log[1024] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    CUmodule module = NULL;
    CUresult result = session->driver->cu.cuModuleLoadDataEx(&module, text, 2, options, values);
    if (result != CUDA_SUCCESS)
        return result;
    result = variables_fill(session, module, variables);
    if (result == CUDA_SUCCESS)
        *out = module;
    else
        session->driver->cu.cuModuleUnload(module);
    return result;
}

static void count(struct session *session, CUresult result)
{
    if (result == CUDA_SUCCESS)
        tally_stats_add(&session->stats, TALLY_COUNT_REWRITES, 1);
    else if (!atomic_load(&session->ending) &&
             !driver_error_is_sticky(result)) /* else it is not the module */
        tally_stats_add(&session->stats, TALLY_COUNT_REWRITES_REFUSED, 1);
}

/* In the session's name: rewriter_forget waits until this is over. */
static CUmodule load_forms(struct rewriter *rewriter, struct forms *forms, const char *text)
{
    struct addresses variables = {0};
    CUmodule module = NULL;
    session_enter_thread(forms->session);
    CUresult result = variables_find(forms->session, forms->originals, text, &variables);
    if (advance(rewriter, forms, LOADING)) {
        result = result ? result : load(forms->session, text, &variables, &module);
        count(forms->session, result);
    }
    free(variables.items);
    forms->session->driver->ops->tenant_enter(forms->session->driver, 0);
    return module;
}

/* Under the lock, for the last time. False: they have been dropped meanwhile. */
static bool publish(struct rewriter *rewriter, struct forms *forms, CUmodule module)
{
    pthread_mutex_lock(&rewriter->lock);
    bool published = !forms->dropped;
    if (published) {
        forms->module = module;
        forms->step = OVER;
        atomic_store_explicit(&forms->state, module ? FORMS_READY : FORMS_NONE,
                              memory_order_release);
        rewriter->current = NULL;
        pthread_cond_broadcast(&rewriter->done);
    }
    pthread_mutex_unlock(&rewriter->lock);
    return published;
}

/* Nobody waits for them. Their session may go once they are not current any more. */
static void discard(struct rewriter *rewriter, struct forms *forms, CUmodule module)
{
    if (module) {
        session_enter_thread(forms->session);
        forms->session->driver->cu.cuModuleUnload(module);
        forms->session->driver->ops->tenant_enter(forms->session->driver, 0);
    }
    pthread_mutex_lock(&rewriter->lock);
    rewriter->current = NULL;
    free(forms);
    pthread_cond_broadcast(&rewriter->done);
    pthread_mutex_unlock(&rewriter->lock);
}

static void make(struct rewriter *rewriter, struct forms *forms)
{
    struct image_cache *images = rewriter->engine->images;
    CUmodule module = NULL;
    if (advance(rewriter, forms, MAKING)) {
        const char *text = image_rewritten(images, forms->image, rewriter->engine->config.rewrite);
        if (advance(rewriter, forms, LOOKING)) {
            if (text)
                module = load_forms(rewriter, forms, text);
            else
                tally_stats_add(&forms->session->stats, TALLY_COUNT_REWRITES_IMPOSSIBLE, 1);
        }
    }
    image_release(images, forms->image);
    if (!publish(rewriter, forms, module))
        discard(rewriter, forms, module);
}

/* ---- the queue, under the lock -------------------------------------------------------------- */

/* The oldest of the session that has waited longest for a turn, or NULL. */
static struct forms *next(const struct rewriter *rewriter)
{
    struct forms *best = rewriter->first;
    for (struct forms *forms = best; forms; forms = forms->next) {
        if (forms->unwanted) /* its session may be gone */
            return forms;
        if (forms->session->rewritten_turn < best->session->rewritten_turn)
            best = forms;
    }
    return best;
}

static bool unqueue(struct rewriter *rewriter, struct forms *forms)
{
    struct forms *before = NULL;
    for (struct forms *at = rewriter->first; at; before = at, at = at->next) {
        if (at != forms)
            continue;
        *(before ? &before->next : &rewriter->first) = forms->next;
        if (rewriter->last == forms)
            rewriter->last = before;
        return true;
    }
    return false;
}

/* The next one, which is the thread's alone now; NULL: the engine ends. */
static struct forms *take(struct rewriter *rewriter)
{
    struct forms *forms = NULL;
    pthread_mutex_lock(&rewriter->lock);
    while (!rewriter->stopping && !(forms = next(rewriter)))
        pthread_cond_wait(&rewriter->work, &rewriter->lock);
    if (rewriter->stopping)
        forms = NULL;
    if (forms) {
        unqueue(rewriter, forms);
        rewriter->current = forms;
        if (!forms->unwanted)
            forms->session->rewritten_turn = ++rewriter->turns;
    }
    pthread_mutex_unlock(&rewriter->lock);
    return forms;
}

static void *run(void *argument)
{
    struct rewriter *rewriter = argument;
    struct forms *forms;
    while ((forms = take(rewriter)))
        make(rewriter, forms);
    return NULL;
}

/* ---- for sessions --------------------------------------------------------------------------- */

struct forms *rewriter_add(struct rewriter *rewriter, struct session *session, struct image *image,
                           CUmodule originals)
{
    struct forms *forms = calloc(1, sizeof *forms);
    if (!forms)
        return NULL;
    forms->session = session;
    forms->image = image;
    forms->originals = originals;
    image_retain(rewriter->engine->images, image);
    pthread_mutex_lock(&rewriter->lock);
    if (rewriter->last)
        rewriter->last->next = forms;
    else
        rewriter->first = forms;
    rewriter->last = forms;
    pthread_cond_signal(&rewriter->work);
    pthread_mutex_unlock(&rewriter->lock);
    return forms;
}

void rewriter_wait(struct rewriter *rewriter, const struct forms *forms, uint64_t ns_max)
{
    uint64_t until_ns = engine_now_ns() + ns_max;
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000ull),
                             .tv_nsec = (long)(until_ns % 1000000000ull)};
    pthread_mutex_lock(&rewriter->lock);
    const struct forms *made = rewriter->current ? rewriter->current : next(rewriter);
    int error = made && made != forms ? ETIMEDOUT : 0;
    while (!error && atomic_load(&forms->state) == FORMS_PENDING)
        error = pthread_cond_timedwait(&rewriter->done, &rewriter->lock, &until);
    pthread_mutex_unlock(&rewriter->lock);
}

enum forms_state forms_state(const struct forms *forms, CUmodule *module)
{
    enum forms_state state = atomic_load_explicit(&forms->state, memory_order_acquire);
    *module = state == FORMS_READY ? forms->module : NULL;
    return state;
}

CUmodule rewriter_drop(struct rewriter *rewriter, struct forms *forms)
{
    pthread_mutex_lock(&rewriter->lock);
    if (unqueue(rewriter, forms))
        image_release(rewriter->engine->images, forms->image);
    while (rewriter->current == forms && forms->step == LOOKING)
        pthread_cond_wait(&rewriter->done, &rewriter->lock);
    CUmodule module = forms->module;
    if (rewriter->current == forms)
        forms->unwanted = forms->dropped = true;
    else
        free(forms);
    pthread_mutex_unlock(&rewriter->lock);
    return module;
}

/* Under the lock: whether the thread acts in the session's name. */
static bool is_using(const struct rewriter *rewriter, const struct session *session)
{
    const struct forms *current = rewriter->current;
    return current && current->session == session &&
           (current->step == LOOKING || current->step == LOADING);
}

void rewriter_forget(struct rewriter *rewriter, struct session *session)
{
    pthread_mutex_lock(&rewriter->lock);
    for (struct forms *forms = rewriter->first; forms; forms = forms->next)
        forms->unwanted |= forms->session == session;
    while (is_using(rewriter, session))
        pthread_cond_wait(&rewriter->done, &rewriter->lock);
    if (rewriter->current && rewriter->current->session == session)
        rewriter->current->unwanted = true;
    pthread_mutex_unlock(&rewriter->lock);
}

/* ---- start and end -------------------------------------------------------------------------- */

struct rewriter *rewriter_create(struct tally_engine *engine)
{
    struct rewriter *rewriter = calloc(1, sizeof *rewriter);
    if (!rewriter)
        return NULL;
    rewriter->engine = engine;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&rewriter->lock, NULL);
    pthread_cond_init(&rewriter->work, NULL);
    pthread_cond_init(&rewriter->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    rewriter->runs = pthread_create(&rewriter->thread, NULL, run, rewriter) == 0;
    if (rewriter->runs) {
        pthread_setname_np(rewriter->thread, "tally-rewrite");
        return rewriter;
    }
    rewriter_destroy(rewriter);
    return NULL;
}

void rewriter_destroy(struct rewriter *rewriter)
{
    pthread_mutex_lock(&rewriter->lock);
    rewriter->stopping = true;
    pthread_cond_signal(&rewriter->work);
    pthread_mutex_unlock(&rewriter->lock);
    if (rewriter->runs)
        pthread_join(rewriter->thread, NULL);
    pthread_cond_destroy(&rewriter->work);
    pthread_cond_destroy(&rewriter->done);
    pthread_mutex_destroy(&rewriter->lock);
    free(rewriter);
}
