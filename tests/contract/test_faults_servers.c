/* servers without memory or processes: the set and what is known stay, and it goes on afterwards. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../unit/sys/netns.h"
#include "clashsup/fwplan.h"
#include "clashsup/ipset.h"
#include "daemon/servers.h"
#include "failing.h"

#define MANY 600 /* the queue grows twice behind its first piece */

enum { FILE_A = 11 };

static const bool v4_only[IP_FAMILIES] = { [IP_V4] = true };

struct fixture {
	struct reaper reaper;
	struct settings settings;
	struct ipset *ipset;
	struct servers servers;
	unsigned filled; /* how often it was told that all is in the sets */
};

static int change_ipset(void *ctx, enum ip_family family, const struct addr *add, size_t n_add, const struct addr *del,
			size_t n_del, struct err *e)
{
	struct fixture *f = ctx;
	char name[FWPLAN_SET_TEXT];

	return ipset_change(f->ipset, fwplan_set_name(f->settings.ipset.name, family, name), add, n_add, del, n_del, e);
}

static void filled(void *ctx)
{
	struct fixture *f = ctx;

	f->filled++;
}

static struct fixture *begin(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	reaper_start(&f->reaper, ev_default_loop(0));
	settings_default(&f->settings);
	assert_int_equal(ipset_open(&f->ipset, NULL), 0);
	assert_int_equal(ipset_create(f->ipset, f->settings.ipset.name, "hash:ip family inet", NULL), 0);
	f->servers = (struct servers){ .loop = f->reaper.loop,
				       .setup = { .reaper = &f->reaper,
						  .settings = &f->settings,
						  .run_dir = "/nowhere",
						  .home = "/nowhere",
						  .config = "/nowhere/config.yaml",
						  .helper_fd = -1,
						  .helper_path = "clashsup-helper" },
				       .change = change_ipset,
				       .filled = filled,
				       .ctx = f };
	assert_int_equal(servers_init(&f->servers, NULL), 0);
	ledger_begin(f->servers.ledger);
	for (int i = 0; i < MANY; i++) {
		char text[ADDR_TEXT];
		struct addr a;

		snprintf(text, sizeof(text), "45.0.%d.%d", i / 256, i % 256);
		assert_int_equal(addr_parse(text, &a), 0);
		assert_int_equal(ledger_add(f->servers.ledger, &a, FILE_A, 0, 1, 0), 1);
	}
	assert_int_equal(ledger_source(f->servers.ledger, FILE_A, true), 0);
	return f;
}

static void end(struct fixture *f)
{
	servers_deinit(&f->servers);
	assert_int_equal(ipset_destroy(f->ipset, f->settings.ipset.name, NULL), 0);
	ipset_close(f->ipset);
	settings_free(&f->settings);
	reaper_stop(&f->reaper);
	free(f);
}

/* Lets the queue run empty; what the kernel's set has then. */
static size_t in_the_set(struct fixture *f)
{
	size_t n = 0;

	for (int i = 0; i < 100 && servers_busy(&f->servers); i++)
		ev_run(f->reaper.loop, EVRUN_ONCE);
	assert_false(servers_busy(&f->servers));
	assert_int_equal(ipset_exists(f->ipset, f->settings.ipset.name, &n, NULL), 1);
	return n;
}

static void a_queue_without_memory_loses_what_the_next_start_brings_back(void **state)
{
	bool failed = true;
	int rounds = 0;

	NEED_NETNS(state);
	for (long n = 0; failed; n++, rounds++) {
		struct fixture *f = begin();

		fail_allocation(n);
		servers_on(&f->servers, v4_only);
		failed = allocations_work();
		assert_in_range(in_the_set(f), failed ? MANY - 1 : MANY, MANY);
		assert_int_equal(ledger_count(f->servers.ledger, IP_V4), MANY);
		servers_off(&f->servers);
		assert_int_equal(ipset_flush(f->ipset, f->settings.ipset.name, NULL), 0);
		servers_on(&f->servers, v4_only);
		assert_int_equal(in_the_set(f), MANY);
		end(f);
	}
	assert_true(rounds > 3);
}

static void without_any_memory_the_set_is_empty_and_nothing_is_forgotten(void **state)
{
	struct fixture *f;

	NEED_NETNS(state);
	f = begin();
	fail_allocations_after(0);
	servers_on(&f->servers, v4_only);
	assert_true(allocations_work());
	assert_int_equal(in_the_set(f), 0);
	assert_int_equal(ledger_count(f->servers.ledger, IP_V4), MANY);
	servers_on(&f->servers, v4_only);
	assert_int_equal(in_the_set(f), MANY);
	end(f);
}

static void extraction_fails(struct fixture *f, const char *why)
{
	servers_extract(&f->servers, SERVERS_ASKED);
	assert_non_null(strstr(f->servers.warning, "the last extraction failed: "));
	if (!strstr(f->servers.warning, why))
		fail_msg("\"%s\" does not say \"%s\"", f->servers.warning, why);
	assert_int_equal(in_the_set(f), MANY);
	assert_int_equal(ledger_count(f->servers.ledger, IP_V4), MANY);
}

static void an_extractor_that_cannot_start_is_told_and_no_address_leaves(void **state)
{
	struct fixture *f;
	int open_before;

	NEED_NETNS(state);
	f = begin();
	servers_on(&f->servers, v4_only);
	assert_int_equal(in_the_set(f), MANY);
	open_before = descriptors();
	fail_call(CALL_FORK, 0, EAGAIN);
	extraction_fails(f, "Resource temporarily unavailable");
	assert_true(call_works(CALL_FORK));
	for (long n = 0; n < 2; n++) {
		fail_call(CALL_PIPE2, n, EMFILE);
		extraction_fails(f, "Too many open files");
		assert_true(call_works(CALL_PIPE2));
	}
	fail_allocations_after(0);
	extraction_fails(f, "Cannot allocate memory");
	assert_true(allocations_work());
	assert_int_equal(descriptors(), open_before);
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_queue_without_memory_loses_what_the_next_start_brings_back),
		cmocka_unit_test(without_any_memory_the_set_is_empty_and_nothing_is_forgotten),
		cmocka_unit_test(an_extractor_that_cannot_start_is_told_and_no_address_leaves),
	};

	proc_clean_start();
	return cmocka_run_group_tests(tests, netns_enter, NULL);
}
