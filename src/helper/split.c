#include "helper/split.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clashsup/io.h"

/* A parent that is gone before the kernel is asked for the signal is seen by the comparison. */
static void become_reader(int out, pid_t parent)
{
	if (dup2(out, STDOUT_FILENO) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != parent)
		_exit(1);
	io_close(&out);
}

int split_reader(struct reader *r, struct err *e)
{
	pid_t parent = getpid();
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, errno, "cannot start the reader");
	r->pid = fork();
	if (r->pid < 0) {
		int errnum = errno;

		io_close(&ends[0]);
		io_close(&ends[1]);
		return err_sys(e, errnum, "cannot start the reader");
	}
	io_close(&ends[r->pid == 0 ? 0 : 1]);
	if (r->pid == 0) {
		become_reader(ends[1], parent);
		return 1;
	}
	r->records = ends[0];
	return 0;
}

int reader_end(struct reader *r, struct err *e)
{
	int status = 0;
	pid_t got;

	io_close(&r->records);
	do
		got = waitpid(r->pid, &status, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_sys(e, errno, "cannot wait for the reader");
	if (WIFSIGNALED(status))
		return err_set(e, EIO, "the reader was killed by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status) == 0 ? 0 : err_set(e, EIO, "the reader ended with status %d", WEXITSTATUS(status));
}
