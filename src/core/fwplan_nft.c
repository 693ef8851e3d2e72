#include <errno.h>

#include "core/fwplan_rules.h"

/* Both families' plans; a family that is left out has no parts. */
struct both {
	struct fw_plan plan[IP_FAMILIES];
	struct text t;
};

/* ---- sets ---- */

struct element_list {
	struct text *t;
	const char *behind; /* what belongs behind each of them */
	bool any;
};

static int on_element(void *ctx, const char *element)
{
	struct element_list *l = ctx;

	text_puts(l->t, l->any ? ",\n\t\t\t" : "\t\telements = {\n\t\t\t");
	text_puts(l->t, element);
	text_puts(l->t, l->behind);
	l->any = true;
	return l->t->failed ? -ENOMEM : 0;
}

static void put_lease(const struct both *b, struct element_list *l)
{
	static const char *const key[IP_FAMILIES] = { "ipv4", "ipv6" };

	l->behind = " timeout 3s";
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (b->plan[f].parts && b->plan[f].p->lease_on[f])
			on_element(l, key[f]);
	}
}

static void put_servers(const struct fwplan_params *p, enum ip_family family, struct element_list *l)
{
	char buf[ADDR_TEXT];

	for (size_t i = 0; i < p->n_servers && !l->t->failed; i++) {
		if (p->servers[i].family == family)
			on_element(l, addr_text(&p->servers[i], buf));
	}
}

static const char *set_type(enum ip_family family, enum fw_set set)
{
	switch (set) {
	case FWSET_SERVERS:
		return family == IP_V4 ? "type ipv4_addr" : "type ipv6_addr";
	case FWSET_LEASE:
		return "type nf_proto\n\t\tflags timeout"; /* one for both families: a member for each */
	case FWSET_SKIP_MAC:
	case FWSET_ONLY_MAC:
		return "type ether_addr";
	case FWSET_SKIP_PORT:
		return "type inet_service\n\t\tflags interval\n\t\tauto-merge";
	default:
		return family == IP_V4 ? "type ipv4_addr\n\t\tflags interval\n\t\tauto-merge"
				       : "type ipv6_addr\n\t\tflags interval\n\t\tauto-merge";
	}
}

static void put_set(struct both *b, enum ip_family family, enum fw_set set)
{
	const struct fwplan_params *p = b->plan[family].p;
	struct element_list l = { .t = &b->t, .behind = "" };
	char name[FWPLAN_SET_TEXT];

	text_puts(&b->t, "\tset ");
	text_puts(&b->t, fw_plan_set(&b->plan[family], set, name));
	text_puts(&b->t, " {\n\t\t");
	text_puts(&b->t, set_type(family, set));
	text_puts(&b->t, "\n");
	if (set == FWSET_LEASE)
		put_lease(b, &l);
	else if (set == FWSET_SERVERS)
		put_servers(p, family, &l);
	else
		(void)fwplan_elements(p, family, set, on_element, &l);
	text_puts(&b->t, l.any ? "\n\t\t}\n\t}\n" : "\t}\n");
}

static void put_sets(struct both *b)
{
	for (unsigned set = 0; set < FW_SETS; set++) {
		bool once = fwplan_set_is_shared((enum fw_set)set) || set == FWSET_LEASE, there = false;

		for (unsigned f = 0; f < IP_FAMILIES; f++) {
			if (!b->plan[f].parts || !fwplan_has_set(b->plan[f].p, (enum ip_family)f, (enum fw_set)set))
				continue;
			if (!once || !there)
				put_set(b, (enum ip_family)f, (enum fw_set)set);
			there = true;
		}
	}
}

/* ---- chains ---- */

static void put_name(struct both *b, enum fw_chain c, enum ip_family family)
{
	text_puts(&b->t, fw_chain_info[c].name);
	text_puts(&b->t, family == IP_V4 ? "4" : "6");
}

static void put_rules(struct both *b, enum fw_chain c, enum ip_family family)
{
	text_puts(&b->t, "\tchain ");
	put_name(b, c, family);
	text_puts(&b->t, " {\n");
	fw_plan_put_rules(&b->plan[family], c, "\t\t", &b->t);
	text_puts(&b->t, "\t}\n");
}

static void put_jump(struct both *b, enum fw_chain c, enum ip_family family, const char *match)
{
	text_puts(&b->t, family == IP_V4 ? "\t\tmeta nfproto ipv4" : "\t\tmeta nfproto ipv6");
	text_puts(&b->t, match);
	text_puts(&b->t, " jump ");
	put_name(b, c, family);
	text_puts(&b->t, "\n");
}

/* The chain at the kernel's hook. It sends each family to a chain of its own. */
static void put_base(struct both *b, enum fw_chain c)
{
	text_puts(&b->t, "\tchain ");
	text_puts(&b->t, fw_chain_info[c].name);
	text_puts(&b->t, " {\n\t\ttype ");
	text_puts(&b->t, fw_chain_info[c].hook);
	text_puts(&b->t, "; policy accept;\n");
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		if (!fw_plan_has_chain(&b->plan[f], c))
			continue;
		if (fw_chain_info[c].dns)
			put_jump(b, c, (enum ip_family)f, " tcp dport 53");
		put_jump(b, c, (enum ip_family)f, fw_chain_info[c].dns ? " udp dport 53" : "");
	}
	text_puts(&b->t, "\t}\n");
}

static void put_chains(struct both *b, bool base)
{
	for (unsigned c = 0; c < FW_CHAINS; c++) {
		bool there = false;

		for (unsigned f = 0; f < IP_FAMILIES; f++) {
			if (!fw_plan_has_chain(&b->plan[f], (enum fw_chain)c))
				continue;
			there = true;
			if (!base)
				put_rules(b, (enum fw_chain)c, (enum ip_family)f);
		}
		if (base && there && fw_chain_info[c].hook)
			put_base(b, (enum fw_chain)c);
	}
}

/* ---- the text ---- */

/* "add" makes a table that is not there yet, so that "delete" never fails. */
#define EMPTY "add table inet " FWPLAN_TABLE "\ndelete table inet " FWPLAN_TABLE "\n"
#define COUNTERS "\tcounter chosen {\n\t}\n\tcounter diverted {\n\t}\n"

int fwplan_nft(const struct fwplan_params *p, unsigned parts, const bool family[IP_FAMILIES], char **text_out,
	       struct err *e)
{
	struct both b = { 0 };
	int r = 0;

	*text_out = NULL;
	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		b.plan[f] = (struct fw_plan){
			.p = p, .backend = FW_NFT, .family = (enum ip_family)f, .parts = family[f] ? parts : 0
		};
		if (r == 0 && b.plan[f].parts)
			r = fw_plan_check(p, (enum ip_family)f, e);
	}
	if (r < 0)
		return r;
	text_puts(&b.t, EMPTY);
	if (b.plan[IP_V4].parts || b.plan[IP_V6].parts) {
		text_puts(&b.t, "table inet " FWPLAN_TABLE " {\n" COUNTERS);
		put_sets(&b);
		put_chains(&b, false);
		put_chains(&b, true);
		text_puts(&b.t, "}\n");
	}
	return text_end(&b.t, text_out, e);
}
