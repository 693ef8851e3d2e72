#include "daemon/net_sets.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/ability.h"

#define TWIN "clash_new" /* of the set that is being renewed: one at a time */

static bool is_fixed(enum fw_set set)
{
	return set != FWSET_SERVERS && set != FWSET_LEASE;
}

/* ---- made ---- */

static bool is_ipset(const struct fwplan_params *p, enum fw_backend backend, enum ip_family f, enum fw_set set)
{
	if (set == FWSET_SERVERS)
		return true;
	if (backend == FW_SCRIPT)
		return set == FWSET_LEASE;
	return backend == FW_IPTABLES && fwplan_has_set(p, f, set);
}

int net_sets_create(struct net_sets *s, const struct fwplan_params *p, enum fw_backend backend, enum ip_family family,
		    struct err *e)
{
	char name[FWPLAN_SET_TEXT];

	for (unsigned set = 0; set < FW_SETS; set++) {
		int r;

		if (!is_ipset(p, backend, family, set))
			continue;
		r = ipset_create(s->ipset, fwplan_set(p, family, set, name), fwplan_set_type(family, set), e);
		if (r < 0)
			return r;
		if (s->there[family][set] && (set == FWSET_FAKE || set == FWSET_LAN || set == FWSET_WANT))
			ipset_flush(s->ipset, name, NULL); /* it stood over a death: the plan may be another one now */
		s->there[family][set] = true;
	}
	return 0;
}

int net_sets_renew(struct net_sets *s, const struct fwplan_params *p, enum fw_backend backend, enum ip_family family,
		   struct err *e)
{
	char name[FWPLAN_SET_TEXT];
	int r = 0;

	for (unsigned set = 0; set < FW_SETS && r == 0; set++) {
		bool in = is_ipset(p, backend, family, set), there = s->there[family][set];

		s->renewed[family][set] = in && there && is_fixed(set);
		s->retired[family][set] = there && !in;
		if (!in || there)
			continue;
		r = ipset_create(s->ipset, fwplan_set(p, family, set, name), fwplan_set_type(family, set), e);
		s->there[family][set] = r == 0;
	}
	return r;
}

/* ---- filled ---- */

static int keep_element(void *ctx, const char *element)
{
	struct net_sets *s = ctx;

	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 64;
		char(*grown)[ADDR_TEXT] = realloc(s->text, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->text = grown;
		s->cap = cap;
	}
	snprintf(s->text[s->n++], ADDR_TEXT, "%s", element);
	return 0;
}

static void drop_elements(struct net_sets *s)
{
	free(s->text);
	s->text = NULL;
	s->n = s->cap = s->at = 0;
}

void net_sets_begin(struct net_sets *s)
{
	drop_elements(s);
	s->family = IP_V4;
	s->set = 0;
}

/* The twin is full: it takes the set's place, and the old content goes. */
static int put_in_place(struct net_sets *s, const char *name, struct err *e)
{
	char twin[FWPLAN_SET_TEXT];
	int r = ipset_swap(s->ipset, name, fwplan_set_name(TWIN, s->family, twin), e);

	ipset_destroy(s->ipset, twin, NULL);
	return r;
}

static int begin_twin(struct net_sets *s, char twin[FWPLAN_SET_TEXT], struct err *e)
{
	fwplan_set_name(TWIN, s->family, twin);
	if (s->at)
		return 0;
	ipset_destroy(s->ipset, twin, NULL);
	return ipset_create(s->ipset, twin, fwplan_set_type(s->family, s->set), e);
}

/* One slice of what was kept; the set's count when that was all. */
static int put_slice(struct net_sets *s, const char *name, struct err *e)
{
	bool renewed = s->renewed[s->family][s->set];
	const char *slice[IPSET_BATCH];
	char twin[FWPLAN_SET_TEXT];
	size_t n = 0;
	int r = renewed ? begin_twin(s, twin, e) : 0;

	while (n < IPSET_BATCH && s->at + n < s->n) {
		slice[n] = s->text[s->at + n];
		n++;
	}
	s->at += n;
	if (r == 0 && n)
		r = ipset_add_elements(s->ipset, renewed ? twin : name, slice, n, e);
	if (r < 0 || s->at < s->n)
		return r < 0 ? r : 1;
	r = renewed ? put_in_place(s, name, e) : 0;
	if (r < 0)
		return r;
	r = ipset_exists(s->ipset, name, &s->count[s->family][s->set], e);
	return r < 0 ? r : 0;
}

int net_sets_fill(struct net_sets *s, const struct fwplan_params *p, struct err *e)
{
	char name[FWPLAN_SET_TEXT];
	size_t done = 0;

	while (s->family < IP_FAMILIES) {
		int r = 0;

		if (s->there[s->family][s->set] && is_fixed(s->set) && !s->retired[s->family][s->set]) {
			if (!s->n && fwplan_elements(p, s->family, s->set, keep_element, s) < 0)
				return err_sys(e, ENOMEM, "fill an ipset");
			done += s->n - s->at;
			r = put_slice(s, fwplan_set(p, s->family, s->set, name), e);
		}
		if (r < 0)
			return r;
		if (r > 0)
			return 1;
		drop_elements(s);
		s->set++;
		if (s->set == FW_SETS) {
			s->set = 0;
			s->family++;
		}
		if (done >= IPSET_BATCH)
			return s->family < IP_FAMILIES;
	}
	return 0;
}

/* ---- looked after ---- */

void net_sets_want(const struct net_sets *s, struct netstate *out)
{
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		for (unsigned set = 0; set < FW_SETS; set++) {
			unsigned with = fwplan_set_is_shared(set) ? IP_V4 : f;

			if (s->there[f][set])
				out->family[with].ipset[set] = (struct netstate_set){ true, s->count[f][set] };
		}
	}
}

/* ---- destroyed ---- */

/* What a probe left behind that was killed (one that runs now keeps its own, by its rules), or a renewal. */
static void destroy_passing_sets(struct ipset *ipset)
{
	char name[FWPLAN_SET_TEXT];

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		(void)ipset_destroy(ipset, fwplan_set_name(ABILITY_SET, f, name), NULL);
		(void)ipset_destroy(ipset, fwplan_set_name(TWIN, f, name), NULL);
	}
}

void net_sets_trim(struct net_sets *s, const struct fwplan_params *p)
{
	char name[FWPLAN_SET_TEXT];

	for (unsigned i = 0; i < IP_FAMILIES * FW_SETS; i++) {
		unsigned f = i / FW_SETS, set = i % FW_SETS;

		/* one still in use for a moment leaves with the others */
		if (s->retired[f][set] && ipset_destroy(s->ipset, fwplan_set(p, f, set, name), NULL) == 0)
			s->there[f][set] = false;
		s->retired[f][set] = s->renewed[f][set] = false;
	}
}

size_t net_sets_destroy(struct net_sets *s, const struct fwplan_params *p, bool last, struct err *e)
{
	char name[FWPLAN_SET_TEXT];
	size_t busy = 0;

	net_sets_begin(s);
	memset(s->renewed, 0, sizeof(s->renewed));
	memset(s->retired, 0, sizeof(s->retired));
	destroy_passing_sets(s->ipset);
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		for (unsigned set = 0; set < FW_SETS; set++) {
			if (ipset_destroy(s->ipset, fwplan_set(p, f, set, name), e) == 0) {
				s->there[f][set] = false;
				continue;
			}
			busy++;
			if (last)
				ipset_flush(s->ipset, name, NULL);
		}
	}
	return busy;
}

void net_sets_deinit(struct net_sets *s)
{
	drop_elements(s);
}
