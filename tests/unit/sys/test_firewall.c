/* firewall: what it puts in, sees and takes out; with real programs, see firewall_fixture.h. */
#include "firewall_fixture.h"

static const bool only_v4[IP_FAMILIES] = { true, false };

/* ---- cases, each for every backend ---- */

static void what_was_there_before_is_there_after_and_no_more(void **state)
{
	struct fixture *x = fixture(state);
	cleanup_free char *before = NULL, *armed = NULL, *after = NULL;

	strangers();
	before = output_of(RULES_CMD);
	apply(x, &params);
	assert_ok(x);
	armed = output_of(RULES_CMD);
	if (x->backend == FW_IPTABLES) {
		assert_non_null(strstr(armed, "-A PREROUTING -j CLASH_TPROXY\n"));
		assert_non_null(strstr(armed, "-A OUTPUT -j CLASH_TPROXY_OUT\n"));
		assert_non_null(strstr(armed, "CLASH_DNS\n"));
	} else {
		assert_non_null(strstr(armed, "table inet clashsup"));
		assert_null(strstr(armed, "CLASH_TPROXY - "));
	}
	remove_all(x);
	assert_ok(x);
	after = output_of(RULES_CMD);
	assert_string_equal(before, after);
	remove_all(x);
	assert_ok(x);
}

static void applying_twice_is_applying_once(void **state)
{
	struct fixture *x = fixture(state);
	cleanup_free char *once = NULL, *twice = NULL;

	apply(x, &params);
	once = output_of(RULES_CMD);
	apply(x, &params);
	assert_ok(x);
	twice = output_of(RULES_CMD);
	assert_string_equal(once, twice);
}

static void each_part_comes_and_goes_by_itself(void **state)
{
	struct fixture *x = fixture(state);
	cleanup_free char *standing = NULL, *again = NULL;

	apply_parts(x, &params, FWPLAN_STANDING, both);
	assert_ok(x);
	standing = output_of(RULES_CMD);
	assert_non_null(strstr(standing, "CLASH_FAKE"));
	assert_null(strstr(standing, "CLASH_TPROXY"));
	apply(x, &params);
	assert_ok(x);
	assert_true(have(RULES_CMD, "CLASH_FAKE") && have(RULES_CMD, "CLASH_TPROXY"));
	apply_parts(x, &params, FWPLAN_ARMED, both);
	assert_ok(x);
	assert_false(have(RULES_CMD, "CLASH_FAKE"));
	apply_parts(x, &params, FWPLAN_STANDING, both);
	assert_ok(x);
	again = output_of(RULES_CMD);
	assert_string_equal(standing, again);
}

static void a_family_that_is_left_out_has_nothing_of_ours(void **state)
{
	struct fixture *x = fixture(state);

	apply(x, &params);
	assert_ok(x);
	assert_true(have(RULES_CMD, "ffff") || have("ip6tables-save", "CLASH"));
	apply_parts(x, &params, ALL, only_v4);
	assert_ok(x);
	assert_false(have("ip6tables-save", "CLASH"));
	assert_false(have("nft list table inet clashsup 2>/dev/null", "tproxy ip6"));
	assert_true(have(RULES_CMD, "CLASH_TPROXY"));
	remove_all(x);
	assert_ok(x);
	assert_false(have(RULES_CMD, "CLASH"));
}

static void the_jump_of_output_comes_and_goes_with_local(void **state)
{
	struct fixture *x = fixture(state);
	struct fwplan_params lan_only = params;
	cleanup_free char *once = NULL, *back = NULL;

	lan_only.local = false;
	apply(x, &params);
	once = output_of(RULES_CMD);
	apply(x, &lan_only);
	assert_ok(x);
	assert_false(have(RULES_CMD, "CLASH_TPROXY_OUT"));
	assert_true(have(RULES_CMD, "CLASH_TPROXY"));
	apply(x, &params);
	assert_ok(x);
	back = output_of(RULES_CMD);
	assert_string_equal(once, back);
}

/* ---- looking ---- */

static bool same_view(const struct fw_view a[IP_FAMILIES], const struct fw_view b[IP_FAMILIES])
{
	return a[IP_V4].lines == b[IP_V4].lines && a[IP_V4].digest == b[IP_V4].digest &&
	       a[IP_V6].lines == b[IP_V6].lines && a[IP_V6].digest == b[IP_V6].digest;
}

/* Tampers, sees it, repairs. */
static void is_seen_and_repaired(struct fixture *x, const struct fw_view good[IP_FAMILIES], const char *tampering)
{
	assert_int_equal(sh(tampering), 0);
	look(x);
	assert_ok(x);
	assert_false(same_view(x->view, good));
	apply(x, &params);
	assert_ok(x);
	look(x);
	assert_ok(x);
	assert_true(same_view(x->view, good));
}

static void tampering_is_seen_and_the_next_apply_repairs_it(void **state)
{
	static const char *const iptables[] = {
		"iptables -t mangle -D CLASH_TPROXY 1",
		"ip6tables -t mangle -D PREROUTING -j CLASH_TPROXY",
		"iptables -t mangle -F",
		"iptables -t mangle -F && iptables -t mangle -X",
		"iptables -t nat -F && ip6tables -t filter -F",
		"ip6tables -t mangle -I CLASH_SELECT -p tcp -j RETURN",
		"iptables -t mangle -A PREROUTING -j CLASH_TPROXY",
	};
	static const char *const nft[] = {
		"nft delete table inet clashsup",
		"nft flush ruleset",
		"nft flush chain inet clashsup CLASH_SELECT4",
		"nft insert rule inet clashsup CLASH_SELECT6 accept",
		"nft flush table inet clashsup",
	};
	struct fixture *x = fixture(state);
	bool table = x->backend == FW_NFT;
	size_t n = table ? sizeof(nft) / sizeof(nft[0]) : sizeof(iptables) / sizeof(iptables[0]);
	struct fw_view good[IP_FAMILIES];

	look(x);
	assert_ok(x);
	assert_int_equal(x->view[IP_V4].lines, 0);
	assert_int_equal(x->view[IP_V6].lines, 0);
	apply(x, &params);
	look(x);
	assert_ok(x);
	memcpy(good, x->view, sizeof(good));
	assert_true(good[IP_V4].lines > 20 && good[IP_V6].lines > 20);
	strangers(); /* are no part of the view */
	look(x);
	assert_true(same_view(x->view, good));
	for (size_t i = 0; i < n; i++)
		is_seen_and_repaired(x, good, table ? nft[i] : iptables[i]);
}

static void counters_are_read_of_both_families(void **state)
{
	struct fixture *x = fixture(state);
	struct err e = ERR_INIT;

	x->done = 0;
	assert_int_equal(firewall_count(x->fw, x->backend, on_count, x, &e), 0);
	wait_done(x);
	assert_ok(x);
	apply(x, &params);
	assert_int_equal(firewall_count(x->fw, x->backend, on_count, x, &e), 0);
	x->done = 0;
	wait_done(x);
	assert_ok(x);
	assert_int_equal(x->counters.chosen + x->counters.diverted, 0);
}

/* ---- re-applying ---- */

/* Each datagram is a flow of its own, so conntrack keeps whether our rules have seen it. Until the other end is shut.
 */
static _Noreturn void send_flows(int parent)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(7777) };
	char byte;

	inet_pton(AF_INET, "45.0.0.1", &to.sin_addr);
	while (recv(parent, &byte, 1, MSG_DONTWAIT) < 0) {
		cleanup_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		if (fd < 0 || sendto(fd, "x", 1, 0, (const void *)&to, sizeof(to)) != 1)
			_exit(1);
		usleep(200);
	}
	_exit(send(parent, "k", 1, 0) != 1);
}

static void re_applying_has_no_moment_without_the_rules(void **state)
{
	struct fixture *x = fixture(state);
	const bool lease[IP_FAMILIES] = { true, true };
	struct err e = ERR_INIT;
	struct lease *l = NULL;
	char answer = 0;
	int ends[2];
	pid_t child;

	if (sh("ip link add d0 type veth peer name d1 && ip address add 10.9.0.1/24 dev d0 && ip link set d0 up &&"
	       " ip link set d1 up &&"
	       " ip route add default via 10.9.0.2 && ip neighbour add 10.9.0.2 lladdr 02:00:00:00:00:01 dev d0")) {
		print_message("SKIP: no pair of interfaces\n");
		skip();
	}
	assert_int_equal(lease_open(&l, 1, &e), 0);
	apply(x, &params);
	assert_ok(x);
	assert_int_equal(lease_refresh(l, x->backend, lease, &e), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		send_flows(ends[1]);
	close(ends[1]);
	for (int i = 0; i < 5; i++) {
		apply(x, &params);
		assert_ok(x);
		assert_int_equal(lease_refresh(l, x->backend, lease, &e), 0);
	}
	shutdown(ends[0], SHUT_WR);
	assert_int_equal(read(ends[0], &answer, 1), 1);
	close(ends[0]);
	lease_close(l);
	assert_true(number_of("conntrack -L -p udp --dport 7777 2>/dev/null | grep -c mark=1") > 20);
	assert_int_equal(number_of("conntrack -L -p udp --dport 7777 2>/dev/null | grep -vc mark=1"), 0);
}

static void one_operation_runs_at_a_time(void **state)
{
	struct fixture *x = fixture(state);
	struct err e = ERR_INIT;

	x->done = 0;
	assert_int_equal(firewall_apply(x->fw, x->backend, &params, ALL, both, on_done, x, &e), 0);
	assert_int_equal(firewall_apply(x->fw, x->backend, NULL, 0, both, on_done, x, &e), -EBUSY);
	assert_int_equal(firewall_sweep(x->fw, x->backend, NULL, 0, both, on_done, x, &e), -EBUSY);
	assert_int_equal(firewall_look(x->fw, x->backend, on_look, x, &e), -EBUSY);
	assert_int_equal(firewall_count(x->fw, x->backend, on_count, x, &e), -EBUSY);
	wait_done(x);
	assert_ok(x);
}

static void bad_parameters_are_refused(void **state)
{
	struct fixture *x = fixture(state);
	struct fwplan_params bad = params;
	struct err e = ERR_INIT;
	int r;

	bad.port = 0;
	x->done = 0;
	x->result.family[IP_V4] = 0;
	r = firewall_apply(x->fw, x->backend, &bad, ALL, both, on_done, x, &e);
	if (r == 0) {
		wait_done(x);
		r = x->result.family[IP_V4];
	}
	assert_int_equal(r, -EINVAL);
	assert_false(firewall_busy(x->fw));
	assert_false(have(RULES_CMD, "CLASH"));
	assert_int_equal(firewall_apply(x->fw, FW_BACKENDS, &params, ALL, both, on_done, x, &e), -EOPNOTSUPP);
	assert_int_equal(firewall_apply(x->fw, FW_SCRIPT, &params, ALL, both, on_done, x, &e), -EINVAL);
	assert_int_equal(firewall_look(x->fw, FW_BACKENDS, on_look, x, &e), -EOPNOTSUPP);
	apply(x, &params);
	assert_ok(x);
}

static void both_operations_take_milliseconds(void **state)
{
	struct fixture *x = fixture(state);
	const char *name = x->backend == FW_NFT ? "table" : variant_of();
	double apply_ms = 1e9, again_ms = 1e9, remove_ms = 1e9, look_ms = 1e9;

	remove_all(x); /* knows then that nothing of ours is in */
	for (int i = 0; i < 10; i++) {
		double t[5];

		t[0] = now_ms();
		apply(x, &params);
		t[1] = now_ms();
		apply(x, &params);
		t[2] = now_ms();
		look(x);
		t[3] = now_ms();
		remove_all(x);
		t[4] = now_ms();
		apply_ms = t[1] - t[0] < apply_ms ? t[1] - t[0] : apply_ms;
		again_ms = t[2] - t[1] < again_ms ? t[2] - t[1] : again_ms;
		look_ms = t[3] - t[2] < look_ms ? t[3] - t[2] : look_ms;
		remove_ms = t[4] - t[3] < remove_ms ? t[4] - t[3] : remove_ms;
	}
	print_message("%s: both families applied in %.1f ms, again in %.1f, looked at in %.1f, removed in %.1f\n", name,
		      apply_ms, again_ms, look_ms, remove_ms);
	assert_true(apply_ms < 1000); /* a bound against blunders: a machine under load is slow */
	assert_true(remove_ms < 1000);
}

/* ---- sweeping ---- */

#define EVERYWHERE                                                                                                     \
	"for i in iptables ip6tables; do for v in nft legacy; do $i-$v-save 2>/dev/null; done; done;"                  \
	"nft list ruleset inet"

static void a_sweep_leaves_only_the_present_backend(void **state)
{
	struct fixture *x = fixture(state);
	const enum fw_backend present = x->backend;
	const char *variant = variant_of();
	cleanup_free char *wanted = NULL, *left = NULL, *nothing = NULL;

	sweep(x, ALL);
	assert_ok(x);
	wanted = output_of(RULES_CMD);
	remove_all(x);
	x->backend = FW_NFT;
	apply(x, &params);
	assert_ok(x);
	x->backend = FW_IPTABLES;
	use_variant(x, "nft");
	apply(x, &params);
	assert_ok(x);
	use_variant(x, "legacy");
	sweep(x, 0); /* forgets what it knew of the other variant, and takes all out */
	apply(x, &params);
	use_variant(x, "nft");
	apply(x, &params);
	x->backend = FW_NFT;
	apply(x, &params);
	assert_ok(x);
	x->backend = present;
	use_variant(x, variant);
	sweep(x, ALL);
	assert_ok(x);
	left = output_of(RULES_CMD);
	assert_string_equal(wanted, left);
	sweep(x, 0);
	assert_ok(x);
	nothing = output_of(EVERYWHERE);
	assert_null(strstr(nothing, "CLASH"));
	assert_null(strstr(nothing, "clashsup"));
}

static void looking_for_leftovers_brings_no_legacy_table_up(void **state)
{
	struct fixture *x = fixture(state);

	sweep(x, 0);
	assert_ok(x);
	look(x);
	assert_ok(x);
	assert_false(have("cat /proc/net/ip_tables_names /proc/net/ip6_tables_names 2>/dev/null", "mangle"));
}

/* ---- cases of iptables alone ---- */

static void the_server_set_is_seen_in_clash_tproxy(void **state)
{
	struct fixture *x = fixture(state);
	cleanup_free char *v4 = NULL, *v6 = NULL;

	apply(x, &params);
	assert_ok(x);
	v4 = output_of("iptables -t mangle -L CLASH_TPROXY -n -v | grep set | grep RETURN");
	v6 = output_of("ip6tables -t mangle -L CLASH_TPROXY -n -v | grep set | grep RETURN");
	assert_non_null(strstr(v4, "match-set clash_proxy_ips dst"));
	assert_non_null(strstr(v6, "match-set clash_proxy_ips6 dst"));
}

/*
 * The table fills several blocks of output, each line leads to us, and beside
 * the other variant's tables the save prints a warning before its last block.
 */
static void removal_reads_a_big_table_beside_the_other_variant(void **state)
{
	struct fixture *x = fixture(state);
	cleanup_free char *before = NULL, *after = NULL;

	assert_int_equal(sh("iptables-legacy -t mangle -L >/dev/null && iptables -t mangle -N ZZ 2>/dev/null"), 0);
	before = output_of(RULES_CMD);
	apply(x, &params);
	assert_ok(x);
	assert_int_equal(sh("{ echo '*mangle'; for i in $(seq 1 250); do echo \"-A ZZ -d 10.0.0.$i -m comment --comment"
			    " \\\"number $i\\\" -j CLASH_TPROXY\"; done; echo COMMIT; } |"
			    "iptables-restore --noflush 2>/dev/null"),
			 0);
	remove_all(x);
	assert_ok(x);
	after = output_of(RULES_CMD);
	assert_string_equal(before, after);
}

static void known_to_be_empty_the_rules_go_in_without_a_save(void **state)
{
	struct fixture *x = fixture(state);

	sweep(x, 0);
	assert_ok(x);
	put_program(x, "iptables-save", "exit 1");
	put_program(x, "ip6tables-save", "exit 1");
	apply(x, &params);
	assert_ok(x);
	apply(x, &params);
	assert_int_equal(x->result.family[IP_V4], -EIO); /* now it has to look */
}

/* ---- INPUT beside the nft table ---- */

/* Does a marked packet on lo come through TPROXY and INPUT to the listener? SO_MARK is 36, IP_TRANSPARENT 19. */
static bool passes_input(const char *protocol, const char *begin, const char *end)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd),
		 "python3 -c 'import socket; l, s = (socket.socket(type=socket.SOCK_%s) for _ in range(2));"
		 " l.setsockopt(0, 19, 1); l.bind((\"127.0.0.1\", %u)); s.settimeout(1.5); l.settimeout(1.5);"
		 " s.setsockopt(1, 36, %u); to = (\"127.0.0.1\", 999); %s; %s' 2>/dev/null",
		 protocol, params.port, params.mark, begin, end);
	return sh(cmd) == 0;
}

static bool tcp_passes(void)
{
	return passes_input("STREAM", "l.listen()", "s.connect(to)");
}

static bool udp_passes(void)
{
	return passes_input("DGRAM", "s.sendto(b\"x\", to)", "l.recv(1)");
}

#define INPUT_CMD "{ iptables-save -t filter; ip6tables-save -t filter; } 2>/dev/null | grep -c CLASH_INPUT"

static void beside_the_table_our_mark_passes_an_input_policy_of_iptables(void **state)
{
	struct fixture *x = fixture(state);
	struct fwplan_params p = params;
	struct fw_view good[IP_FAMILIES];

	assert_int_equal(sh("iptables -P INPUT DROP && iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT"),
			 0);
	p.input_accept = false;
	apply_parts(x, &p, FWPLAN_ARMED, both);
	assert_false(tcp_passes());
	assert_false(udp_passes());
	p.input_accept = true;
	apply_parts(x, &p, FWPLAN_ARMED, both);
	assert_ok(x);
	assert_true(tcp_passes());
	assert_true(udp_passes());
	look(x);
	assert_ok(x);
	memcpy(good, x->view, sizeof(good));
	assert_int_equal(sh("iptables -D INPUT -j CLASH_INPUT"), 0);
	look(x);
	assert_false(same_view(good, x->view));
	apply_parts(x, &p, FWPLAN_ARMED, both);
	look(x);
	assert_true(same_view(good, x->view));
	apply_parts(x, &p, FWPLAN_STANDING, both);
	assert_ok(x);
	assert_int_equal(number_of(INPUT_CMD), 0);
	apply_parts(x, &p, FWPLAN_ARMED, both);
	assert_true(number_of(INPUT_CMD) > 0);
	sweep(x, 0);
	assert_ok(x);
	assert_int_equal(number_of(INPUT_CMD), 0);
}

static void beside_the_table_a_broken_iptables_is_no_error(void **state)
{
	static const char *const programs[] = { "iptables-save", "iptables-restore", "ip6tables-save",
						"ip6tables-restore" };
	struct fixture *x = fixture(state);
	struct fwplan_params p = params;
	struct fw_view good[IP_FAMILIES];

	p.input_accept = true;
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		put_program(x, programs[i], "exit 127");
	apply_parts(x, &p, FWPLAN_ARMED, both);
	assert_ok(x);
	look(x);
	assert_ok(x);
	assert_true(x->view[IP_V4].lines > 0);
	memcpy(good, x->view, sizeof(good));
	assert_int_equal(sh("nft flush chain inet clashsup CLASH_TPROXY4"), 0);
	look(x);
	assert_ok(x);
	assert_false(same_view(good, x->view));
	remove_all(x);
	assert_ok(x);
	assert_int_equal(number_of("nft list tables | grep -c clashsup"), 0);
}

static void beside_the_table_iptables_is_not_asked_where_nothing_of_it_is_in(void **state)
{
	struct fixture *x = fixture(state);
	struct fwplan_params p = params;

	p.input_accept = false;
	for (int i = 0; i < IP_FAMILIES; i++) {
		put_program(x, i ? "ip6tables-save" : "iptables-save", "touch \"$0.asked\"");
		put_program(x, i ? "ip6tables-restore" : "iptables-restore", "touch \"$0.asked\"");
	}
	apply_parts(x, &p, FWPLAN_ARMED, both);
	assert_ok(x);
	look(x);
	assert_ok(x);
	remove_all(x);
	assert_ok(x);
	assert_int_equal(number_of("ls \"$(dirname \"$(command -v iptables-save)\")\" | grep -c asked"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_BACKEND(what_was_there_before_is_there_after_and_no_more),
		EACH_BACKEND(applying_twice_is_applying_once),
		EACH_BACKEND(each_part_comes_and_goes_by_itself),
		EACH_BACKEND(a_family_that_is_left_out_has_nothing_of_ours),
		EACH_BACKEND(the_jump_of_output_comes_and_goes_with_local),
		EACH_BACKEND(tampering_is_seen_and_the_next_apply_repairs_it),
		EACH_BACKEND(counters_are_read_of_both_families),
		EACH_BACKEND(re_applying_has_no_moment_without_the_rules),
		EACH_BACKEND(one_operation_runs_at_a_time),
		EACH_BACKEND(bad_parameters_are_refused),
		EACH_BACKEND(both_operations_take_milliseconds),
		EACH_BACKEND(a_sweep_leaves_only_the_present_backend),
		EACH_VARIANT(the_server_set_is_seen_in_clash_tproxy),
		EACH_VARIANT(removal_reads_a_big_table_beside_the_other_variant),
		EACH_VARIANT(known_to_be_empty_the_rules_go_in_without_a_save),
		cmocka_unit_test_setup_teardown(beside_the_table_our_mark_passes_an_input_policy_of_iptables,
						setup_table, teardown),
		cmocka_unit_test_setup_teardown(beside_the_table_a_broken_iptables_is_no_error, setup_table, teardown),
		cmocka_unit_test_setup_teardown(beside_the_table_iptables_is_not_asked_where_nothing_of_it_is_in,
						setup_table, teardown),
		cmocka_unit_test_setup_teardown(looking_for_leftovers_brings_no_legacy_table_up, setup_nft, teardown),
	};

	proc_clean_start(); /* once: later it would take libev's handler of SIGCHLD away */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
