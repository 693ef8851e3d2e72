#include <stdio.h>
#include <stdlib.h>

#include "core/fwplan_listing.h"

/* What of ours is in the kernel. */
struct found {
	struct text deletions[FW_TABLES];
	bool chain[FW_CHAINS];
};

static void on_line(void *ctx, const struct save_line *line)
{
	struct found *f = ctx;
	struct text *t = &f->deletions[line->table];

	if (line->kind == SAVE_CHAIN)
		f->chain[line->chain] = true;
	if (line->kind != SAVE_JUMP)
		return; /* a rule goes with its chain */
	text_puts(t, "-D");
	text_put(t, line->text.at + 2, line->text.len - 2);
	text_puts(t, "\n");
}

/* "VERB NAME" of the chains in one table that are wanted, or that are there and not wanted. */
static void put_chains(const struct fw_plan *plan, const struct found *f, enum fw_table table, bool wanted,
		       const char *before, const char *after, struct text *t)
{
	for (unsigned c = 0; c < FW_CHAINS; c++) {
		bool want = fw_plan_has_chain(plan, (enum fw_chain)c);

		if (fw_chain_info[c].table != table || want != wanted || (!want && !f->chain[c]))
			continue;
		text_puts(t, before);
		text_puts(t, fw_chain_info[c].name);
		text_puts(t, after);
	}
}

static void put_jump(const struct fw_chain_info *c, const char *match, struct text *t)
{
	text_puts(t, c->first ? "-I " : "-A ");
	text_puts(t, c->from);
	text_puts(t, match);
	text_puts(t, " -j ");
	text_puts(t, c->name);
	text_puts(t, "\n");
}

static void put_jumps(const struct fw_chain_info *c, struct text *t)
{
	if (!c->from)
		return;
	if (!c->dns) {
		put_jump(c, "", t);
		return;
	}
	put_jump(c, " -p tcp -m tcp --dport 53", t);
	put_jump(c, " -p udp -m udp --dport 53", t);
}

static void put_rules(const struct fw_plan *plan, enum fw_table table, struct text *t)
{
	char before[32];

	for (unsigned c = 0; c < FW_CHAINS; c++) {
		if (fw_chain_info[c].table != table || !fw_plan_has_chain(plan, (enum fw_chain)c))
			continue;
		snprintf(before, sizeof(before), "-A %s ", fw_chain_info[c].name);
		fw_plan_put_rules(plan, (enum fw_chain)c, before, t);
	}
}

/* The jumps last: until then the chains are in nobody's way, whatever a restore does with a bad line. */
static void put_table(const struct fw_plan *plan, const struct found *f, enum fw_table table, struct text *t)
{
	const struct text *deletions = &f->deletions[table];

	text_puts(t, "*");
	text_puts(t, fw_table_name[table]);
	text_puts(t, "\n");
	put_chains(plan, f, table, true, ":", " - [0:0]\n", t);
	if (deletions->len)
		text_put(t, deletions->buf, deletions->len);
	put_chains(plan, f, table, false, "-F ", "\n", t); /* all are emptied first, since they refer to each other */
	put_rules(plan, table, t);
	put_chains(plan, f, table, false, "-X ", "\n", t);
	for (unsigned c = 0; c < FW_CHAINS; c++) {
		if (fw_chain_info[c].table == table && fw_plan_has_chain(plan, (enum fw_chain)c))
			put_jumps(&fw_chain_info[c], t);
	}
	text_puts(t, "COMMIT\n");
}

static bool concerns(const struct fw_plan *plan, const struct found *f, enum fw_table table)
{
	bool any = f->deletions[table].len > 0 || f->deletions[table].failed;

	for (unsigned c = 0; c < FW_CHAINS; c++) {
		if (fw_chain_info[c].table == table)
			any |= f->chain[c] || fw_plan_has_chain(plan, (enum fw_chain)c);
	}
	return any;
}

int fwplan_iptables(const struct fwplan_params *p, unsigned parts, enum ip_family family, const char *save,
		    size_t save_len, char **text_out, struct err *e)
{
	const struct fw_plan plan = { .p = p, .backend = FW_IPTABLES, .family = family, .parts = parts };
	struct found found = { 0 };
	struct text t = { 0 };
	int r = parts ? fw_plan_check(p, family, e) : 0;

	*text_out = NULL;
	if (r == 0 && save)
		r = save_read(save, save_len, on_line, &found, e);
	for (unsigned table = 0; table < FW_TABLES && r == 0; table++) {
		if (concerns(&plan, &found, (enum fw_table)table))
			put_table(&plan, &found, (enum fw_table)table, &t);
	}
	for (unsigned table = 0; table < FW_TABLES; table++) {
		t.failed |= found.deletions[table].failed;
		free(found.deletions[table].buf);
	}
	if (r < 0) {
		free(t.buf);
		return r;
	}
	return text_end(&t, text_out, e);
}
