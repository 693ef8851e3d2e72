/* The resolver's view of its reader: what a failure, a lie or a flood makes of a run. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/io.h"
#include "helper/extract.h"
#include "helper/helper.h"
#include "helper/resolve.h"
#include "helper/split.h"
#include "helper/targets.h"
#include "helper/usage.h"

/* ---- what the helper has around it ---- */

static struct {
	unsigned addresses, unresolved, whole, partly, summaries, notes;
} told;

static int end_of_reader;

void check_memory(const void *p)
{
	assert_non_null(p);
}

void emit(const struct wire_record *r)
{
	told.addresses += r->type == WIRE_ADDRESS;
	told.unresolved += r->type == WIRE_UNRESOLVED;
	told.whole += r->type == WIRE_SOURCE && r->u.source.complete;
	told.partly += r->type == WIRE_SOURCE && !r->u.source.complete;
	told.summaries += r->type == WIRE_SUMMARY;
}

void emit_flush(void)
{
}

void emit_note(unsigned *count, bool warn, const char *fmt, ...)
{
	(void)count;
	(void)warn;
	(void)fmt;
	told.notes++;
}

int reader_end(struct reader *r, struct err *e)
{
	io_close(&r->records);
	return end_of_reader ? err_set(e, EIO, "it failed") : 0;
}

int64_t resolve_now_ms(void)
{
	return 0;
}

/* Each name has two addresses. */
void resolve_names(struct resolver *r, const struct resolve_plan *plan, const struct resolve_name *names, size_t n,
		   resolve_done_fn done, void *ctx)
{
	struct addr addrs[2];
	(void)r;
	(void)plan;
	(void)names;

	assert_int_equal(addr_parse("203.0.113.1", &addrs[0]), 0);
	assert_int_equal(addr_parse("2001:db8::1", &addrs[1]), 0);
	for (size_t i = 0; i < n; i++)
		done(ctx, i, &(struct resolve_answer){ .addrs = addrs, .n = 2, .ttl_s = 60 });
}

int usage_load(const char *api_socket, int64_t wait_ms, struct usage **out, struct err *e)
{
	(void)api_socket;
	(void)wait_ms;
	(void)e;
	*out = NULL;
	return 0;
}

void usage_free(struct usage *u)
{
	(void)u;
}

enum usage_rank usage_rank(const struct usage *u, uint32_t name)
{
	(void)u;
	(void)name;
	return USAGE_REST;
}

/* ---- the reader ---- */

static int out;

static void say(const struct wire_record *r)
{
	if (wire_send(out, r) < 0)
		_exit(1); /* it is not listened to any more */
}

static void say_name_of(uint32_t source, uint32_t proxy, const char *host)
{
	struct wire_record r = { .type = WIRE_NAME };

	r.u.name.source = source;
	r.u.name.proxy = proxy;
	r.u.name.families = 3;
	r.u.name.host = host;
	say(&r);
}

static void say_name(const char *host)
{
	say_name_of(1, 0, host);
}

static void say_source(void)
{
	say(&(struct wire_record){ .type = WIRE_SOURCE, .u.source = { 1, true } });
}

static void say_summary(void)
{
	say(&(struct wire_record){ .type = WIRE_SUMMARY });
}

static void say_literals(uint32_t n)
{
	struct wire_record r = { .type = WIRE_ADDRESS };

	r.u.address.source = 1;
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t bytes[] = { 100, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i };

		addr_from_bytes(bytes, 4, &r.u.address.addr);
		say(&r);
	}
}

static int run(void (*read)(void))
{
	const struct extract_options o = { .deadline_ms = 60000, .concurrency = 1 };
	struct reader reader;
	int ends[2], r;

	memset(&told, 0, sizeof(told));
	assert_int_equal(pipe(ends), 0);
	reader.pid = fork();
	assert_true(reader.pid >= 0);
	if (reader.pid == 0) {
		close(ends[0]);
		out = ends[1];
		read();
		_exit(0);
	}
	close(ends[1]);
	reader.records = ends[0];
	r = extract_resolve(&o, NULL, &reader);
	io_close(&reader.records);
	assert_int_equal(waitpid(reader.pid, NULL, 0), reader.pid);
	return r;
}

static void all_of_it(void)
{
	say_literals(3);
	say_source();
	say_name("a.example");
	say_summary();
}

static void a_reader_that_is_through_makes_a_whole_run(void **state)
{
	(void)state;
	end_of_reader = 0;
	assert_int_equal(run(all_of_it), 0);
	assert_int_equal(told.addresses, 5);
	assert_int_equal(told.whole, 1);
	assert_int_equal(told.summaries, 1);
}

static void many_behind_one_server(void)
{
	for (uint32_t i = 0; i < 1000; i++)
		say_name_of(i % 2 + 1, i, "a.example");
	say_summary();
}

static void proxies_behind_one_server_have_its_addresses_once_a_source(void **state)
{
	(void)state;
	end_of_reader = 0;
	assert_int_equal(run(many_behind_one_server), 0);
	assert_int_equal(told.addresses, 2 * 2);
}

static void without_summary(void)
{
	say_literals(3);
	say_source();
	say_name("a.example");
}

static void no_name(void)
{
	say_source();
	say_name("");
}

static void a_group_that_is_none(void)
{
	say_source();
	say(&(struct wire_record){ .type = WIRE_SETTING,
				   .u.setting = { .key = WIRE_SET_RESOLVER, .value = "16 1.1.1.1" } });
}

static void two_summaries(void)
{
	say_source();
	say_summary();
	say_summary();
}

static void what_is_not_its_to_say(void)
{
	say_source();
	say(&(struct wire_record){ .type = WIRE_UNRESOLVED, .u.unresolved = { 1, 2 } });
}

/* Names come behind their sources: such a source must not lose those that were not told. */
static void of_a_reader_that_fails_or_lies_no_source_is_whole(void **state)
{
	static const struct {
		const char *what;
		void (*read)(void);
		int end;
	} rows[] = {
		{ "no summary", without_summary, 0 },  { "it failed behind its summary", all_of_it, 1 },
		{ "an empty name", no_name, 0 },       { "a group that is none", a_group_that_is_none, 0 },
		{ "two summaries", two_summaries, 0 }, { "a record of others", what_is_not_its_to_say, 0 },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		print_message("%s\n", rows[i].what);
		end_of_reader = rows[i].end;
		assert_int_equal(run(rows[i].read), 1);
		assert_int_equal(told.whole, 0);
		assert_int_equal(told.partly, 1);
		assert_int_equal(told.summaries, 0);
		assert_int_equal(told.notes, 1);
	}
}

static void a_flood(void)
{
	say_source();
	say_literals(TARGETS_MAX - 1);
	say_name("a.example");
	say_name("b.example");
	say_summary();
}

/* The supervisor ends a helper that tells more than it takes, and takes back all that the run brought. */
static void more_addresses_than_the_supervisor_takes_are_left_out(void **state)
{
	(void)state;
	end_of_reader = 0;
	assert_int_equal(run(a_flood), 0);
	assert_int_equal(told.addresses, TARGETS_MAX);
	assert_int_equal(told.whole, 0);
	assert_int_equal(told.partly, 1);
	assert_int_equal(told.notes, 1);
	assert_int_equal(told.summaries, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reader_that_is_through_makes_a_whole_run),
		cmocka_unit_test(proxies_behind_one_server_have_its_addresses_once_a_source),
		cmocka_unit_test(of_a_reader_that_fails_or_lies_no_source_is_whole),
		cmocka_unit_test(more_addresses_than_the_supervisor_takes_are_left_out),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
