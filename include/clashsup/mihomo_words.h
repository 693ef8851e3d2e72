/*
 * mihomo_words: what `mihomo -t` prints, as one sentence for who has to mend it,
 * with file and line where Mihomo names one. Pure. The wording is that of Mihomo
 * 1.19.30 (component/geodata/init.go, component/mmdb/mmdb.go) and of go-yaml v3;
 * what is worded otherwise is passed on as it is.
 */
#ifndef CLASHSUP_MIHOMO_WORDS_H
#define CLASHSUP_MIHOMO_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * `output` ends with a NUL. `file` is the user's, whose lines are those of the
 * tested copy; `home` is where geodata is looked for. "" when nothing was printed.
 */
void mihomo_complaint(const char *output, const char *file, const char *home, char *out, size_t cap);

/* One that did not end: was it on a download of geodata? Then the sentence. */
bool mihomo_downloads(const char *output, const char *file, const char *home, char *out, size_t cap);

#endif
