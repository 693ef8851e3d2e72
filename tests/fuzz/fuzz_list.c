/*
 * Any bytes as a list of each kind, in a file and in a value: what is taken
 * lies in the bytes, and written again it is taken as the same.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parse/list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
	if (!good)
		abort();
}

static void add_text(const struct list_into *into, const char *text)
{
	const struct list_item item = { text, strlen(text), 1 };

	must(list_add(into, &item, NULL) == 0);
}

static void check_macs(const struct mac_list *list, struct mac_list *again)
{
	struct net_list none = { 0 };
	const struct list_into into = { .nets = &none, .macs = again };

	for (size_t i = 0; i < list->n; i++) {
		const uint8_t *b = list->macs[i].bytes;
		char text[ADDR_TEXT];

		snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
		add_text(&into, text);
		must(none.n == 0 && memcmp(b, again->macs[i].bytes, 6) == 0);
	}
}

static void check_nets(const struct net_list *list, struct net_list *again)
{
	const struct list_into into = { .nets = again };
	char text[ADDR_TEXT];

	for (size_t i = 0; i < list->n; i++) {
		must(list->nets[i].prefix > 0);
		add_text(&into, addr_net_text(&list->nets[i], text));
		must(memcmp(&list->nets[i], &again->nets[i], sizeof(list->nets[i])) == 0);
	}
}

static void check_ports(const struct port_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		must(list->ranges[i].first > 0 && list->ranges[i].first <= list->ranges[i].last);
}

static void check_ifaces(const struct iface_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		size_t len = strlen(list->ifaces[i].name), plain = strspn(list->ifaces[i].name, NAME_LETTERS);

		must(len > 0 && len < IFACE_TEXT && plain > 0);
		must(plain == len || (plain + 1 == len && list->ifaces[i].name[plain] == '*'));
	}
}

static void read_all(struct list_reader r, const struct list_into *into)
{
	const char *at = r.at, *end = r.end;
	struct list_item item = { .line = 0 };
	unsigned line = 0;

	while (list_next(&r, &item)) {
		struct err e = ERR_INIT;

		must(item.len > 0 && item.text >= at && item.text + item.len <= end && item.line >= line);
		at = item.text + item.len;
		line = item.line;
		must((list_add(into, &item, &e) < 0) == (e.msg[0] != '\0'));
	}
	must(r.at == end);
}

static void read_kinds(struct list_reader r)
{
	struct net_list nets = { 0 }, nets_again = { 0 };
	struct mac_list macs = { 0 }, macs_again = { 0 };
	struct port_list ports = { 0 };
	struct iface_list ifaces = { 0 };
	const struct list_into sources = { .nets = &nets, .macs = &macs }, numbers = { .ports = &ports },
			       names = { .ifaces = &ifaces }, again = { .nets = &nets_again, .macs = &macs_again };

	read_all(r, &sources);
	check_nets(&nets, &nets_again);
	check_macs(&macs, &macs_again);
	read_all(r, &numbers);
	check_ports(&ports);
	read_all(r, &names);
	check_ifaces(&ifaces);
	list_free(&sources);
	list_free(&numbers);
	list_free(&names);
	list_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *)data;

	read_kinds(list_file(bytes, size));
	read_kinds((struct list_reader){ bytes, bytes + size, 0, false });
	return 0;
}
