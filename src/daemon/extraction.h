/*
 * extraction: starts one run of the extractor (clashsup-helper extract).
 */
#ifndef DAEMON_EXTRACTION_H
#define DAEMON_EXTRACTION_H

#include <stdbool.h>

#include "clashsup/helper.h"
#include "clashsup/ledger.h"
#include "clashsup/settings.h"

/* The same for every run. Borrowed. */
struct extraction_setup {
	struct reaper *reaper;
	const struct settings *settings;
	const char *run_dir;	   /* RUN/mihomo: its config.yaml and api.sock */
	const char *home, *config; /* of the user; the copy in force is in run_dir */
	int helper_fd;
	const char *helper_path;
	struct sandbox_ids ids;
};

enum extraction_names {
	EXTRACT_LITERALS, /* no name is asked for, each is told as fresh */
	EXTRACT_DUE,	  /* those whose answers in the ledger have ended, or end within a moment */
	EXTRACT_ALL,
};

int extraction_start(struct helper **out, const struct extraction_setup *s, enum extraction_names names,
		     const struct ledger *ledger, const struct helper_ops *ops, void *ctx, struct err *e);

#endif
