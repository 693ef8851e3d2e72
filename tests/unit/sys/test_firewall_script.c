/* firewall with the script as its backend: what runs for which parts, whose outcome it is, and what cannot be asked. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/firewall.h"
#include "clashsup/io.h"
#include "with_reaper.h"

static const struct fwplan_params params = {
	.server_set = "clash_proxy_ips", .port = 7893, .mark = 1, .core_gid = 5, .local = true
};
static const bool both[IP_FAMILIES] = { true, true };

struct fixture {
	struct reaper *reaper;
	char dir[64], path[80], log[80];
	struct firewall_script script;
	struct firewall *fw;
	struct firewall_result result;
	int done;
};

static void on_done(void *ctx, const struct firewall_result *result)
{
	struct fixture *x = ctx;

	x->result = *result;
	x->done++;
	ev_break(x->reaper->loop, EVBREAK_ALL);
}

static struct fixture *with_script(void **state, const char *body)
{
	struct fixture *x = calloc(1, sizeof(*x));
	struct err e = ERR_INIT;
	FILE *f;

	assert_non_null(x);
	x->reaper = *state;
	snprintf(x->dir, sizeof(x->dir), "/tmp/test_fwscript.XXXXXX");
	assert_non_null(mkdtemp(x->dir));
	snprintf(x->path, sizeof(x->path), "%s/s", x->dir);
	snprintf(x->log, sizeof(x->log), "%s/log", x->dir);
	f = fopen(x->path, "w");
	assert_non_null(f);
	fprintf(f, "#!/bin/sh\necho $1 $TABLE $FAMILIES >>%s\n%s\n", x->log, body);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(x->path, 0755), 0);
	x->script = (struct firewall_script){ .path = x->path, .table = 123 };
	assert_int_equal(firewall_new(&x->fw, x->reaper, &x->script, &e), 0);
	return x;
}

static void apply(struct fixture *x, unsigned parts, const bool family[IP_FAMILIES])
{
	struct err e = ERR_INIT;

	x->done = 0;
	assert_int_equal(firewall_apply(x->fw, FW_SCRIPT, &params, parts, family, on_done, x, &e), 0);
	assert_int_equal(x->done, 0);
}

static void finish(struct fixture *x)
{
	while (!x->done)
		ev_run(x->reaper->loop, EVRUN_ONCE);
	assert_int_equal(x->done, 1);
}

static void assert_log_and_end(struct fixture *x, const char *expected)
{
	cleanup_free char *text = NULL;
	size_t len;

	assert_int_equal(io_slurp_path(x->log, 65536, &text, &len, NULL), 0);
	assert_string_equal(text, expected);
	firewall_free(x->fw);
	unlink(x->log);
	unlink(x->path);
	rmdir(x->dir);
	free(x);
}

static void armed_is_apply_and_all_else_is_remove(void **state)
{
	static const bool v4_only[IP_FAMILIES] = { true, false }, none[IP_FAMILIES] = { false, false };
	struct fixture *x = with_script(state, "exit 0");

	apply(x, FWPLAN_ARMED | FWPLAN_STANDING, both);
	finish(x);
	assert_int_equal(x->result.family[IP_V4] | x->result.family[IP_V6], 0);
	apply(x, FWPLAN_ARMED, v4_only);
	finish(x);
	apply(x, FWPLAN_STANDING, both);
	finish(x);
	apply(x, FWPLAN_ARMED, none);
	finish(x);
	apply(x, 0, both);
	finish(x);
	assert_log_and_end(x, "apply 123 4 6\napply 123 4\nremove 123 4 6\nremove 123\nremove 123 4 6\n");
}

static void a_failure_is_that_of_the_families_that_were_applied(void **state)
{
	static const bool v6_only[IP_FAMILIES] = { false, true };
	struct fixture *x = with_script(state, "[ $1 = remove ] || { echo no luck; exit 2; }");

	apply(x, FWPLAN_ARMED, v6_only);
	finish(x);
	assert_int_equal(x->result.family[IP_V4], 0);
	assert_int_equal(x->result.family[IP_V6], -EIO);
	assert_non_null(strstr(x->result.err[IP_V6].msg, "apply: exit status 2: no luck"));
	assert_log_and_end(x, "apply 123 6\nremove 123 6\n");
}

static void an_abort_ends_with_a_removal(void **state)
{
	struct fixture *x = with_script(state, "[ $1 = remove ] || exec sleep 60");
	struct stat st = { .st_size = 0 };

	apply(x, FWPLAN_ARMED, both);
	while (stat(x->log, &st) < 0 || st.st_size == 0)
		ev_run(x->reaper->loop, EVRUN_NOWAIT);
	firewall_abort(x->fw);
	finish(x);
	assert_true(x->result.aborted);
	assert_int_equal(x->result.family[IP_V4], -ECANCELED);
	assert_log_and_end(x, "apply 123 4 6\nremove 123 4 6\n");
}

static void without_a_script_nothing_is_begun(void **state)
{
	struct firewall *fw;
	struct fixture x = { .reaper = *state };
	struct err e = ERR_INIT;
	int r;

	assert_int_equal(firewall_new(&fw, *state, NULL, &e), 0);
	r = firewall_apply(fw, FW_SCRIPT, &params, FWPLAN_ARMED, both, on_done, &x, &e);
	if (r == 0) { /* the face may tell it from the loop */
		finish(&x);
		r = x.result.family[IP_V4];
		e = x.result.err[IP_V4];
	}
	assert_int_equal(r, -EINVAL);
	assert_string_equal(e.msg, "backend = script, and [tproxy] script is not set");
	assert_false(firewall_busy(fw));
	firewall_free(fw);
}

static void on_look(void *ctx, const struct firewall_result *result, const struct fw_view view[IP_FAMILIES])
{
	(void)ctx;
	(void)result;
	(void)view;
	fail();
}

static void what_a_script_has_put_in_cannot_be_looked_at(void **state)
{
	struct firewall *fw;
	struct err e = ERR_INIT;

	assert_int_equal(firewall_new(&fw, *state, NULL, &e), 0);
	assert_int_equal(firewall_look(fw, FW_SCRIPT, on_look, NULL, &e), -EOPNOTSUPP);
	assert_false(firewall_busy(fw));
	firewall_free(fw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(armed_is_apply_and_all_else_is_remove),
		cmocka_unit_test(a_failure_is_that_of_the_families_that_were_applied),
		cmocka_unit_test(an_abort_ends_with_a_removal),
		cmocka_unit_test(without_a_script_nothing_is_begun),
		cmocka_unit_test(what_a_script_has_put_in_cannot_be_looked_at),
	};

	return cmocka_run_group_tests(tests, with_reaper, without_reaper);
}
