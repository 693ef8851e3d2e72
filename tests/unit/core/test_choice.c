/* choice: every setting against what kernels can do, as a table: who is taken, for whom, and the sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "clashsup/choice.h"

#define NO_TPROXY "the kernel has no TPROXY target"
#define NO_IPSET "the kernel has no ipset"
#define HELD "another program holds the xtables lock"

/* What a part was found to be. */
#define UNASKED                                                                                                        \
	{                                                                                                              \
		.asked = false                                                                                         \
	}
#define OK                                                                                                             \
	{                                                                                                              \
		.asked = true, .ok = true                                                                              \
	}
#define LACKS(flags, text)                                                                                             \
	{                                                                                                              \
		.asked = true, .ok = true, .lacks = (flags), .why = text                                               \
	}
#define NOT(text)                                                                                                      \
	{                                                                                                              \
		.asked = true, .why = text                                                                             \
	}
#define ABSENT(text)                                                                                                   \
	{                                                                                                              \
		.asked = true, .absent = true, .why = text                                                             \
	}
#define AGAIN(text)                                                                                                    \
	{                                                                                                              \
		.asked = true, .again = true, .why = text                                                              \
	}

static const struct row {
	const char *name;
	enum choice_setting setting;
	struct ability_part part[FW_BACKENDS][IP_FAMILIES];
	const char *variant;

	bool found, again;
	enum fw_backend backend;
	bool v4, v6;
	unsigned lacks4;
	const char *why;
} rows[] = {
	{ "auto takes iptables that is whole",
	  CHOICE_AUTO,
	  { { OK, OK }, { UNASKED, UNASKED } },
	  "nf_tables",
	  true,
	  false,
	  FW_IPTABLES,
	  true,
	  true,
	  0,
	  "auto: iptables (nf_tables variant) with ipset works for IPv4 and IPv6" },
	{ "auto without IPv6 on the machine",
	  CHOICE_AUTO,
	  { { OK, ABSENT("the kernel has no IPv6") }, { UNASKED, UNASKED } },
	  "legacy",
	  true,
	  false,
	  FW_IPTABLES,
	  true,
	  false,
	  0,
	  "auto: iptables (legacy variant) with ipset works for IPv4 (IPv4 only: the kernel has no IPv6)" },
	{ "auto takes nft where there is no ipset",
	  CHOICE_AUTO,
	  { { NOT(NO_IPSET), NOT(NO_IPSET) }, { OK, OK } },
	  "",
	  true,
	  false,
	  FW_NFT,
	  true,
	  true,
	  0,
	  "auto: nft works for IPv4 and IPv6; iptables: " NO_IPSET },
	{ "auto takes the one for more families",
	  CHOICE_AUTO,
	  { { OK, NOT("no tables") }, { OK, OK } },
	  "legacy",
	  true,
	  false,
	  FW_NFT,
	  true,
	  true,
	  0,
	  "auto: nft works for IPv4 and IPv6; iptables: IPv4 only: no tables" },
	{ "auto takes the one that lacks less",
	  CHOICE_AUTO,
	  { { LACKS(FW_LACKS_SOCKET | FW_LACKS_OWNER, "without socket match, owner match"), OK },
	    { LACKS(FW_LACKS_SOCKET, "without socket expression"), OK } },
	  "legacy",
	  true,
	  false,
	  FW_NFT,
	  true,
	  true,
	  FW_LACKS_SOCKET,
	  "auto: nft works for IPv4 and IPv6; iptables: ok, without socket match, owner match" },
	{ "auto stays with iptables when nft is no better",
	  CHOICE_AUTO,
	  { { LACKS(FW_LACKS_SOCKET, "without socket match"), OK },
	    { LACKS(FW_LACKS_SOCKET, "without socket expression"), OK } },
	  "legacy",
	  true,
	  false,
	  FW_IPTABLES,
	  true,
	  true,
	  FW_LACKS_SOCKET,
	  "auto: iptables (legacy variant) with ipset works for IPv4 and IPv6 (ok, without socket match)" },
	{ "auto stays with iptables when nft does not work",
	  CHOICE_AUTO,
	  { { OK, NOT("no tables") }, { NOT("nft is not installed"), NOT("nft is not installed") } },
	  "legacy",
	  true,
	  false,
	  FW_IPTABLES,
	  true,
	  false,
	  0,
	  "auto: iptables (legacy variant) with ipset works for IPv4 (IPv4 only: no tables)" },
	{ "auto finds none",
	  CHOICE_AUTO,
	  { { NOT(NO_TPROXY), ABSENT("no IPv6") }, { NOT("nft is not installed"), ABSENT("no IPv6") } },
	  "legacy",
	  false,
	  false,
	  FW_IPTABLES,
	  false,
	  false,
	  0,
	  "auto: no backend works here: iptables: " NO_TPROXY "; nft: nft is not installed" },
	{ "auto waits for a lock instead of taking nft for good",
	  CHOICE_AUTO,
	  { { AGAIN(HELD), OK }, { OK, OK } },
	  "legacy",
	  false,
	  true,
	  FW_IPTABLES,
	  false,
	  false,
	  0,
	  "auto: iptables could not be asked yet: IPv6 only: " HELD },
	{ "auto never takes the script",
	  CHOICE_AUTO,
	  { { NOT(NO_IPSET), NOT(NO_IPSET) }, { NOT("nft is old"), NOT("nft is old") }, { OK, OK } },
	  "",
	  false,
	  false,
	  FW_IPTABLES,
	  false,
	  false,
	  0,
	  "auto: no backend works here: iptables: " NO_IPSET "; nft: nft is old" },
	{ "a named backend is taken",
	  CHOICE_NFT,
	  { { UNASKED, UNASKED }, { OK, OK } },
	  "",
	  true,
	  false,
	  FW_NFT,
	  true,
	  true,
	  0,
	  "nft works for IPv4 and IPv6" },
	{ "a named backend is taken with what it lacks",
	  CHOICE_IPTABLES,
	  { { LACKS(FW_LACKS_OWNER, "without owner match"), NOT("no tables") } },
	  "nf_tables",
	  true,
	  false,
	  FW_IPTABLES,
	  true,
	  false,
	  FW_LACKS_OWNER,
	  "iptables (nf_tables variant) with ipset works for IPv4 (IPv4 only: no tables)" },
	{ "a named backend that cannot work is not replaced",
	  CHOICE_IPTABLES,
	  { { NOT(NO_TPROXY), NOT(NO_TPROXY) }, { OK, OK } },
	  "legacy",
	  false,
	  false,
	  FW_IPTABLES,
	  false,
	  false,
	  0,
	  "backend = iptables, which cannot work here: " NO_TPROXY },
	{ "a named backend that could not be asked",
	  CHOICE_IPTABLES,
	  { { AGAIN(HELD), AGAIN(HELD) } },
	  "legacy",
	  false,
	  true,
	  FW_IPTABLES,
	  false,
	  false,
	  0,
	  "backend = iptables, which cannot work here: " HELD },
	{ "the script",
	  CHOICE_SCRIPT,
	  { { UNASKED, UNASKED }, { UNASKED, UNASKED }, { OK, OK } },
	  "",
	  true,
	  false,
	  FW_SCRIPT,
	  true,
	  true,
	  0,
	  "the script works for IPv4 and IPv6" },
	{ "a script that is not there",
	  CHOICE_SCRIPT,
	  { { UNASKED, UNASKED }, { UNASKED, UNASKED }, { NOT("not set"), NOT("not set") } },
	  "",
	  false,
	  false,
	  FW_SCRIPT,
	  false,
	  false,
	  0,
	  "backend = script, which cannot work here: not set" },
};

static struct ability ability_of(const struct row *row)
{
	struct ability a = { .ipset = true };

	memcpy(a.part, row->part, sizeof(a.part));
	snprintf(a.variant, sizeof(a.variant), "%s", row->variant);
	return a;
}

static void every_row_is_chosen_as_it_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct ability a = ability_of(row);
		struct choice c;

		choice_make(row->setting, &a, &c);
		if (strcmp(c.why, row->why) != 0)
			print_error("%s:\n", row->name);
		assert_string_equal(c.why, row->why);
		assert_int_equal(c.found, row->found);
		assert_int_equal(c.again, row->again);
		assert_int_equal(c.family[IP_V4], row->v4);
		assert_int_equal(c.family[IP_V6], row->v6);
		assert_int_equal(c.lacks[IP_V4], row->lacks4);
		if (row->found)
			assert_int_equal(c.backend, row->backend);
	}
}

static void what_was_not_asked_is_not_needed(void **state)
{
	struct ability a = { .part = { { OK, OK }, { UNASKED, UNASKED } } };
	char text[CHOICE_WHY];
	(void)state;

	assert_string_equal(choice_backend_text(&a, FW_IPTABLES, text), "ok");
	assert_string_equal(choice_backend_text(&a, FW_NFT, text), "not needed");
	assert_string_equal(choice_backend_text(&a, FW_SCRIPT, text), "not needed");
}

static void iptables_is_whole_only_without_a_wish_left(void **state)
{
	static const struct {
		struct ability_part part[IP_FAMILIES];
		bool whole;
	} cases[] = {
		{ { OK, OK }, true },
		{ { OK, ABSENT("ipv6 = no") }, true },
		{ { OK, NOT("no tables") }, false },
		{ { OK, LACKS(FW_LACKS_NAT, "without NAT") }, false },
		{ { OK, AGAIN(HELD) }, false },
		{ { ABSENT("ipv4 = no"), ABSENT("no IPv6") }, false },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ability a = { .variant = "legacy" };

		memcpy(a.part[FW_IPTABLES], cases[i].part, sizeof(cases[i].part));
		assert_int_equal(choice_iptables_whole(&a), cases[i].whole);
	}
}

/* Reasons as long as they can be: the sentence is cut, nothing else. */
static void long_reasons_are_cut(void **state)
{
	struct ability a = { .part = { { NOT(""), NOT("") }, { NOT(""), NOT("") } } };
	struct choice c;
	(void)state;

	for (int b = 0; b < FW_BACKENDS; b++) {
		for (int i = 0; i < IP_FAMILIES; i++) {
			memset(a.part[b][i].why, 'x', ABILITY_WHY - 1);
			a.part[b][i].asked = true;
		}
	}
	for (int s = CHOICE_AUTO; s <= CHOICE_SCRIPT; s++) {
		choice_make((enum choice_setting)s, &a, &c);
		assert_false(c.found);
		assert_true(strlen(c.why) > ABILITY_WHY && strlen(c.why) < CHOICE_WHY);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_is_chosen_as_it_says),
		cmocka_unit_test(what_was_not_asked_is_not_needed),
		cmocka_unit_test(iptables_is_whole_only_without_a_wish_left),
		cmocka_unit_test(long_reasons_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
