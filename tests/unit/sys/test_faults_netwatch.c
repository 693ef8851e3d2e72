/* netwatch, stamps and routes without descriptors, memory or capabilities: an error with its cause, and nothing left
 * open. */
#include <errno.h>
#include <ev.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/netwatch.h"
#include "clashsup/route.h"
#include "failing.h"
#include "netns.h"

static void on_news(void *ctx, const struct netwatch_news *news)
{
	int *calls = ctx;

	calls[news->event]++;
}

static void a_watch_that_cannot_be_opened_is_told_and_leaves_nothing_open(void **state)
{
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	struct netwatch *w = NULL;
	int calls[NETWATCH_EVENTS] = { 0 }, open_before = descriptors();
	struct err e = ERR_INIT;

	NEED_NETNS(state);
	fail_allocation(0);
	assert_int_equal(netwatch_open(&w, loop, 100, on_news, calls, &e), -ENOMEM);
	assert_true(allocations_work());
	fail_descriptors(true);
	assert_int_equal(netwatch_open(&w, loop, 100, on_news, calls, &e), -EMFILE);
	assert_string_equal(e.msg, "watch the network: Too many open files");
	fail_descriptors(false);
	assert_null(w);
	assert_int_equal(descriptors(), open_before);

	assert_int_equal(netwatch_open(&w, loop, 100, on_news, calls, &e), 0);
	fail_descriptors(true);
	assert_int_equal(netwatch_rulesets(w, true, &e), -EMFILE);
	assert_string_equal(e.msg, "watch the rulesets: Too many open files");
	fail_descriptors(false);
	assert_int_equal(descriptors(), open_before + 1);
	assert_int_equal(netwatch_rulesets(w, true, &e), 0); /* a failure is no end of it */
	assert_true(sh("nft add table inet a"));
	ev_run(loop, EVRUN_NOWAIT);
	assert_int_equal(calls[NETWATCH_RULESET], 1);
	assert_true(sh("nft delete table inet a"));
	netwatch_close(w);
	netwatch_close(NULL);
	assert_int_equal(descriptors(), open_before);
	ev_loop_destroy(loop);
}

/* In a child that is nobody to this namespace: the exit status says which step was wrong. */
static int as_nobody(void)
{
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	struct netwatch *w = NULL;
	int calls[NETWATCH_EVENTS] = { 0 }, open_before;
	struct err e = ERR_INIT;

	if (unshare(CLONE_NEWUSER) < 0)
		return 1;
	if (netwatch_open(&w, loop, 100, on_news, calls, &e) < 0) /* anybody may hear of routes */
		return 2;
	open_before = descriptors();
	if (netwatch_rulesets(w, true, &e) != -EPERM || !strstr(e.msg, "watch the rulesets: "))
		return 3;
	if (descriptors() != open_before)
		return 4;
	if (route_add(IP_V4, 1, 100, 100, &e) != -EPERM || route_left(IP_V4, &e) != 0)
		return 5;
	netwatch_close(w);
	return 0;
}

static void without_the_capability_rulesets_are_refused(void **state)
{
	int status;
	pid_t pid;

	NEED_NETNS(state);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(as_nobody());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_stamp_that_cannot_be_taken_says_why(void **state)
{
	struct legacy_stamp stamp;
	struct err e = ERR_INIT;

	NEED_NETNS(state);
	fail_call(CALL_OPEN, 0, EACCES);
	assert_int_equal(netwatch_legacy(IP_V4, "mangle", &stamp, &e), -EACCES);
	assert_true(call_works(CALL_OPEN));
	assert_string_equal(e.msg, "look at the legacy IPv4 table mangle: Permission denied");
	if (!sh("iptables-legacy -t mangle -S >/dev/null 2>&1")) {
		printf("SKIP: no legacy iptables here\n");
		skip();
	}
	fail_call(CALL_SOCKET, 0, EPERM);
	assert_int_equal(netwatch_legacy(IP_V4, "mangle", &stamp, &e), -EPERM);
	assert_true(call_works(CALL_SOCKET));
	assert_int_equal(netwatch_legacy(IP_V4, "mangle", &stamp, &e), 0);
}

static void routes_without_descriptors_are_told(void **state)
{
	const struct iface_list all = { NULL, 0 };
	struct route_stranger stranger;
	struct addr_net net;
	bool rule = true, route = true;
	struct err e = ERR_INIT;

	NEED_NETNS(state);
	fail_descriptors(true);
	assert_int_equal(route_lan(&all, IP_V4, &net, 1, &e), -EMFILE);
	assert_int_equal(route_strangers(IP_V4, 1, 100, 100, &stranger, 1, &e), -EMFILE);
	assert_int_equal(route_add(IP_V4, 1, 100, 100, &e), -EMFILE);
	assert_int_equal(route_look(IP_V4, 1, 100, 100, &rule, &route, &e), -EMFILE);
	assert_int_equal(route_left(IP_V4, &e), -EMFILE);
	assert_true(rule && route); /* what could not be seen stays as it was */
	assert_int_equal(route_sweep(IP_V4, &e), -EMFILE);
	assert_string_equal(e.msg, "open rtnetlink: Too many open files");
	fail_descriptors(false);
	assert_int_equal(route_look(IP_V4, 1, 100, 100, &rule, &route, &e), 0);
	assert_false(rule || route);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_watch_that_cannot_be_opened_is_told_and_leaves_nothing_open),
		cmocka_unit_test(without_the_capability_rulesets_are_refused),
		cmocka_unit_test(a_stamp_that_cannot_be_taken_says_why),
		cmocka_unit_test(routes_without_descriptors_are_told),
	};

	return cmocka_run_group_tests(tests, netns_enter, NULL);
}
