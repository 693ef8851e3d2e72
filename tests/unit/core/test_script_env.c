/* script_env: the nine variables of the contract with the seed's names, ours behind them, and lists that are too long.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/script_env.h"

static const struct script_values plain = { .server_set = "clash_proxy_ips",
					    .lease_set = "clash_lease",
					    .port = 7893,
					    .mark = 1,
					    .table = 100,
					    .core_gid = 7893,
					    .local = true,
					    .family = { true, true } };

static const char *value(char *const *envp, const char *name)
{
	size_t len = strlen(name);

	for (; *envp; envp++) {
		if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
			return *envp + len + 1;
	}
	return NULL;
}

static size_t count(char *const *envp)
{
	size_t n = 0;

	while (envp[n])
		n++;
	return n;
}

static char **env_of(const struct script_values *v)
{
	struct err e = ERR_INIT;
	char **envp = NULL;

	assert_int_equal(script_env(v, "/usr/sbin:/usr/bin", &envp, &e), 0);
	return envp;
}

static struct addr_net net(const char *text)
{
	struct addr_net n;

	assert_int_equal(addr_net_parse(text, &n), 0);
	return n;
}

static void defaults_are_the_seeds(void **state)
{
	static const struct {
		const char *name, *value;
	} expected[] = {
		{ "PROXY_CIDRS", "" },
		{ "EXCLUDE_SRC_CIDRS", "" },
		{ "EXCLUDE_IFACES", "" },
		{ "EXCLUDE_IPS", "" },
		{ "PROXY_IPSET_NAME", "clash_proxy_ips" },
		{ "EXCLUDE_PORTS", "" },
		{ "TPROXY_PORT", "7893" },
		{ "MARK", "0x1" },
		{ "TABLE", "100" },
		{ "LEASE_IPSET_NAME", "clash_lease" },
		{ "CORE_GID", "7893" },
		{ "FAMILIES", "4 6" },
		{ "LOCAL", "yes" },
		{ "INCLUDE_SRC_CIDRS", "" },
		{ "LAN_IFACES", "" },
		{ "PATH", "/usr/sbin:/usr/bin" },
	};
	char **envp = env_of(&plain);
	(void)state;

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		assert_non_null(value(envp, expected[i].name));
		assert_string_equal(value(envp, expected[i].name), expected[i].value);
	}
	assert_int_equal(count(envp), sizeof(expected) / sizeof(expected[0])); /* and nothing else */
	script_env_free(envp);
}

static void lists_are_separated_by_blanks(void **state)
{
	struct addr_net want[] = { net("1.0.0.0/8"), net("2a00::/16") }, skip[] = { net("9.9.9.9") };
	struct addr_net fake_nets[] = { net("198.18.0.0/16") }, lan_nets[] = { net("2a0f:4444::/64") };
	struct addr_net src[] = { net("10.66.0.7"), net("fd66::/64") };
	struct mac macs[] = { { { 2, 0, 0, 0xab, 0xcd, 0xef } } };
	struct port_range ports[] = { { 22, 22 }, { 1000, 2000 } };
	struct iface ifaces[] = { { "docker0" }, { "wg*" } }, lan[] = { { "br-lan" } };
	struct net_list fake = { fake_nets, 1 }, lans = { lan_nets, 1 };
	struct selection s = { .want = { want, 2 },
			       .skip_dst = { skip, 1 },
			       .skip_src = { src, 2 },
			       .skip_mac = { macs, 1 },
			       .only_mac = { macs, 1 },
			       .only_src = { src, 1 },
			       .skip_ports = { ports, 2 },
			       .skip_ifaces = { ifaces, 2 },
			       .lan_ifaces = { lan, 1 } };
	struct script_values v = plain;
	char **envp;
	(void)state;

	v.selection = &s;
	v.fake = &fake;
	v.lan = &lans;
	v.mark = 0xff00;
	v.local = false;
	v.family[IP_V6] = false;
	envp = env_of(&v);
	assert_string_equal(value(envp, "PROXY_CIDRS"), "1.0.0.0/8 2a00::/16 198.18.0.0/16");
	assert_string_equal(value(envp, "EXCLUDE_SRC_CIDRS"), "10.66.0.7/32 fd66::/64 02:00:00:ab:cd:ef");
	assert_string_equal(value(envp, "EXCLUDE_IFACES"), "docker0 wg*");
	assert_string_equal(value(envp, "EXCLUDE_IPS"), "9.9.9.9/32 2a0f:4444::/64");
	assert_string_equal(value(envp, "EXCLUDE_PORTS"), "22 1000-2000");
	assert_string_equal(value(envp, "INCLUDE_SRC_CIDRS"), "10.66.0.7/32 02:00:00:ab:cd:ef");
	assert_string_equal(value(envp, "LAN_IFACES"), "br-lan");
	assert_string_equal(value(envp, "MARK"), "0xff00");
	assert_string_equal(value(envp, "LOCAL"), "no");
	assert_string_equal(value(envp, "FAMILIES"), "4");
	script_env_free(envp);
}

static void without_proxy_cidrs_the_fake_ranges_stay_out_of_it(void **state)
{
	struct addr_net fake_nets[] = { net("198.18.0.0/16") };
	struct net_list fake = { fake_nets, 1 };
	struct script_values v = plain;
	char **envp;
	(void)state;

	v.fake = &fake;
	envp = env_of(&v);
	assert_string_equal(value(envp, "PROXY_CIDRS"), ""); /* which means everything */
	script_env_free(envp);
}

/* The kernel would refuse to run the script at all. */
static void a_list_that_no_variable_can_hold_is_refused_by_name(void **state)
{
	enum { MANY = 10000 };
	struct addr_net *nets = calloc(MANY, sizeof(*nets));
	struct selection s = { .skip_dst = { nets, 0 } };
	struct script_values v = plain;
	struct err e = ERR_INIT;
	char **envp = NULL;
	size_t fits;
	(void)state;

	assert_non_null(nets);
	for (size_t i = 0; i < MANY; i++)
		nets[i] = net("100.100.100.0/24"); /* 16 bytes and a blank */
	v.selection = &s;
	fits = (SCRIPT_ENV_VALUE_MAX - sizeof("EXCLUDE_IPS=")) / 17;
	s.skip_dst.n = fits;
	envp = env_of(&v);
	assert_true(strlen(value(envp, "EXCLUDE_IPS")) == 17 * fits - 1);
	script_env_free(envp);
	s.skip_dst.n = fits + 2;
	assert_int_equal(script_env(&v, NULL, &envp, &e), -E2BIG);
	assert_string_equal(e.msg, "EXCLUDE_IPS is longer than the 131072 bytes that a script can be given; use a "
				   "shorter list, or backend = iptables or nft");
	free(nets);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_the_seeds),
		cmocka_unit_test(lists_are_separated_by_blanks),
		cmocka_unit_test(without_proxy_cidrs_the_fake_ranges_stay_out_of_it),
		cmocka_unit_test(a_list_that_no_variable_can_hold_is_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
