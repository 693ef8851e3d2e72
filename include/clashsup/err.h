/*
 * err: one error record, a code and a sentence for the operator.
 *
 * The law of the house: a function that can fail returns 0 or -errno and fills
 * the caller's struct err. Deep code sets it, each level may prefix what it was
 * doing, the supervisor logs it once: return or log, never both. Positive
 * returns are documented outcomes which the caller must handle.
 *
 * Fixed size, no allocation: works after fork and when memory is gone.
 * A NULL struct err is allowed everywhere and only loses the sentence.
 */
#ifndef CLASHSUP_ERR_H
#define CLASHSUP_ERR_H

#define ERR_MSG_MAX 320 /* bytes with the NUL; a longer sentence is cut */

struct err {
	int code; /* positive errno, 0 = nothing happened */
	char msg[ERR_MSG_MAX];
};

#define ERR_INIT                                                                                                       \
	{                                                                                                              \
		0, ""                                                                                                  \
	}

/* Sets code and sentence; returns -code, so that `return err_set(...)` reads well. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set, with ": " and the text of `errnum` behind the sentence. */
int err_sys(struct err *e, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "what: " before the sentence. Returns -e->code (-1 when e is NULL). */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
