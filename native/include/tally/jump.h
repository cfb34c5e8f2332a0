/* Handlers of signals that leave by siglongjmp. */
#ifndef TALLY_JUMP_H
#define TALLY_JUMP_H

/* What sigsetjmp is told. The handlers are installed with SA_NODEFER and change no mask, so there
 * is none to restore; but ThreadSanitizer's own handler, which calls them, blocks every signal. The
 * next fault would end the process, and the next interrupt would never come. */
#if defined(TALLY_SANITIZE_THREAD)
#define TALLY_JUMP_SAVES_MASK 1
#else
#define TALLY_JUMP_SAVES_MASK 0
#endif

#endif
