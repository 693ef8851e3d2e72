/*
 * ipset: kernel sets through libipset, in process.
 *
 * What libipset 7.17 makes us do (each seen in runs): its command line layer
 * exits on errors and resolves names that are no addresses, so the layer below
 * is used; an error leaves data behind and its socket is not close-on-exec, so
 * each call has a library session of its own (20 us) and nothing outlives it;
 * its errors are sentences without a code, so where a code matters the kernel is
 * asked directly. One thread only.
 */
#ifndef CLASHSUP_IPSET_H
#define CLASHSUP_IPSET_H

#include <stdbool.h>
#include <stddef.h>

#include "clashsup/addr.h"
#include "clashsup/err.h"

#define IPSET_BATCH 1000 /* most changes that make sense in a call: one loop turn */
#define IPSET_REPLACE_MAX 256

struct ipset;

int ipset_open(struct ipset **out, struct err *e);
void ipset_close(struct ipset *s); /* NULL-safe */

/* `type` is e.g. "hash:ip family inet maxelem 131072"; an equal set that exists is fine, another one is -EEXIST. */
int ipset_create(struct ipset *s, const char *name, const char *type, struct err *e);

/*
 * Elements as text, in one batch; those that are there already are fine. What
 * they are is the set's type: networks ("10.0.0.0/8", "192.0.2.1"), MAC
 * addresses ("02:00:5e:00:00:01"), ports ("22", "1000-2000"). -EINVAL for what
 * is none of it (names are never looked up); other errors as of ipset_change,
 * -EOPNOTSUPP for a set of another type. After an error a part may be in.
 */
int ipset_add_elements(struct ipset *s, const char *name, const char *const *elements, size_t n, struct err *e);

/*
 * Makes the content of a small set of networks exactly these, of the set's
 * family: first adds what is missing, then deletes the rest, so that no wanted
 * one is ever absent. -E2BIG beyond IPSET_REPLACE_MAX.
 */
int ipset_replace_nets(struct ipset *s, const char *name, const struct addr_net *nets, size_t n, struct err *e);

/*
 * Adds and deletes addresses in one batch; present or absent already is fine.
 * -ENOENT without such a set, -EAFNOSUPPORT for an address of the other family,
 * -EIO for what only the library can name (the set is full). After an error a
 * part may be in.
 */
int ipset_change(struct ipset *s, const char *name, const struct addr *add, size_t n_add, const struct addr *del,
		 size_t n_del, struct err *e);

/* Two sets of one type change names; who used the one by its rules uses the other's content from then on. */
int ipset_swap(struct ipset *s, const char *one, const char *other, struct err *e);

int ipset_flush(struct ipset *s, const char *name, struct err *e);

/* An absent set is fine; -EBUSY while a rule still uses it. */
int ipset_destroy(struct ipset *s, const char *name, struct err *e);

/* 1 = exists, 0 = not, -errno. *count_out (may be NULL) = its elements. */
int ipset_exists(struct ipset *s, const char *name, size_t *count_out, struct err *e);

#endif
