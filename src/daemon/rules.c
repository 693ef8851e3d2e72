#include "daemon/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/io.h"
#include "daemon/plan_params.h"

#define EVERYTHING (FWPLAN_ARMED | FWPLAN_STANDING)

static int print_element(void *ctx, const char *element)
{
	printf("add %s %s\n", (const char *)ctx, element);
	return 0;
}

static void print_sets(const struct fwplan_params *p, enum ip_family family)
{
	char name[FWPLAN_SET_TEXT];

	for (unsigned i = 0; i < FW_SETS; i++) {
		enum fw_set set = (enum fw_set)i;

		if (!fwplan_has_set(p, family, set))
			continue;
		fwplan_set(p, family, set, name);
		printf("create %s %s\n", name, fwplan_set_type(family, set));
		(void)fwplan_elements(p, family, set, print_element, name);
	}
}

static int failed(const struct err *e)
{
	fprintf(stderr, "%s\n", e->msg);
	return 1;
}

static int print_iptables(const struct fwplan_params *p, const bool family[IP_FAMILIES])
{
	static const char *const tool[IP_FAMILIES] = { "iptables-restore --noflush", "ip6tables-restore --noflush" };
	struct err e = ERR_INIT;

	for (unsigned f = 0; f < IP_FAMILIES; f++) {
		cleanup_free char *text = NULL;

		if (!family[f])
			continue;
		if (fwplan_iptables(p, EVERYTHING, (enum ip_family)f, NULL, 0, &text, &e) < 0)
			return failed(&e);
		puts("# ipset restore -exist");
		print_sets(p, (enum ip_family)f);
		printf("# %s\n%s", tool[f], text);
	}
	return 0;
}

static int print_nft(const struct fwplan_params *p, const bool family[IP_FAMILIES])
{
	cleanup_free char *text = NULL;
	struct err e = ERR_INIT;

	if (fwplan_nft(p, EVERYTHING, family, &text, &e) < 0)
		return failed(&e);
	printf("# nft -f\n%s", text);
	return 0;
}

int rules_print(const struct settings *s, int n_args, char *const args[])
{
	struct fwplan_params p = plan_params(s);
	bool family[IP_FAMILIES];

	for (unsigned f = 0; f < IP_FAMILIES; f++)
		family[f] = s->tproxy.family[f] != SETTING_NO;
	if (n_args != 0 && (n_args != 2 || strcmp(args[0], "--backend") != 0))
		return 2;
	if (n_args == 0 || strcmp(args[1], fw_backend_name(FW_IPTABLES)) == 0)
		return print_iptables(&p, family);
	if (strcmp(args[1], fw_backend_name(FW_NFT)) == 0)
		return print_nft(&p, family);
	fprintf(stderr, "clashsup: rules are printed for iptables or nft\n");
	return 2;
}
