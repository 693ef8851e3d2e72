#include <stdlib.h>
#include <unistd.h>

#include "clashsup/environment.h"
#include "clashsup/log.h"
#include "daemon/mihomo.h"

/*
 * Not for it: sockets that were passed to us alone, and a config that would go
 * before the checked copy (Mihomo 1.19.30, main.go). What belongs to our service
 * manager is in nobody's environment any more (notify_open).
 */
char **mihomo_environment(const struct settings *s)
{
	static const char *const not_its[] = { "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "CLASH_CONFIG_STRING",
					       NULL };

	return environment_make(environ, not_its, s->mihomo.env);
}

/* Mihomo opens /dev/null for a script, and ends when one cannot be run (1.19.30, main.go; Go's os/exec). */
bool mihomo_can_run_scripts(char *const *env)
{
	char shell[PROC_PATH];

	proc_find_in(environment_get(env, "PATH"), "sh", shell);
	if (shell[0] != '\0' && access(shell, X_OK) == 0 && access("/dev/null", R_OK | W_OK) == 0)
		return true;
	log_warn(LOG_CLASH, "Mihomo cannot say when it is ready without %s: it counts as such after %d s",
		 access("/dev/null", F_OK) == 0 ? "sh on its PATH" : "/dev/null", MIHOMO_NO_SHELL_MS / 1000);
	return false;
}
