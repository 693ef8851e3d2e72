#include "clashsup/choice.h"

#include <stdio.h>
#include <string.h>

static const char *const family_name[IP_FAMILIES] = { "IPv4", "IPv6" };

/* ---- how good a backend is here ---- */

struct merit {
	int families; /* that work */
	int lacks;    /* features in all of these */
	bool whole;   /* nothing is left to be wished for */
};

static struct merit merit_of(const struct ability *a, enum fw_backend b)
{
	struct merit m = { 0, 0, true };

	for (int i = 0; i < IP_FAMILIES; i++) {
		const struct ability_part *p = &a->part[b][i];

		if (p->ok) {
			m.families++;
			m.lacks += __builtin_popcount(p->lacks);
		}
		m.whole &= p->absent || (p->ok && p->lacks == 0);
	}
	m.whole &= m.families > 0;
	return m;
}

bool choice_iptables_whole(const struct ability *a)
{
	return merit_of(a, FW_IPTABLES).whole;
}

static bool asks_again(const struct ability *a, enum fw_backend b)
{
	return a->part[b][IP_V4].again || a->part[b][IP_V6].again;
}

static bool nft_is_better(const struct ability *a)
{
	struct merit ipt = merit_of(a, FW_IPTABLES), nft = merit_of(a, FW_NFT);

	return nft.families > ipt.families || (nft.families == ipt.families && nft.lacks < ipt.lacks);
}

/* ---- sentences ---- */

/* "iptables (nf_tables variant) with ipset" */
static const char *title(const struct ability *a, enum fw_backend b, char *buf, size_t cap)
{
	if (b == FW_IPTABLES && a->variant[0] != '\0')
		snprintf(buf, cap, "iptables (%s variant) with ipset", a->variant);
	else
		snprintf(buf, cap, "%s%s", b == FW_SCRIPT ? "the " : "", fw_backend_name(b));
	return buf;
}

static const char *works_for(const struct choice *c)
{
	if (c->family[IP_V4] && c->family[IP_V6])
		return "IPv4 and IPv6";
	return c->family[IP_V4] ? "IPv4" : "IPv6";
}

/* The first reason that is not "there is no such family", else that one. */
static const char *first_reason(const struct ability *a, enum fw_backend b)
{
	const struct ability_part *p = a->part[b];

	for (int i = 0; i < IP_FAMILIES; i++) {
		if (!p[i].ok && !p[i].absent && p[i].why[0] != '\0')
			return p[i].why;
	}
	for (int i = 0; i < IP_FAMILIES; i++) {
		if (p[i].why[0] != '\0')
			return p[i].why;
	}
	return "it was not asked";
}

const char *choice_backend_text(const struct ability *a, enum fw_backend b, char buf[CHOICE_WHY])
{
	const struct ability_part *p = a->part[b];

	if (!p[IP_V4].asked && !p[IP_V6].asked)
		snprintf(buf, CHOICE_WHY, "not needed");
	else if (!p[IP_V4].ok && !p[IP_V6].ok)
		snprintf(buf, CHOICE_WHY, "%s", first_reason(a, b));
	else if (!p[IP_V4].ok || !p[IP_V6].ok)
		snprintf(buf, CHOICE_WHY, "%s only: %s", family_name[p[IP_V4].ok ? IP_V4 : IP_V6],
			 p[p[IP_V4].ok ? IP_V6 : IP_V4].why);
	else if (p[IP_V4].lacks != 0 || p[IP_V6].lacks != 0)
		snprintf(buf, CHOICE_WHY, "ok, %s", p[p[IP_V4].lacks != 0 ? IP_V4 : IP_V6].why);
	else
		snprintf(buf, CHOICE_WHY, "ok");
	return buf;
}

/* ---- the choice ---- */

static void take(const struct ability *a, enum fw_backend b, struct choice *out)
{
	out->backend = b;
	for (int i = 0; i < IP_FAMILIES; i++) {
		const struct ability_part *p = &a->part[b][i];

		out->family[i] = p->ok;
		out->lacks[i] = p->ok ? p->lacks : 0;
		out->found |= p->ok;
	}
	out->again = !out->found && asks_again(a, b);
}

/* A backend that the user named: it or none. */
static void named(enum fw_backend b, const struct ability *a, struct choice *out)
{
	char name[64], state[CHOICE_WHY];

	take(a, b, out);
	choice_backend_text(a, b, state);
	if (!out->found)
		snprintf(out->why, sizeof(out->why), "backend = %s, which cannot work here: %.300s", fw_backend_name(b),
			 state);
	else if (strcmp(state, "ok") == 0)
		snprintf(out->why, sizeof(out->why), "%s works for %s", title(a, b, name, sizeof(name)),
			 works_for(out));
	else
		snprintf(out->why, sizeof(out->why), "%s works for %s (%.280s)", title(a, b, name, sizeof(name)),
			 works_for(out), state);
}

static void automatic(const struct ability *a, struct choice *out)
{
	bool nft = !choice_iptables_whole(a) && nft_is_better(a);
	char name[64], state[CHOICE_WHY];

	choice_backend_text(a, FW_IPTABLES, state);
	if (asks_again(a, FW_IPTABLES)) { /* a lock that is held for a moment must not decide for good */
		out->again = true;
		snprintf(out->why, sizeof(out->why), "auto: iptables could not be asked yet: %.250s", state);
		return;
	}
	take(a, nft ? FW_NFT : FW_IPTABLES, out);
	if (!out->found) {
		out->again = asks_again(a, FW_NFT);
		snprintf(out->why, sizeof(out->why), "auto: no backend works here: iptables: %.150s; nft: %.150s",
			 first_reason(a, FW_IPTABLES), first_reason(a, FW_NFT));
	} else if (nft) {
		snprintf(out->why, sizeof(out->why), "auto: nft works for %s; iptables: %.250s", works_for(out), state);
	} else if (strcmp(state, "ok") == 0) {
		snprintf(out->why, sizeof(out->why), "auto: %s works for %s", title(a, FW_IPTABLES, name, sizeof(name)),
			 works_for(out));
	} else {
		snprintf(out->why, sizeof(out->why), "auto: %s works for %s (%.250s)",
			 title(a, FW_IPTABLES, name, sizeof(name)), works_for(out), state);
	}
}

void choice_make(enum choice_setting setting, const struct ability *a, struct choice *out)
{
	memset(out, 0, sizeof(*out));
	switch (setting) {
	case CHOICE_AUTO:
		automatic(a, out);
		break;
	case CHOICE_IPTABLES:
		named(FW_IPTABLES, a, out);
		break;
	case CHOICE_NFT:
		named(FW_NFT, a, out);
		break;
	case CHOICE_SCRIPT:
		named(FW_SCRIPT, a, out);
		break;
	}
}
