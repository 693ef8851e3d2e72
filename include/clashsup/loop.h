/* loop: the program's one event loop, which does not give up. */
#ifndef CLASHSUP_LOOP_H
#define CLASHSUP_LOOP_H

#include <ev.h>
#include <signal.h>
#include <sys/signalfd.h>

/*
 * One a program; NULL = there is none to be had. Where the kernel refuses it
 * something libev would abort (ev_set_syserr_cb in its manual); here it says so in
 * the log, at most once a second, waits a moment and hands everything to the
 * kernel anew. It is not libev's default loop: that has a pipe for signals, without
 * an end to its tries to make one where descriptors have run out.
 */
struct ev_loop *loop_open(void);
void loop_close(struct ev_loop *loop);

/* There is a turn within 100 ms, for what has to be tried again. In a loop that is not loop_open's: nothing. */
void loop_soon(struct ev_loop *loop);

/*
 * Signals as data: read from a descriptor, never handled. They are blocked from
 * the first moment of the program on (proc_clean_start), so none is lost, not even
 * over an execve: what was not read stays pending. Each is told with its sender.
 */
struct loop_signals {
	ev_io io;
	int priority; /* of the watcher; set it before the start */
	void (*take)(void *ctx, const struct signalfd_siginfo *info);
	void *ctx;
};

/* 0 or -errno. */
int loop_signals_start(struct loop_signals *w, struct ev_loop *loop, const sigset_t *set,
		       void (*take)(void *ctx, const struct signalfd_siginfo *info), void *ctx);

/* One that was never started, all zero, is fine. They stay blocked. */
void loop_signals_stop(struct loop_signals *w, struct ev_loop *loop);

#endif
