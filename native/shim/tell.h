/* What a program's user is told on the program's own standard error: one line a reason, once. */
#ifndef TALLY_SHIM_TELL_H
#define TALLY_SHIM_TELL_H

/* Writes "tally: " and the line, unless this process or the one that it was forked from has written
 * the same line before, TALLY_QUIET is set, or descriptor 2 is not what it was when the shim was
 * loaded: a program that has put a file or a socket there wants no text in it. Any thread; takes no
 * lock. errno stays. */
void shim_tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
