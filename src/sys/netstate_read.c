#include "clashsup/netstate_read.h"

#include "clashsup/route.h"

/* `found`: 1 = there, 0 = not, -errno */
static void keep(struct netstate_set *set, int found, const size_t *count)
{
	if (found >= 0)
		*set = (struct netstate_set){ .there = found == 1, .count = *count };
}

void netstate_read_ipsets(const struct netstate_source *s, struct netstate *out)
{
	char name[FWPLAN_SET_TEXT];

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		for (unsigned set = 0; set < FW_SETS; set++) {
			size_t count = 0;

			if (f != IP_V4 && fwplan_set_is_shared(set))
				continue;
			fwplan_set(s->plan, f, set, name);
			keep(&out->family[f].ipset[set], ipset_exists(s->ipset, name, &count, NULL), &count);
		}
	}
}

static void read_table(const struct netstate_source *s, struct netstate *out)
{
	char name[FWPLAN_SET_TEXT];

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		for (unsigned set = 0; set < FW_SETS; set++) {
			size_t count = 0;

			if (f != IP_V4 && (fwplan_set_is_shared(set) || set == FWSET_LEASE))
				continue;
			fwplan_set(s->plan, f, set, name);
			keep(&out->family[f].table[set], nft_set_count(s->nft_set, name, &count, NULL), &count);
		}
	}
}

void netstate_read_routing(const struct netstate_source *s, struct netstate *out)
{
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		struct netstate_family *family = &out->family[f];

		(void)route_look(f, s->plan->mark, s->route_table, s->pref, &family->rule, &family->route, NULL);
	}
}

void netstate_read_tagged(struct netstate *out)
{
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		int r = route_left(f, NULL);

		if (r >= 0)
			out->family[f].tagged = r == 1;
	}
}

static void on_look(void *ctx, const struct firewall_result *result, const struct fw_view view[IP_FAMILIES])
{
	struct netstate_reader *r = ctx;
	const struct netstate_source *s = &r->source;

	r->now.backend = s->backend;
	r->now.server_set = s->plan->server_set;
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (result->family[f] == 0 && !result->aborted)
			r->now.family[f].rules = view[f];
	}
	if (s->backend == FW_NFT && s->nft_set && r->now.family[IP_V4].rules.lines > 0)
		read_table(s, &r->now);
	netstate_read_ipsets(s, &r->now);
	netstate_read_routing(s, &r->now);
	r->done(r->ctx, result, &r->now);
}

int netstate_read(struct netstate_reader *r, struct firewall *f, struct err *e)
{
	return firewall_look(f, r->source.backend, on_look, r, e);
}
