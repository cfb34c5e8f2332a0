/* What no header says: the Python functions that C calls. See tally_rewrite_fn in
 * native/engine/engine.h. */
extern "Python" void *tally_rewrite(const void *image, size_t bytes, size_t *text_bytes);
extern "Python" int tally_rewrite_beside(const void *image, size_t bytes, char **text);
