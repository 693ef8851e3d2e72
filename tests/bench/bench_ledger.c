/*
 * What each call of the ledger and each slice of the last-good file costs: the
 * longest single one and all together, in microseconds of CPU time. Build an optimised one:
 * cmake -DCMAKE_BUILD_TYPE=RelWithDebInfo, target bench_ledger.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clashsup/lastgood.h"
#include "clashsup/ledger.h"
#include "daemon/memory.h"

enum { SOURCE = 1 };

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static long rss_kib(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size, rss = 0;

	if (!f || fscanf(f, "%ld %ld", &size, &rss) != 2)
		exit(1);
	fclose(f);
	return rss * (sysconf(_SC_PAGESIZE) / 1024);
}

struct cost {
	double longest, all;
};

static void spent(struct cost *c, double began)
{
	double us = now_us() - began;

	c->all += us;
	if (us > c->longest)
		c->longest = us;
}

static void show(const char *what, const struct cost *c)
{
	printf("  %-34s longest %8.1f  all %10.1f\n", what, c->longest, c->all);
}

static struct addr numbered(uint32_t i)
{
	struct addr a = { .family = i % 4 == 3 ? IP_V6 : IP_V4, .bytes = { 45 } };

	memcpy(a.bytes + (a.family == IP_V6 ? 12 : 0) + 0, &(uint32_t){ 0x2d | i << 8 }, 4);
	return a;
}

static size_t told;

static void change(void *ctx, const struct addr *a, bool enters)
{
	(void)ctx;
	(void)a;
	(void)enters;
	told++;
}

static void entry(void *ctx, const struct ledger_entry *e)
{
	(void)ctx;
	(void)e;
	told++;
}

static void host(void *ctx, uint32_t source, uint32_t h)
{
	(void)ctx;
	(void)source;
	(void)h;
	told++;
}

/* Half literals, half names. */
static void run(struct ledger *l, uint32_t n, uint32_t step, const char *what)
{
	struct cost c = { 0 };

	ledger_begin(l);
	for (uint32_t i = 0; i < n; i += step) {
		struct addr a = numbered(i);
		double began = now_us();

		ledger_add(l, &a, SOURCE, i % 2 ? i : 0, 1, i % 2 ? 1000 + i : 0);
		spent(&c, began);
	}
	ledger_source(l, SOURCE, true);
	show(what, &c);
}

static void sweep(struct ledger *l, const char *what)
{
	struct cost c = { 0 };
	bool more = true;

	told = 0;
	while (more) {
		double began = now_us();

		more = ledger_sweep(l, change, NULL);
		spent(&c, began);
	}
	show(what, &c);
	printf("  %36s%zu left\n", "", told);
}

static void fresh(struct ledger *l, uint32_t n)
{
	struct cost c = { 0 };

	ledger_begin(l);
	for (uint32_t i = 1; i < n; i += 2) {
		double began = now_us();

		ledger_fresh(l, SOURCE, i);
		spent(&c, began);
	}
	ledger_source(l, SOURCE, true);
	show("mark half of them fresh", &c);
	ledger_end(l, true, 2, 1000);
	sweep(l, "sweep: literals leave");
}

static void look(const struct ledger *l)
{
	struct cost c = { 0 };
	size_t cursor = 0;
	bool more = true;
	double began;

	while (more) {
		began = now_us();
		more = ledger_each(l, &cursor, change, NULL);
		spent(&c, began);
	}
	show("each", &c);
	c = (struct cost){ 0 };
	cursor = 0;
	more = true;
	while (more) {
		began = now_us();
		more = ledger_entries(l, &cursor, entry, NULL);
		spent(&c, began);
	}
	show("entries", &c);
	c = (struct cost){ 0 };
	began = now_us();
	ledger_each_fresh(l, 1, host, NULL);
	spent(&c, began);
	show("each_fresh", &c);
	c = (struct cost){ 0 };
	began = now_us();
	if (ledger_next_due(l, 1) < 1000)
		exit(1);
	spent(&c, began);
	show("next_due", &c);
}

static void put(void *ctx, const struct ledger_entry *e)
{
	const struct lastgood_entry out = { e->addr, e->source, e->host, (uint32_t)e->seen_ms };

	if (lastgood_put(ctx, &out) < 0)
		exit(1);
}

static void take(void *ctx, const struct lastgood_entry *e)
{
	ledger_restore(ctx, &e->addr, e->source, e->host, e->seen_s);
}

static void remember(const struct ledger *l)
{
	struct ledger *again = ledger_new(54321);
	struct lastgood file = { 0 };
	struct cost c = { 0 };
	size_t cursor = 0;
	bool more = true;
	double began;

	while (more) {
		began = now_us();
		more = ledger_entries(l, &cursor, put, &file);
		spent(&c, began);
	}
	if (!again || lastgood_finish(&file) < 0)
		exit(1);
	show("entries into a file", &c);
	c = (struct cost){ 0 };
	began = now_us();
	if (lastgood_decode(file.bytes, file.len, take, again, NULL) < 0)
		exit(1);
	spent(&c, began);
	show("restore from a file", &c);
	printf("  %36s%zu bytes\n", "", file.len);
	lastgood_free(&file);
	ledger_free(again);
}

static void measure(uint32_t n)
{
	struct ledger *l = ledger_new(12345);
	struct cost c = { 0 };
	long before;
	double began;

	if (!l)
		exit(1);
	printf("%u entries\n", n);
	memory_give_back();
	before = rss_kib();
	run(l, n, 1, "add");
	printf("  %-34s %ld KiB\n", "memory", rss_kib() - before);
	ledger_end(l, true, 1, 1000);
	sweep(l, "sweep: nothing leaves");
	look(l);
	remember(l);
	run(l, n, 2, "add again, half");
	ledger_end(l, true, 1, 1000);
	sweep(l, "sweep: half leaves");
	run(l, n, 1, "add, half new");
	ledger_rollback(l);
	sweep(l, "sweep of a rollback");
	run(l, n, 1, "add, half new");
	fresh(l, n);
	run(l, n, 1, "add, half new");
	began = now_us();
	ledger_clear(l);
	spent(&c, began);
	show("clear", &c);
	ledger_free(l);
	memory_give_back();
}

int main(void)
{
	static const uint32_t sizes[] = { 10, 1000, 10000, 100000, LEDGER_MAX };

	memory_keep_small();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		measure(sizes[i]);
	return 0;
}
