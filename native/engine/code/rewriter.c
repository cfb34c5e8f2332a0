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

struct forms {
    struct forms *next; /* of the queue */
    struct session *session; /* lives while the forms are queued, or being loaded */
    struct image *image;     /* referenced while they are pending */
    CUmodule originals;      /* the driver's; there until they are dropped */
    CUmodule module;
    _Atomic int state;
    bool unwanted; /* the session or the module is going: not to be loaded */
    bool dropped;  /* nobody has a pointer to them any more: the thread frees them */
};

struct rewriter {
    struct tally_engine *engine;
    pthread_mutex_t lock;
    pthread_cond_t work, done; /* done: the one that was current is not pending any more */
    pthread_t thread;
    bool runs, stopping;
    bool loading; /* the current one, in its session's name */
    bool looking; /* at the current one's originals */
    uint64_t turns;
    struct forms *first, *last, *current;
};

/* ---- the thread -------------------------------------------------------------------------------- */

static CUresult load(struct session *session, const char *text, const struct addresses *variables, CUmodule *out)
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
    else if (!atomic_load(&session->ending) && !driver_error_is_sticky(result)) /* else it is not the module */
        tally_stats_add(&session->stats, TALLY_COUNT_REWRITES_REFUSED, 1);
}

/* Under the lock, released meanwhile; the originals are not unloaded as long. */
static CUresult look(struct rewriter *rewriter, struct forms *forms, const char *text, struct addresses *variables)
{
    rewriter->looking = true;
    pthread_mutex_unlock(&rewriter->lock);
    session_enter_thread(forms->session);
    CUresult result = variables_find(forms->session, forms->originals, text, variables);
    pthread_mutex_lock(&rewriter->lock);
    rewriter->looking = false;
    pthread_cond_broadcast(&rewriter->done);
    return result;
}

/* Under the lock, released meanwhile. */
static void load_unless_dropped(struct rewriter *rewriter, struct forms *forms, const char *text)
{
    struct addresses variables;
    CUmodule module = NULL;
    CUresult result = look(rewriter, forms, text, &variables);
    if (!forms->dropped) {
        pthread_mutex_unlock(&rewriter->lock);
        result = result ? result : load(forms->session, text, &variables, &module);
        count(forms->session, result);
        pthread_mutex_lock(&rewriter->lock);
    }
    free(variables.items);
    if (module && forms->dropped) {
        pthread_mutex_unlock(&rewriter->lock);
        forms->session->driver->cu.cuModuleUnload(module);
        pthread_mutex_lock(&rewriter->lock);
        module = NULL;
    }
    forms->module = module;
}

/* In the session's name: rewriter_forget waits until this is over. Under the lock, released meanwhile. */
static void load_in_session(struct rewriter *rewriter, struct forms *forms, const char *text)
{
    struct session *session = forms->session;
    if (!text) {
        tally_stats_add(&session->stats, TALLY_COUNT_REWRITES_IMPOSSIBLE, 1);
        return;
    }
    rewriter->loading = true;
    load_unless_dropped(rewriter, forms, text);
    session->driver->ops->tenant_enter(session->driver, 0);
    rewriter->loading = false;
}

/* Under the lock, released meanwhile. */
static void make(struct rewriter *rewriter, struct forms *forms)
{
    struct image_cache *images = rewriter->engine->images;
    rewriter->current = forms;
    if (!forms->unwanted) {
        forms->session->rewritten_turn = ++rewriter->turns;
        pthread_mutex_unlock(&rewriter->lock);
        const char *text = image_rewritten(images, forms->image, rewriter->engine->config.rewrite);
        pthread_mutex_lock(&rewriter->lock);
        if (!forms->unwanted) /* still */
            load_in_session(rewriter, forms, text);
    }
    image_release(images, forms->image);
    atomic_store_explicit(&forms->state, forms->module ? FORMS_READY : FORMS_NONE, memory_order_release);
    rewriter->current = NULL;
    if (forms->dropped)
        free(forms);
    pthread_cond_broadcast(&rewriter->done);
}

/* Under the lock: the oldest of the session that has waited longest for a turn, or NULL. */
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

/* Under the lock. */
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

static void *run(void *argument)
{
    struct rewriter *rewriter = argument;
    pthread_mutex_lock(&rewriter->lock);
    while (!rewriter->stopping) {
        struct forms *forms = next(rewriter);
        if (!forms) {
            pthread_cond_wait(&rewriter->work, &rewriter->lock);
            continue;
        }
        unqueue(rewriter, forms);
        make(rewriter, forms);
    }
    pthread_mutex_unlock(&rewriter->lock);
    return NULL;
}

/* ---- for sessions ------------------------------------------------------------------------------ */

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
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000ull), .tv_nsec = (long)(until_ns % 1000000000ull)};
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
    while (rewriter->current == forms && rewriter->looking)
        pthread_cond_wait(&rewriter->done, &rewriter->lock);
    CUmodule module = forms->module;
    if (rewriter->current == forms)
        forms->unwanted = forms->dropped = true;
    else
        free(forms);
    pthread_mutex_unlock(&rewriter->lock);
    return module;
}

void rewriter_forget(struct rewriter *rewriter, struct session *session)
{
    pthread_mutex_lock(&rewriter->lock);
    for (struct forms *forms = rewriter->first; forms; forms = forms->next)
        forms->unwanted |= forms->session == session;
    while (rewriter->current && rewriter->current->session == session && rewriter->loading)
        pthread_cond_wait(&rewriter->done, &rewriter->lock);
    if (rewriter->current && rewriter->current->session == session)
        rewriter->current->unwanted = true;
    pthread_mutex_unlock(&rewriter->lock);
}

/* ---- start and end ----------------------------------------------------------------------------- */

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
