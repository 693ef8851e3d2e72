/*
 * servers: keeps the server set true: runs the extractor, keeps the ledger, and
 * brings its changes into the kernel's sets, at most IPSET_BATCH a loop turn.
 */
#ifndef DAEMON_SERVERS_H
#define DAEMON_SERVERS_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "clashsup/ledger.h"
#include "clashsup/report.h"
#include "daemon/changes.h"
#include "daemon/extraction.h"
#include "daemon/no_server.h"
#include "daemon/notes.h"
#include "daemon/remember.h"

#define SERVERS_UNSURE 64

/* Why a run is wanted. While one is under way, the strongest wish waits. */
enum servers_why {
	SERVERS_NO_RUN,
	SERVERS_START, /* Mihomo is being started: literals, before the rules go in */
	SERVERS_DUE,   /* answers have lived their TTL, or are missing */
	SERVERS_CLOCK, /* [extract] interval */
	SERVERS_ARMED, /* the rules are in */
	SERVERS_FILES, /* a file has changed */
	SERVERS_ASKED, /* clashsup refresh */
};

struct servers {
	struct ev_loop *loop;
	struct extraction_setup setup;
	change_fn change;	   /* brings changes into the kernel's sets */
	void (*filled)(void *ctx); /* all that was known when the sets came is in them */
	void *ctx;

	struct ledger *ledger;
	struct remember remember;
	struct helper *helper;
	enum servers_why why, next; /* of the run in hand; of the one behind it */
	ev_timer flush, periodic, due;
	ev_timer patience; /* while it runs, `filled` waits for the run that reads literals */

	struct changes changes;	  /* what the kernel's sets do not have yet */
	bool on;		  /* the sets exist */
	bool family[IP_FAMILIES]; /* ... of these families */
	bool held;		  /* changes wait */
	bool feeding;		  /* the ledger from `cursor` on is still to be queued */
	bool sweeping;		  /* what the last run has told to leave is not all out of the ledger */
	size_t cursor;
	bool filling; /* `filled` is still to be told */
	bool read;    /* no file has changed since a run began that has read all, or yet may */
	bool anew;    /* the config has changed, or a run broke off: the next one asks for all names */
	bool dirty;   /* the union has changed since it was last to be saved */
	bool known;   /* a run has come to its end: what Mihomo dials beside it was missed */

	/* of the run in hand */
	bool changed, whole;
	size_t left_out; /* addresses, for want of room */
	size_t before;	 /* addresses when it began */
	int64_t began_ms;
	struct notes notes;
	struct addr unsure[SERVERS_UNSURE]; /* dialled, and a run may yet name them */
	size_t n_unsure;

	struct no_server no_server;
	int64_t retry_ms; /* the pause before names without an answer are asked for again */

	/* for status */
	struct wire_summary summary;
	uint32_t missed;
	int64_t duration_ms;
	struct report_time last, updated;
	char warning[256];
};

/* loop to ctx are given. */
int servers_init(struct servers *s, struct err *e);

/* What the last life knew is taken from the disk. */
void servers_recall(struct servers *s);
void servers_deinit(struct servers *s);

/* The sets of these families are there (empty or not): what is known goes in. */
void servers_on(struct servers *s, const bool family[IP_FAMILIES]);

/* The sets are gone: a run in hand changes nothing any more. */
void servers_off(struct servers *s);

/* While true, changes of the sets wait in the queue. */
void servers_hold(struct servers *s, bool hold);

/* A set was emptied behind our back: all that is known goes in again. */
void servers_refeed(struct servers *s);

/* All that is or will be in the sets, malloc'ed; what memory did not suffice for is left out. */
size_t servers_list(const struct servers *s, struct addr **out);

/* Must a family's set hold something? False also while something is on its way. */
bool servers_settled(const struct servers *s, enum ip_family family);

/* A config comes into force: another one, or the same again. */
void servers_adopt(struct servers *s, const struct addr_net *fake, size_t n_fake, bool changed);

/* Starts a run, or one more behind the one in hand. Without the sets only SERVERS_START runs. */
void servers_extract(struct servers *s, enum servers_why why);

/* [extract] interval may have changed. */
void servers_set_interval(struct servers *s);

/* Mihomo has a connection to this address on its own account. */
void servers_dialled(struct servers *s, const struct addr *a);

/* Before the program ends: what is not yet on the disk is written. False when there is nothing more to wait for. */
bool servers_saving(struct servers *s);

/*
 * Over a reexec: the run in hand ends, and nothing is begun; to be repeated until
 * servers_busy says no. Then all addresses are the bytes of a file (remember.h).
 * servers_extract goes on.
 */
void servers_rest(struct servers *s);
int servers_save(const struct servers *s, struct lastgood *out);
int servers_load(struct servers *s, const void *bytes, size_t len, struct err *e);

/* A run is under way, or its changes are not all in the kernel. */
bool servers_busy(const struct servers *s);

/* Addresses of both families in the ledger. */
size_t servers_known(const struct servers *s);

/* Forgets every address (mixed mode). */
void servers_forget(struct servers *s);

#endif
