/* the lists of [tproxy]: items, files, limits, and what is told about wrong ones. */
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

#include "clashsup/io.h"
#include "clashsup/settings.h"
#include "cpu_time.h"
#include "parse/list.h"
#include "parse/settings_lists.h"

#define TOLD 32

struct told {
	unsigned n;
	char text[TOLD][400];
};

static char dir[] = "/tmp/test_settings_lists.XXXXXX", listed[64];

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(listed, sizeof(listed), "%s/list.txt", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	unlink(listed);
	return rmdir(dir);
}

static void write_list(const void *bytes, size_t len)
{
	FILE *f = fopen(listed, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void tell(void *ctx, const char *text)
{
	struct told *t = ctx;

	assert_true(t->n < TOLD);
	snprintf(t->text[t->n++], sizeof(t->text[0]), "%s", text);
}

/* `line` in [tproxy]; "%s" in it is the list's file. */
static int parse(struct settings *s, const char *line, struct told *t)
{
	char text[512] = "[tproxy]\n";
	size_t used = strlen(text);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(text + used, sizeof(text) - used, line, listed);
#pragma GCC diagnostic pop
	memset(t, 0, sizeof(*t));
	return settings_parse(s, "f.conf", text, strlen(text), tell, t);
}

static void assert_net(const struct addr_net *net, const char *text)
{
	char buf[ADDR_TEXT];

	assert_string_equal(addr_net_text(net, buf), text);
}

static void every_list_goes_to_its_own_place(void **state)
{
	const struct selection *sel;
	struct settings s;
	struct told t;
	(void)state;

	assert_int_equal(parse(&s,
			       "lan_ifaces = br-lan, wg*\nproxy_cidrs = 10.1.2.3/8 2001:db8::1\n"
			       "include_src = 192.0.2.1 02:00:00:00:00:0A\n"
			       "exclude_src_cidrs = 0e-00-00-00-00-0b, 192.0.2.0/24\nexclude_ifaces = docker0\n"
			       "exclude_ips = ::ffff:192.0.2.9\nexclude_ports = 22, 1000-2000,65535\n",
			       &t),
			 0);
	sel = &s.tproxy.selection;
	assert_int_equal(sel->lan_ifaces.n, 2);
	assert_string_equal(sel->lan_ifaces.ifaces[0].name, "br-lan");
	assert_string_equal(sel->lan_ifaces.ifaces[1].name, "wg*");
	assert_int_equal(sel->want.n, 2);
	assert_net(&sel->want.nets[0], "10.0.0.0/8");
	assert_net(&sel->want.nets[1], "2001:db8::1/128");
	assert_int_equal(sel->only_src.n, 1);
	assert_net(&sel->only_src.nets[0], "192.0.2.1/32");
	assert_int_equal(sel->only_mac.n, 1);
	assert_memory_equal(sel->only_mac.macs[0].bytes, "\x02\0\0\0\0\x0a", 6);
	assert_int_equal(sel->skip_src.n, 1);
	assert_int_equal(sel->skip_mac.n, 1);
	assert_memory_equal(sel->skip_mac.macs[0].bytes, "\x0e\0\0\0\0\x0b", 6);
	assert_int_equal(sel->skip_ifaces.n, 1);
	assert_int_equal(sel->skip_dst.n, 1);
	assert_net(&sel->skip_dst.nets[0], "192.0.2.9/32");
	assert_int_equal(sel->skip_ports.n, 3);
	assert_int_equal(sel->skip_ports.ranges[0].first, 22);
	assert_int_equal(sel->skip_ports.ranges[0].last, 22);
	assert_int_equal(sel->skip_ports.ranges[1].first, 1000);
	assert_int_equal(sel->skip_ports.ranges[1].last, 2000);
	settings_free(&s);
	assert_int_equal(s.tproxy.selection.want.n, 0);
	assert_null(s.tproxy.selection.want.nets);
}

static void a_network_of_prefix_0_becomes_its_two_halves(void **state)
{
	struct settings s;
	struct told t;
	(void)state;

	assert_int_equal(parse(&s, "proxy_cidrs = 1.2.3.4/0 ::/0\n", &t), 0);
	assert_int_equal(s.tproxy.selection.want.n, 4);
	assert_net(&s.tproxy.selection.want.nets[0], "0.0.0.0/1");
	assert_net(&s.tproxy.selection.want.nets[1], "128.0.0.0/1");
	assert_net(&s.tproxy.selection.want.nets[2], "::/1");
	assert_net(&s.tproxy.selection.want.nets[3], "8000::/1");
	settings_free(&s);
}

static void a_wrong_item_is_told_with_its_key_and_the_others_of_the_list_too(void **state)
{
	static const struct {
		const char *line, *sentence;
	} rows[] = {
		{ "exclude_ips = 10.0.0.0/33", "exclude_ips: \"10.0.0.0/33\" is no network" },
		{ "exclude_ips = 10.0.0", "exclude_ips: \"10.0.0\" is no network" },
		{ "exclude_ips = aa:bb:cc:dd:ee:ff", "exclude_ips: \"aa:bb:cc:dd:ee:ff\" is no network" },
		{ "include_src = x", "include_src: \"x\" is neither a network nor a MAC address" },
		{ "include_src = 02:00:00:00:00:0",
		  "include_src: \"02:00:00:00:00:0\" is neither a network nor a MAC address" },
		{ "include_src = 02:00:00:00:00:01:",
		  "include_src: \"02:00:00:00:00:01:\" is neither a network nor a MAC address" },
		{ "include_src = 00:00:00:00:00:00",
		  "include_src: \"00:00:00:00:00:00\" is neither a network nor a MAC address" },
		{ "include_src = ff:ff:ff:ff:ff:ff",
		  "include_src: \"ff:ff:ff:ff:ff:ff\" is neither a network nor a MAC address" },
		{ "exclude_ports = 0", "exclude_ports: \"0\" is no port, 1 to 65535, and no range such as 1000-2000" },
		{ "exclude_ports = 9-8",
		  "exclude_ports: \"9-8\" is no port, 1 to 65535, and no range such as 1000-2000" },
		{ "exclude_ports = 1-65536",
		  "exclude_ports: \"1-65536\" is no port, 1 to 65535, and no range such as 1000-2000" },
		{ "exclude_ports = 5-",
		  "exclude_ports: \"5-\" is no port, 1 to 65535, and no range such as 1000-2000" },
		{ "exclude_ifaces = *", "exclude_ifaces: \"*\" would be every interface: write mode = mixed" },
		{ "lan_ifaces = *", "lan_ifaces: \"*\" would be every interface: write lan_ifaces = all" },
		{ "lan_ifaces = eth0 all", "lan_ifaces: \"all\" stands alone or not at all" },
		{ "exclude_ips = @list.txt",
		  "exclude_ips: a list's file is named by an absolute path: @/etc/list.txt" },
		{ "proxy_cidrs = ,",
		  "proxy_cidrs: there is no item in it, which would mean everything; leave the key out for that" },
	};
	struct settings s;
	struct told t;
	(void)state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(parse(&s, rows[i].line, &t), -EINVAL);
		assert_int_equal(t.n, 1);
		assert_memory_equal(t.text[0], "f.conf:2: ", strlen("f.conf:2: "));
		assert_string_equal(t.text[0] + strlen("f.conf:2: "), rows[i].sentence);
	}
	assert_int_equal(parse(&s, "exclude_ips = a 1.1.1.1 b", &t), -EINVAL);
	assert_int_equal(t.n, 2);
	assert_int_equal(s.tproxy.selection.skip_dst.n, 0);
}

static void names_of_interfaces_are_those_that_can_stand_in_a_rule(void **state)
{
	static const char *const good[] = { "a", "eth0.100", "br-lan", "wg*", "abcdefghijklmno", "abcdefghijklmn*" };
	static const char *const bad[] = { "abcdefghijklmnop",
					   "abcdefghijklmno*",
					   "a/b",
					   "a*b",
					   "a**",
					   "-x",
					   ".",
					   "..",
					   "e\"x",
					   "eth+",
					   "a:0",
					   "!x" };
	struct settings s;
	struct told t;
	char line[64];
	(void)state;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(line, sizeof(line), "exclude_ifaces = %s", good[i]);
		assert_int_equal(parse(&s, line, &t), 0);
		assert_string_equal(s.tproxy.selection.skip_ifaces.ifaces[0].name, good[i]);
		settings_free(&s);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(line, sizeof(line), "exclude_ifaces = %s", bad[i]);
		assert_int_equal(parse(&s, line, &t), -EINVAL);
		assert_non_null(strstr(t.text[0], "is no interface: up to 15 letters"));
	}
}

static void a_file_stands_for_its_items_among_others(void **state)
{
	static const char text[] = "\xef\xbb\xbf# a country\r\n1.0.1.0/24 1.0.2.0/23;note\r\n\r\n"
				   " ; nothing 5.5.5.5\n2001:db8::/32,3.3.3.3 # end\n4.4.4.4";
	struct settings s;
	struct told t;
	(void)state;

	write_list(text, sizeof(text) - 1);
	assert_int_equal(parse(&s, "exclude_ips = 9.9.9.9, @%s 8.8.8.8", &t), 0);
	assert_int_equal(s.tproxy.selection.skip_dst.n, 7);
	assert_net(&s.tproxy.selection.skip_dst.nets[0], "9.9.9.9/32");
	assert_net(&s.tproxy.selection.skip_dst.nets[2], "1.0.2.0/23");
	assert_net(&s.tproxy.selection.skip_dst.nets[5], "4.4.4.4/32");
	assert_net(&s.tproxy.selection.skip_dst.nets[6], "8.8.8.8/32");
	settings_free(&s);
}

static void a_wrong_item_of_a_file_is_told_with_that_file_and_line(void **state)
{
	static const char text[] = "1.1.1.1\r\n\n10.0.0.0/33 2.2.2.2 \033[31m\n@/etc/passwd\n";
	char want[200];
	struct settings s;
	struct told t;
	(void)state;

	write_list(text, sizeof(text) - 1);
	assert_int_equal(parse(&s, "exclude_ips = @%s x\nport = 0", &t), -EINVAL);
	assert_int_equal(t.n, 5);
	snprintf(want, sizeof(want), "%s:3: \"10.0.0.0/33\" is no network", listed);
	assert_string_equal(t.text[0], want);
	snprintf(want, sizeof(want), "%s:3: \"?[31m\" is no network", listed);
	assert_string_equal(t.text[1], want);
	snprintf(want, sizeof(want), "%s:4: \"@/etc/passwd\" in a list's file: such a file cannot name another one",
		 listed);
	assert_string_equal(t.text[2], want);
	assert_string_equal(t.text[3], "f.conf:2: exclude_ips: \"x\" is no network");
	assert_string_equal(t.text[4], "f.conf:3: port = 0: must be a number from 1 to 65535");
}

static void twenty_problems_of_a_list_are_told_and_the_rest_counted(void **state)
{
	char text[600] = "", want[200];
	struct settings s;
	struct told t;
	(void)state;

	for (int i = 0; i < 100; i++)
		strcat(text, "bad\n");
	write_list(text, strlen(text));
	assert_int_equal(parse(&s, "exclude_ips = @%s", &t), -EINVAL);
	assert_int_equal(t.n, LIST_TOLD_MAX + 1);
	snprintf(want, sizeof(want), "%s:20: \"bad\" is no network", listed);
	assert_string_equal(t.text[LIST_TOLD_MAX - 1], want);
	assert_string_equal(t.text[LIST_TOLD_MAX], "f.conf:2: exclude_ips: 80 more items are no good");
}

static void a_file_that_cannot_be_read_is_told_with_advice(void **state)
{
	char want[200];
	struct settings s;
	struct told t;
	(void)state;

	unlink(listed);
	assert_int_equal(parse(&s, "exclude_ips = @%s", &t), -EINVAL);
	snprintf(
		want, sizeof(want),
		"f.conf:2: exclude_ips: cannot read %s: No such file or directory; make it readable, or take it out of "
		"the list",
		listed);
	assert_string_equal(t.text[0], want);
	assert_int_equal(parse(&s, "exclude_ips = @/dev/null", &t), -EINVAL);
	assert_non_null(strstr(t.text[0], "/dev/null: not a regular file; "));
	assert_int_equal(mkfifo(listed, 0600), 0); /* must not be waited for */
	assert_int_equal(parse(&s, "exclude_ips = @%s", &t), -EINVAL);
	assert_non_null(strstr(t.text[0], "not a regular file; "));
	unlink(listed);
	write_list("1.1.1.1\n\0", 9);
	assert_int_equal(parse(&s, "exclude_ips = @%s", &t), -EINVAL);
	assert_non_null(strstr(t.text[0], "a NUL byte"));
	assert_int_equal(truncate(listed, SETTINGS_LIST_MAX + 1), 0);
	assert_int_equal(parse(&s, "exclude_ips = @%s", &t), -EINVAL);
	assert_non_null(strstr(t.text[0], "larger than the limit of 4194304 bytes"));
	assert_int_equal(t.n, 1);
}

static void an_empty_file_is_no_list_where_that_would_mean_everything(void **state)
{
	static const char *const keys[] = { "lan_ifaces", "proxy_cidrs", "include_src" };
	struct settings s;
	struct told t;
	char line[64];
	(void)state;

	write_list("# nothing yet\n", 14);
	for (size_t i = 0; i < 3; i++) {
		snprintf(line, sizeof(line), "%s = @%%s", keys[i]);
		assert_int_equal(parse(&s, line, &t), -EINVAL);
		assert_non_null(strstr(t.text[0], "there is no item in it, which would mean everything"));
	}
	assert_int_equal(parse(&s, "exclude_ips = @%s", &t), 0);
	assert_int_equal(s.tproxy.selection.skip_dst.n, 0);
	settings_free(&s);
}

static void print_twice(const struct settings *s, struct settings *again)
{
	cleanup_free char *one = NULL, *two = NULL;
	size_t n;
	FILE *f = open_memstream(&one, &n);
	struct told t = { 0 };

	settings_print(s, f);
	fclose(f);
	assert_int_equal(settings_parse(again, "again", one, strlen(one), tell, &t), 0);
	f = open_memstream(&two, &n);
	settings_print(again, f);
	fclose(f);
	assert_string_equal(one, two);
}

static void what_is_printed_has_the_lists_as_they_were_given(void **state)
{
	struct settings s, again;
	struct told t;
	(void)state;

	write_list("5.5.5.5 6.6.6.6", 15);
	assert_int_equal(parse(&s, "lan_ifaces = all\nexclude_ips = 1.1.1.1,@%s\nexclude_ports = 0x16 , 7", &t), 0);
	assert_null(s.tproxy.list_text[LIST_LAN_IFACES]);
	assert_memory_equal(s.tproxy.list_text[LIST_EXCLUDE_IPS], "1.1.1.1,@/", 10);
	print_twice(&s, &again);
	assert_int_equal(again.tproxy.selection.skip_dst.n, 3);
	assert_memory_equal(again.tproxy.selection.skip_dst.nets, s.tproxy.selection.skip_dst.nets,
			    3 * sizeof(struct addr_net));
	assert_int_equal(again.tproxy.selection.skip_ports.ranges[0].first, 22);
	settings_free(&s);
	settings_free(&again);
}

static void arguments_of_a_file_stand_one_a_line(void **state)
{
	static const char text[] = "# extra\r\n-secret\r\n  two words, ;and a comma \r\n\n; no\n-ext-ctl";
	struct settings s, again;
	struct told t;
	char more[200] = "";
	(void)state;

	write_list(text, sizeof(text) - 1);
	assert_int_equal(parse(&s, "port = 1\n[mihomo]\nargs = @%s", &t), 0);
	assert_string_equal(s.mihomo.args[0], "-secret");
	assert_string_equal(s.mihomo.args[1], "two words, ;and a comma");
	assert_string_equal(s.mihomo.args[2], "-ext-ctl");
	assert_null(s.mihomo.args[3]);
	print_twice(&s, &again);
	assert_string_equal(again.mihomo.args[2], "-ext-ctl");
	settings_free(&s);
	settings_free(&again);
	for (int i = 0; i <= SETTINGS_ARGS_MAX; i++)
		strcat(more, "a\n");
	write_list(more, strlen(more));
	assert_int_equal(parse(&s, "port = 1\n[mihomo]\nargs = @%s", &t), -EINVAL);
	assert_non_null(strstr(t.text[0], "must be at most 32 arguments"));
}

/* As many networks as given, each another. */
static void write_nets(unsigned n)
{
	cleanup_free char *text = malloc((size_t)n * 20);
	size_t used = 0;

	for (unsigned i = 0; i < n; i++)
		used += (size_t)sprintf(text + used, "%u.%u.%u.0/24\n", 1 + (i >> 16), i >> 8 & 255, i & 255);
	write_list(text, used);
}

static void ten_thousand_networks_are_read_in_milliseconds(void **state)
{
	struct settings s;
	struct told t;
	int64_t before;
	double took_ms;
	(void)state;

	write_nets(10000);
	before = cpu_us();
	assert_int_equal(parse(&s, "exclude_ips = @%s", &t), 0);
	took_ms = (double)(cpu_us() - before) / 1e3;
	print_message("10,000 networks: %.1f ms of processor time\n", took_ms);
	assert_int_equal(s.tproxy.selection.skip_dst.n, 10000);
	assert_net(&s.tproxy.selection.skip_dst.nets[9999], "1.39.15.0/24");
	assert_true(took_ms < 100 * cpu_slow()); /* also with sanitizers */
	settings_free(&s);
}

static void a_list_has_a_limit_and_reading_ends_there(void **state)
{
	struct settings s;
	struct told t;
	char want[200];
	(void)state;

	write_nets(SELECTION_NETS_MAX);
	assert_int_equal(parse(&s, "exclude_ips = @%s", &t), 0);
	assert_int_equal(s.tproxy.selection.skip_dst.n, SELECTION_NETS_MAX);
	settings_free(&s);
	write_nets(SELECTION_NETS_MAX + 100);
	assert_int_equal(parse(&s, "exclude_ips = @%s", &t), -EINVAL);
	assert_int_equal(t.n, 1);
	snprintf(want, sizeof(want), "%s:131073: more than 131072 items", listed);
	assert_string_equal(t.text[0], want);
}

static void an_item_of_prefix_0_that_does_not_fit_whole_is_left_out_whole(void **state)
{
	static struct addr_net net = { { IP_V4, { 9 } }, 8 };
	struct net_list nets = { 0 };
	const struct list_into into = { .nets = &nets };
	const struct list_item one = { "9.0.0.0/8", 9, 1 }, all = { "::/0", 4, 1 };
	struct err e = ERR_INIT;
	(void)state;

	for (int i = 0; i < SELECTION_NETS_MAX - 1; i++)
		assert_int_equal(list_add(&into, &one, &e), 0);
	assert_int_equal(list_add(&into, &all, &e), -ENOSPC);
	assert_int_equal(nets.n, SELECTION_NETS_MAX - 1);
	assert_memory_equal(&nets.nets[nets.n - 1], &net, sizeof(net));
	assert_int_equal(list_add(&into, &one, &e), 0);
	assert_int_equal(list_add(&into, &one, &e), -ENOSPC);
	list_free(&into);
	assert_int_equal(list_count(&into), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_list_goes_to_its_own_place),
		cmocka_unit_test(a_network_of_prefix_0_becomes_its_two_halves),
		cmocka_unit_test(a_wrong_item_is_told_with_its_key_and_the_others_of_the_list_too),
		cmocka_unit_test(names_of_interfaces_are_those_that_can_stand_in_a_rule),
		cmocka_unit_test(a_file_stands_for_its_items_among_others),
		cmocka_unit_test(a_wrong_item_of_a_file_is_told_with_that_file_and_line),
		cmocka_unit_test(twenty_problems_of_a_list_are_told_and_the_rest_counted),
		cmocka_unit_test(a_file_that_cannot_be_read_is_told_with_advice),
		cmocka_unit_test(an_empty_file_is_no_list_where_that_would_mean_everything),
		cmocka_unit_test(what_is_printed_has_the_lists_as_they_were_given),
		cmocka_unit_test(arguments_of_a_file_stand_one_a_line),
		cmocka_unit_test(ten_thousand_networks_are_read_in_milliseconds),
		cmocka_unit_test(a_list_has_a_limit_and_reading_ends_there),
		cmocka_unit_test(an_item_of_prefix_0_that_does_not_fit_whole_is_left_out_whole),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
