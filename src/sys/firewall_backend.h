/*
 * firewall_backend: what the face (firewall.c) and the backends behind it know
 * of each other. firewall_iptables.c, firewall_nft.c and firewall_script.c each
 * export one struct firewall_backend.
 *
 * The face runs one operation at a time and gives it to the backends as pieces
 * of work, one after the other. A backend does its piece as jobs and writes the
 * outcome into the host: result.family[] and err[] of both families (0 when
 * there was nothing to do), and view or counters. Then it calls host->end, once.
 * That may be from within the function that began the work: the face goes on
 * from the loop, never from there.
 *
 * `open`, `apply`, `look` and `count` return 0, or -errno and e: then nothing
 * was begun and `end` is not called.
 */
#ifndef CLASHSUP_SYS_FIREWALL_BACKEND_H
#define CLASHSUP_SYS_FIREWALL_BACKEND_H

#include "clashsup/firewall.h"

#define FIREWALL_DEADLINE_MS 10000
#define FIREWALL_LISTING_MAX (16 * 1024 * 1024) /* a router with lists of countries in its rules prints 1 MiB */

/* The face, as all backends see it. */
struct firewall_host {
	struct reaper *reaper;
	const struct firewall_script *script; /* NULL = none is configured */
	bool aborted;			      /* of the operation in hand: start no more jobs */
	struct firewall_result result;	      /* these three are zeroed before each piece of work */
	struct fw_view view[IP_FAMILIES];
	struct fw_counters counters;
	void (*end)(struct firewall_host *host);
};

/* What an apply shall leave in the kernel; all else of ours that this backend can have made goes out. */
struct firewall_want {
	const struct fwplan_params *params; /* borrowed until `end` */
	unsigned parts;
	bool family[IP_FAMILIES];
	bool sweep; /* whatever a former life may have left: trust no memory, look at every variant */
};

struct firewall_backend {
	int (*open)(void **out, struct firewall_host *host, struct err *e);
	void (*close)(void *backend); /* NULL-safe; abandons its jobs, `end` is not called any more */
	int (*apply)(void *backend, const struct firewall_want *want, struct err *e);
	int (*look)(void *backend, struct err *e);
	int (*count)(void *backend, struct err *e);
	void (*abort)(void *backend); /* kills its jobs; `end` comes when they are reaped */
};

extern const struct firewall_backend firewall_iptables, firewall_nft, firewall_script;

/* A program that is not there. */
bool firewall_job_absent(const struct job_result *result);

/* Killed in the middle: the kernel may or may not have taken what it was about. */
bool firewall_job_cut_off(const struct job_result *result);

/*
 * A job that failed, as an error: "PROGRAM: exit status 4: its output". -ECANCELED
 * after an abort, -ETIMEDOUT, -EFBIG for a listing that was cut, else -EIO.
 */
int firewall_job_err(const struct firewall_host *host, const char *program, const struct job_result *result,
		     struct err *e);

/* Is nf_tables in the kernel? In doubt yes. Does not load it, as any question to nf_tables itself would. */
bool firewall_nft_in_kernel(void);

#endif
