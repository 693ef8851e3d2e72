/* watches, sockets and sets that cannot be opened or changed: an error, and what was there stays in force. */
#include <errno.h>
#include <ev.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "clashsup/ctl.h"
#include "clashsup/io.h"
#include "clashsup/ipset.h"
#include "clashsup/lease.h"
#include "clashsup/nft_set.h"
#include "clashsup/scan.h"
#include "clashsup/watch.h"
#include "failing.h"
#include "netns.h"

struct fixture {
	struct ev_loop *loop;
	char dir[64], file[96], other[96], socket[96];
	int changes, requests;
	int open_before;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	strcpy(f->dir, "/tmp/test_faults_open.XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->file, sizeof(f->file), "%s/file", f->dir);
	snprintf(f->other, sizeof(f->other), "%s/other", f->dir);
	snprintf(f->socket, sizeof(f->socket), "%s/c.sock", f->dir);
	f->loop = ev_loop_new(EVFLAG_AUTO);
	f->open_before = descriptors();
	return f->loop ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(descriptors(), f->open_before);
	ev_loop_destroy(f->loop);
	unlink(f->file);
	unlink(f->other);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static void on_limit(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

static void spin(struct fixture *f, double seconds)
{
	ev_timer limit;

	ev_now_update(f->loop);
	ev_timer_init(&limit, on_limit, seconds, 0.);
	ev_timer_start(f->loop, &limit);
	ev_run(f->loop, 0);
	ev_timer_stop(f->loop, &limit);
}

/* ---- watch ---- */

static void on_change(void *ctx, const char *path)
{
	struct fixture *f = ctx;
	(void)path;

	f->changes++;
}

static void touch(const char *path)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
}

static void a_watch_that_cannot_be_opened_is_told(void **state)
{
	struct fixture *f = *state;
	struct watch *w = NULL;
	struct err e = ERR_INIT;

	fail_call(CALL_INOTIFY_INIT1, 0, EMFILE);
	assert_int_equal(watch_open(&w, f->loop, on_change, scan_yaml_name, f, &e), -EMFILE);
	assert_true(call_works(CALL_INOTIFY_INIT1));
	assert_string_equal(e.msg, "cannot watch files: Too many open files");
	fail_allocation(0);
	assert_int_equal(watch_open(&w, f->loop, on_change, scan_yaml_name, f, &e), -ENOMEM);
	assert_true(allocations_work());
	assert_null(w);
	assert_int_equal(descriptors(), f->open_before);
	assert_int_equal(watch_open(&w, f->loop, on_change, scan_yaml_name, f, &e), 0);
	watch_close(w);
}

static void a_path_that_cannot_be_watched_is_told_and_the_others_are_watched_on(void **state)
{
	struct fixture *f = *state;
	struct watch *w = NULL;
	struct err e = ERR_INIT;

	touch(f->file);
	touch(f->other);
	assert_int_equal(watch_open(&w, f->loop, on_change, scan_yaml_name, f, &e), 0);
	assert_int_equal(watch_add(w, f->file, &e), 0);
	fail_calls_after(CALL_INOTIFY_ADD_WATCH, 0, ENOSPC);
	assert_int_equal(watch_add(w, f->other, &e), -ENOSPC);
	assert_true(call_works(CALL_INOTIFY_ADD_WATCH));
	assert_non_null(strstr(e.msg, f->other));
	fail_allocation(0);
	assert_int_equal(watch_add(w, f->other, &e), -ENOMEM);
	assert_true(allocations_work());
	touch(f->other);
	touch(f->file);
	spin(f, 0.4);
	assert_int_equal(f->changes, 1);
	assert_int_equal(watch_add(w, f->other, &e), 0);
	touch(f->other);
	spin(f, 0.4);
	assert_int_equal(f->changes, 2);
	watch_close(w);
}

/* Its own inode, or its name in the directory: either tells of a new file in its place. */
static void half_of_its_places_is_enough_to_see_a_file_replaced(void **state)
{
	struct fixture *f = *state;

	for (long n = 0; n < 2; n++) {
		struct watch *w = NULL;
		struct err e = ERR_INIT;

		touch(f->file);
		touch(f->other);
		f->changes = 0;
		assert_int_equal(watch_open(&w, f->loop, on_change, scan_yaml_name, f, &e), 0);
		fail_call(CALL_INOTIFY_ADD_WATCH, n, ENOSPC);
		assert_int_equal(watch_add(w, f->file, &e), 0);
		assert_true(call_works(CALL_INOTIFY_ADD_WATCH));
		assert_int_equal(rename(f->other, f->file), 0);
		spin(f, 0.4);
		assert_int_equal(f->changes, 1);
		watch_close(w);
	}
}

/* ---- ctl ---- */

static char *handle(void *ctx, const struct ctl_request *r, size_t *cursor)
{
	struct fixture *f = ctx;
	(void)r;
	(void)cursor;

	f->requests++;
	return ctl_answer_ok();
}

static void a_control_socket_that_cannot_be_made_is_told_and_leaves_no_file(void **state)
{
	static const struct {
		enum failing_call call;
		int errnum;
	} faults[] = { { CALL_SOCKET, EMFILE }, { CALL_BIND, EACCES }, { CALL_LISTEN, ENOBUFS } };
	struct fixture *f = *state;
	struct ctl *ctl = NULL;
	struct err e = ERR_INIT;

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		fail_call(faults[i].call, 0, faults[i].errnum);
		assert_int_equal(ctl_open(&ctl, f->loop, f->socket, -1, handle, f, &e), -faults[i].errnum);
		assert_true(call_works(faults[i].call));
		assert_non_null(strstr(e.msg, "cannot"));
		assert_int_equal(access(f->socket, F_OK), -1);
	}
	fail_allocation(0);
	assert_int_equal(ctl_open(&ctl, f->loop, f->socket, -1, handle, f, &e), -ENOMEM);
	assert_true(allocations_work());
	assert_null(ctl);
	assert_int_equal(descriptors(), f->open_before);
	assert_int_equal(ctl_open(&ctl, f->loop, f->socket, -1, handle, f, &e), 0);
	ctl_close(ctl);
}

/* What a client is answered to one request; 0 = the connection was closed. */
static ssize_t ask(struct fixture *f, char *answer, size_t cap)
{
	static const char request[] = "{\"version\":1,\"cmd\":\"status\"}\n";
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ssize_t n;

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", f->socket);
	assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(io_write_all(fd, request, sizeof(request) - 1), 0);
	spin(f, 0.02);
	n = recv(fd, answer, cap - 1, MSG_DONTWAIT);
	answer[n > 0 ? n : 0] = '\0';
	return n;
}

static void a_request_without_memory_costs_its_client_alone(void **state)
{
	struct fixture *f = *state;
	struct ctl *ctl = NULL;
	char answer[256];
	bool failed = true;

	assert_int_equal(ctl_open(&ctl, f->loop, f->socket, -1, handle, f, NULL), 0);
	for (long n = 0; failed; n++) {
		fail_allocations_after(n);
		assert_true(ask(f, answer, sizeof(answer)) >= 0); /* closed or answered, never left waiting */
		failed = allocations_work();
		assert_true(failed ? !strstr(answer, "\"ok\":true") : f->requests > 0);
		assert_true(n < 100);
	}
	assert_string_equal(answer, "{\"version\":1,\"ok\":true}\n");
	ctl_close(ctl);
}

/* ---- ipset and lease: their libraries open the sockets ---- */

static void netlink_without_descriptors_or_memory_is_told(void **state)
{
	struct fixture *f = *state;
	struct ipset *s = NULL;
	struct lease *l = NULL;
	struct nft_set *nft = NULL;
	struct err e = ERR_INIT;

	fail_allocation(0);
	assert_int_equal(ipset_open(&s, &e), -ENOMEM);
	assert_true(allocations_work());
	fail_allocation(0);
	assert_int_equal(lease_open(&l, 1, &e), -ENOMEM);
	assert_true(allocations_work());
	fail_allocation(0);
	assert_int_equal(nft_set_open(&nft, &e), -ENOMEM);
	assert_true(allocations_work());
	fail_descriptors(true);
	assert_int_equal(ipset_open(&s, &e), -EMFILE);
	assert_string_equal(e.msg, "open ipset: Too many open files");
	assert_int_equal(lease_open(&l, 1, &e), -EMFILE);
	assert_string_equal(e.msg, "open lease: Too many open files");
	assert_int_equal(nft_set_open(&nft, &e), -EMFILE);
	assert_string_equal(e.msg, "open nft sets: Too many open files");
	fail_descriptors(false);
	assert_null(s);
	assert_null(l);
	assert_null(nft);
	assert_int_equal(descriptors(), f->open_before);
}

/* The lease itself needs nothing new; only the listing of connections has a socket of its own. */
static void without_descriptors_the_lease_works_and_connections_are_told_to_be_left(void **state)
{
	const bool both[] = { true, true };
	struct err e = ERR_INIT;
	struct lease *l = NULL;
	struct nft_set *nft = NULL;
	struct addr a = { .family = IP_V4, .bytes = { 10, 0, 0, 1 } };
	void *namespace;
	(void)state;

	netns_enter(&namespace);
	NEED_NETNS(&namespace);
	assert_true(sh("nft 'add table inet clashsup; add set inet clashsup clash_lease { typeof meta nfproto; flags "
		       "timeout; }; add set inet clashsup servers { type ipv4_addr; }'"));
	assert_int_equal(lease_open(&l, 1, &e), 0);
	assert_int_equal(nft_set_open(&nft, &e), 0);
	fail_descriptors(true);
	fail_allocations_after(0);
	assert_int_equal(lease_refresh(l, FW_NFT, both, &e), 0);
	assert_int_equal(lease_off(l, FW_NFT, &e), 0);
	assert_int_equal(lease_forget_flows(l, &e), 0);
	assert_int_equal(nft_set_change(nft, "servers", &a, 1, NULL, 0, &e), -ENOMEM);
	assert_true(allocations_work());
	assert_int_equal(lease_forget_dns(l, &e), -EMFILE);
	fail_descriptors(false);
	assert_int_equal(lease_forget_dns(l, &e), 0);
	assert_int_equal(nft_set_change(nft, "servers", &a, 1, NULL, 0, &e), 0);
	nft_set_close(nft);
	lease_close(l);
	assert_true(sh("nft delete table inet clashsup"));
}

static void a_set_that_cannot_be_changed_keeps_what_it_has(void **state)
{
	struct ipset *s = NULL;
	struct addr a, b;
	struct addr_net net;
	struct err e = ERR_INIT;
	void *namespace;
	size_t n = 0;
	(void)state;

	netns_enter(&namespace);
	NEED_NETNS(&namespace);
	addr_parse("45.0.0.1", &a);
	addr_parse("45.0.0.2", &b);
	addr_net_parse("45.0.0.4", &net);
	assert_int_equal(ipset_open(&s, &e), 0);
	assert_int_equal(ipset_create(s, "faults", "hash:ip family inet", &e), 0);
	assert_int_equal(ipset_change(s, "faults", &a, 1, NULL, 0, &e), 0);
	fail_descriptors(true);
	assert_true(ipset_change(s, "faults", &b, 1, &a, 1, &e) < 0);
	assert_non_null(strstr(e.msg, "change set faults"));
	assert_true(ipset_add_elements(s, "faults", (const char *const[]){ "45.0.0.3" }, 1, &e) < 0);
	assert_non_null(strstr(e.msg, "add to set faults"));
	assert_true(ipset_replace_nets(s, "faults", &net, 1, &e) < 0);
	assert_non_null(strstr(e.msg, "change set faults"));
	assert_true(ipset_create(s, "another", "hash:ip family inet", &e) < 0);
	assert_int_equal(ipset_exists(s, "faults", &n, &e), 1); /* by a socket that is open */
	assert_int_equal(n, 1);
	fail_descriptors(false);
	assert_int_equal(ipset_exists(s, "another", NULL, &e), 0);
	assert_int_equal(ipset_change(s, "faults", &b, 1, NULL, 0, &e), 0);
	assert_int_equal(ipset_exists(s, "faults", &n, &e), 1);
	assert_int_equal(n, 2);
	assert_int_equal(ipset_destroy(s, "faults", &e), 0);
	ipset_close(s);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_watch_that_cannot_be_opened_is_told),
		CASE(a_path_that_cannot_be_watched_is_told_and_the_others_are_watched_on),
		CASE(half_of_its_places_is_enough_to_see_a_file_replaced),
		CASE(a_control_socket_that_cannot_be_made_is_told_and_leaves_no_file),
		CASE(a_request_without_memory_costs_its_client_alone),
		CASE(netlink_without_descriptors_or_memory_is_told),
		CASE(a_set_that_cannot_be_changed_keeps_what_it_has),
		CASE(without_descriptors_the_lease_works_and_connections_are_told_to_be_left),
	};
	cJSON_Hooks hooks = { malloc, free };

	cJSON_InitHooks(&hooks); /* it allocates within its own library */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
