/*
 * list: bytes with items in, values out: networks, MAC addresses, ports and
 * interfaces as the lists of [tproxy] have them, in a value or in a file. Pure:
 * opens nothing. Private to the settings parser.
 */
#ifndef PARSE_LIST_H
#define PARSE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "clashsup/err.h"
#include "clashsup/selection.h"

#define NAME_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

/* Where items go. Those that are not NULL say what the list may have. */
struct list_into {
	struct net_list *nets;
	struct mac_list *macs; /* only beside nets */
	struct port_list *ports;
	struct iface_list *ifaces;
};

/* Items stand between blanks, commas and line ends. */
struct list_reader {
	const char *at, *end;
	unsigned line; /* starts with 1 */
	bool comments; /* from '#' or ';' to the line's end */
};

struct list_item {
	const char *text; /* no NUL behind it */
	size_t len;
	unsigned line;
};

/* A reader of a file's bytes; a UTF-8 mark at their start is skipped. And one of a value, which has no comments. */
struct list_reader list_file(const char *bytes, size_t len);
struct list_reader list_value(const char *text);

/* The next item, or false at the end. */
bool list_next(struct list_reader *r, struct list_item *out);

/*
 * Appends an item's value. A network of prefix 0 becomes its two halves, since
 * ipset's hash:net knows no prefix 0. -EINVAL with a sentence about the item,
 * -ENOSPC with one about the list, -ENOMEM; the list is then as it was.
 */
int list_add(const struct list_into *into, const struct list_item *item, struct err *e);

/* As err_set of EINVAL, with the item in quotes before it; what cannot be printed becomes '?'. */
int list_refuse(struct err *e, const struct list_item *item, const char *why);

size_t list_count(const struct list_into *into);
void list_free(const struct list_into *into);

#endif
