#include "parse/list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/scan.h"

#define SHOWN_MAX 60 /* bytes of an item in a sentence */

/* ---- bytes to items ---- */

struct list_reader list_file(const char *bytes, size_t len)
{
	static const char mark[] = { '\xef', '\xbb', '\xbf' };
	struct list_reader r = { bytes, bytes + len, 1, true };

	if (len >= sizeof(mark) && memcmp(bytes, mark, sizeof(mark)) == 0)
		r.at += sizeof(mark);
	return r;
}

struct list_reader list_value(const char *text)
{
	return (struct list_reader){ text, text + strlen(text), 0, false };
}

static bool is_between(char c)
{
	return c == ' ' || c == '\t' || c == ',' || c == '\r' || c == '\n';
}

static bool is_comment(const struct list_reader *r)
{
	return r->comments && (*r->at == '#' || *r->at == ';');
}

/* Blanks, line ends and comments. */
static void skip_between(struct list_reader *r)
{
	bool comment = false;

	for (; r->at < r->end; r->at++) {
		if (*r->at == '\n') {
			comment = false;
			r->line++;
		} else if (is_comment(r)) {
			comment = true;
		} else if (!comment && !is_between(*r->at)) {
			return;
		}
	}
}

bool list_next(struct list_reader *r, struct list_item *out)
{
	skip_between(r);
	out->text = r->at;
	out->line = r->line;
	while (r->at < r->end && !is_between(*r->at) && !is_comment(r))
		r->at++;
	out->len = (size_t)(r->at - out->text);
	return out->len > 0;
}

/* ---- items to values ---- */

int list_refuse(struct err *e, const struct list_item *item, const char *why)
{
	size_t len = item->len < SHOWN_MAX ? item->len : SHOWN_MAX;
	char shown[SHOWN_MAX + 1];

	for (size_t i = 0; i < len; i++)
		shown[i] = (char)(item->text[i] > 0x20 && item->text[i] < 0x7f ? item->text[i] : '?');
	shown[len] = '\0';
	return err_set(e, EINVAL, "\"%s%s\" %s", shown, len < item->len ? "..." : "", why);
}

/* `array` is the address of a list's pointer. The room in it is the power of two that holds *n: no field is needed. */
static int push(void *array, size_t *n, size_t max, const void *value, size_t size, struct err *e)
{
	void *items;

	if (*n >= max)
		return err_set(e, ENOSPC, "more than %zu items", max);
	memcpy(&items, array, sizeof(items));
	if ((*n & (*n - 1)) == 0) {
		items = realloc(items, (*n ? *n * 2 : 1) * size);
		if (!items)
			return err_set(e, ENOMEM, "not enough memory");
		memcpy(array, &items, sizeof(items));
	}
	memcpy((char *)items + (*n)++ * size, value, size);
	return 0;
}

#define PUSH(list, member, max, value, e) push(&(list)->member, &(list)->n, max, value, sizeof(*(list)->member), e)

static int add_net(struct net_list *nets, struct addr_net *net, struct err *e)
{
	int r;

	if (net->prefix > 0)
		return PUSH(nets, nets, SELECTION_NETS_MAX, net, e);
	net->prefix = 1;
	r = PUSH(nets, nets, SELECTION_NETS_MAX, net, e);
	if (r < 0)
		return r;
	net->addr.bytes[0] = 0x80;
	r = PUSH(nets, nets, SELECTION_NETS_MAX, net, e);
	nets->n -= r < 0;
	return r;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Six bytes between ':' or '-'. Nobody sends from a group's address, nor from 0, which ipset's hash:mac refuses. */
static bool scan_mac(const char *text, struct mac *out)
{
	static const struct mac none;

	for (size_t i = 0; i < sizeof(out->bytes); i++, text += 3) {
		int high = hex_value(text[0]), low = high < 0 ? -1 : hex_value(text[1]);

		if (low < 0 || text[2] != (i == 5 ? '\0' : text[2] == '-' ? '-' : ':'))
			return false;
		out->bytes[i] = (uint8_t)(high << 4 | low);
	}
	return !(out->bytes[0] & 1) && memcmp(out, &none, sizeof(none)) != 0;
}

/* "22" or "1000-2000". */
static bool scan_ports(char *text, struct port_range *out)
{
	char *dash = strchr(text, '-');
	uint64_t first, last;

	if (dash)
		*dash = '\0';
	if (scan_u64(text, UINT16_MAX, &first) < 0 || first == 0)
		return false;
	last = first;
	if (dash && (scan_u64(dash + 1, UINT16_MAX, &last) < 0 || last < first))
		return false;
	*out = (struct port_range){ (uint16_t)first, (uint16_t)last };
	return true;
}

/* Stricter than the kernel: these names stand in texts of rules. The '*' counts, as iptables counts its '+'. */
static bool scan_iface(const char *text, struct iface *out)
{
	size_t len = strlen(text), plain = strspn(text, NAME_LETTERS);

	if (len == 0 || len >= IFACE_TEXT || text[0] == '-' || strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
		return false;
	if (plain < len && (plain == 0 || plain + 1 < len || text[plain] != '*'))
		return false;
	memset(out, 0, sizeof(*out));
	memcpy(out->name, text, len);
	return true;
}

/* `text` is the item with a NUL behind it, "" for one that is too long for anything. */
static int add_text(const struct list_into *into, char *text, const struct list_item *item, struct err *e)
{
	struct addr_net net;
	struct port_range range;
	struct iface iface;
	struct mac mac;

	if (into->nets && addr_net_parse(text, &net) == 0)
		return add_net(into->nets, &net, e);
	if (into->macs && scan_mac(text, &mac))
		return PUSH(into->macs, macs, SELECTION_NETS_MAX, &mac, e);
	if (into->ports && scan_ports(text, &range))
		return PUSH(into->ports, ranges, SELECTION_PORTS_MAX, &range, e);
	if (into->ifaces && scan_iface(text, &iface))
		return PUSH(into->ifaces, ifaces, SELECTION_NAMES_MAX, &iface, e);
	if (into->nets)
		return list_refuse(e, item, into->macs ? "is neither a network nor a MAC address" : "is no network");
	return list_refuse(e, item,
			   into->ports ? "is no port, 1 to 65535, and no range such as 1000-2000"
				       : "is no interface: up to 15 letters, digits, '_', '.' and '-', perhaps a '*' "
					 "at the end");
}

int list_add(const struct list_into *into, const struct list_item *item, struct err *e)
{
	char text[ADDR_TEXT] = "";

	if (item->len < sizeof(text) && !memchr(item->text, '\0', item->len)) {
		memcpy(text, item->text, item->len);
		text[item->len] = '\0';
	}
	return add_text(into, text, item, e);
}

size_t list_count(const struct list_into *into)
{
	return (into->nets ? into->nets->n : 0) + (into->macs ? into->macs->n : 0) +
	       (into->ports ? into->ports->n : 0) + (into->ifaces ? into->ifaces->n : 0);
}

void list_free(const struct list_into *into)
{
	if (into->nets) {
		free(into->nets->nets);
		*into->nets = (struct net_list){ 0 };
	}
	if (into->macs) {
		free(into->macs->macs);
		*into->macs = (struct mac_list){ 0 };
	}
	if (into->ports) {
		free(into->ports->ranges);
		*into->ports = (struct port_list){ 0 };
	}
	if (into->ifaces) {
		free(into->ifaces->ifaces);
		*into->ifaces = (struct iface_list){ 0 };
	}
}
