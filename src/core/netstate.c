#include "clashsup/netstate.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const family_name[IP_FAMILIES] = { "IPv4", "IPv6" };

/* ---- what is told ---- */

struct told {
	char *what;
	size_t cap;
	unsigned n;
};

static __attribute__((format(printf, 2, 3))) void tell(struct told *t, const char *fmt, ...)
{
	va_list args;

	if (t->n++ > 0)
		return;
	va_start(args, fmt);
	vsnprintf(t->what, t->cap, fmt, args);
	va_end(args);
}

static bool told_any(struct told *t)
{
	char first[NETSTATE_TEXT];

	if (t->n > 1) {
		snprintf(first, sizeof(first), "%s", t->what);
		snprintf(t->what, t->cap, "%s, and %u thing%s more", first, t->n - 1, t->n > 2 ? "s" : "");
	}
	return t->n > 0;
}

/* ---- residue ---- */

static const char *ipset_name(const struct netstate *s, unsigned family, unsigned set, char buf[FWPLAN_SET_TEXT])
{
	const struct fwplan_params plan = { .server_set = s->server_set };

	return fwplan_set(&plan, (enum ip_family)family, (enum fw_set)set, buf);
}

bool netstate_residue(const struct netstate *now, char *what, size_t cap)
{
	struct told t = { .what = what, .cap = cap };
	char name[FWPLAN_SET_TEXT];

	if (now->backend == FW_NFT && now->family[IP_V4].rules.lines > 0)
		tell(&t, "table inet " FWPLAN_TABLE);
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (now->backend != FW_NFT && now->family[f].rules.lines > 0)
			tell(&t, "rules of %s", family_name[f]);
	}
	if (now->other)
		tell(&t, "rules");
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		for (unsigned set = 0; set < FW_SETS; set++) {
			if (now->family[f].ipset[set].there)
				tell(&t, "ipset %s", ipset_name(now, f, set, name));
		}
	}
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (now->family[f].tagged)
			tell(&t, "policy routing of %s", family_name[f]);
	}
	return told_any(&t);
}

/* ---- delta ---- */

static void compare_rules(struct told *t, unsigned f, const struct netstate *now, const struct netstate *wanted)
{
	const struct fw_view *is = &now->family[f].rules, *was = &wanted->family[f].rules;
	const char *whose = wanted->backend == FW_NFT ? "nft" : family_name[f];

	if (is->lines == 0 && was->lines > 0)
		tell(t, "rules of %s are gone", whose);
	else if (is->lines != was->lines || is->digest != was->digest)
		tell(t, "rules of %s differ", whose);
}

static void compare_set(struct told *t, const char *kind, const char *name, const struct netstate_set *now,
			const struct netstate_set *wanted)
{
	if (!wanted->there)
		return;
	if (!now->there)
		tell(t, "%s %s is gone", kind, name);
	else if (now->count < wanted->count)
		tell(t, "%s %s has %zu of %zu elements", kind, name, now->count, wanted->count);
}

static void compare_sets(struct told *t, unsigned f, const struct netstate *now, const struct netstate *wanted)
{
	const struct netstate_family *is = &now->family[f], *was = &wanted->family[f];
	char name[FWPLAN_SET_TEXT];

	for (unsigned set = 0; set < FW_SETS; set++) {
		ipset_name(wanted, f, set, name);
		compare_set(t, "ipset", name, &is->ipset[set], &was->ipset[set]);
		if (is->rules.lines > 0) /* else they went with the table */
			compare_set(t, "nft set", name, &is->table[set], &was->table[set]);
	}
}

bool netstate_delta(const struct netstate *now, const struct netstate *wanted, char *what, size_t cap)
{
	struct told t = { .what = what, .cap = cap };

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (f == IP_V4 || wanted->backend != FW_NFT)
			compare_rules(&t, f, now, wanted);
	}
	if (now->other && !wanted->other)
		tell(&t, "rules of another backend are there");
	for (unsigned f = 0; f < IP_FAMILIES; f++)
		compare_sets(&t, f, now, wanted);
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (wanted->family[f].rule && !now->family[f].rule)
			tell(&t, "no ip rule for %s", family_name[f]);
		if (wanted->family[f].route && !now->family[f].route)
			tell(&t, "no route of %s to lo", family_name[f]);
	}
	return told_any(&t);
}
