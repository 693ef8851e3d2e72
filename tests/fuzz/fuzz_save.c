/* Any bytes as what iptables-save or nft prints. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/fwplan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A removal is whole lines of tables that end; where there is one, there is something to see. */
static void remove_all(const char *save, size_t size)
{
	char *text = NULL;
	struct fw_view view = { 0 };
	int n = fwplan_iptables(NULL, 0, IP_V4, save, size, &text, NULL);

	if (n > 0 && (text[0] != '*' || strcmp(text + n - 7, "COMMIT\n") != 0))
		abort();
	if (fwplan_view(FW_IPTABLES, save, size, &view, NULL) != (n < 0 ? n : 0) || (view.lines > 0) != (n > 0))
		abort();
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct fwplan_params p = { .server_set = "s", .port = 1, .mark = 1, .local = true };
	const char *listing = (const char *)data;
	struct fw_counters counters;
	struct fw_view view;
	char *text = NULL;

	remove_all(listing, size);
	(void)fwplan_iptables(&p, FWPLAN_ARMED, IP_V6, listing, size, &text, NULL);
	(void)fwplan_view(FW_NFT, listing, size, &view, NULL);
	(void)fwplan_counters(FW_IPTABLES, listing, size, &counters, NULL);
	(void)fwplan_counters(FW_NFT, listing, size, &counters, NULL);
	free(text);
	return 0;
}
