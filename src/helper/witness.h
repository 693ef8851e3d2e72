/*
 * witness: looks at Mihomo's own list of connections now and then, and tells the
 * supervisor which servers' addresses it really dials (WIRE_DIALLED). It lives in
 * the loop of whoever probes, and gives way: it works only while nothing else is
 * pending, and takes at most 1/200 of the time.
 *
 * A connection's entry names the proxy at its end, not its kind; those that are
 * not known are asked for one by one, and known for a minute.
 */
#ifndef HELPER_WITNESS_H
#define HELPER_WITNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "clashsup/addr.h"
#include "helper/api_request.h"

#define WITNESS_LEAVES 128
#define WITNESS_SEEN 8 /* addresses of one leaf that wait until it is known; more have to be seen again */
#define WITNESS_SETS 128
#define WITNESS_WAYS 8

enum witness_state { WITNESS_WAITS, WITNESS_ASKS, WITNESS_ANSWERED };
enum witness_leaf_kind { LEAF_UNKNOWN, LEAF_NAMES_SERVER, LEAF_OTHER };

struct witness_leaf {
	char *provider, *name;
	enum witness_leaf_kind kind;
	int64_t until_ms; /* then it is forgotten */
	struct addr seen[WITNESS_SEEN];
	size_t n_seen;
};

struct witness {
	CURLM *multi;
	struct api_request request;
	enum witness_state state;
	bool answered, answer_good; /* at all, with status 200 */
	bool told_of_size;
	int64_t now_ms, next_ms;
	int64_t cost_us; /* of the look in hand */

	struct witness_leaf leaves[WITNESS_LEAVES], *asked; /* asked: NULL = for the connections */
	size_t n_leaves;
	struct {
		struct addr addr;
		int64_t until_ms; /* told already: not again before */
	} told[WITNESS_SETS][WITNESS_WAYS];
};

/* A zeroed witness, which witness_deinit may always follow. 0 or -ENOMEM. */
int witness_init(struct witness *w, CURLM *multi, const char *socket, int64_t timeout_ms, int64_t now_ms);
void witness_deinit(struct witness *w);

/* Another Mihomo: what was learnt is forgotten. */
void witness_anew(struct witness *w, int64_t now_ms);

/* Works if there is something to do, and time: free_ms until others need the loop. */
void witness_turn(struct witness *w, int64_t now_ms, int64_t free_ms);

/* When it wants its next turn; INT64_MAX = it waits for its answer. */
int64_t witness_next_ms(const struct witness *w);

/* Its request has ended. */
void witness_answer(struct witness *w, CURLcode result);

#endif
