#include "clashsup/script_env.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VARIABLES_MAX 20

struct env {
	char **vars;
	size_t n;
	/* the variable that is being written */
	char *text;
	size_t len, cap;
	bool first, no_memory;
	const char *name, *too_long; /* the first one that was */
};

static const struct selection no_selection;
static const struct net_list no_nets;

static void put(struct env *v, const char *piece)
{
	size_t n = strlen(piece), cap = v->cap;
	char *grown;

	if (v->no_memory || v->too_long)
		return;
	if (n >= SCRIPT_ENV_VALUE_MAX - v->len) {
		v->too_long = v->name;
		return;
	}
	while (cap < v->len + n + 1)
		cap = cap < 64 ? 64 : cap * 2;
	if (cap != v->cap) {
		grown = realloc(v->text, cap);
		if (!grown) {
			v->no_memory = true;
			return;
		}
		v->text = grown;
		v->cap = cap;
	}
	memcpy(v->text + v->len, piece, n + 1);
	v->len += n;
}

static void put_item(struct env *v, const char *item)
{
	if (!v->first)
		put(v, " ");
	v->first = false;
	put(v, item);
}

static void begin(struct env *v, const char *name)
{
	v->text = NULL;
	v->len = v->cap = 0;
	v->first = true;
	v->name = name;
	put(v, name);
	put(v, "=");
}

static void end(struct env *v)
{
	v->vars[v->n++] = v->text; /* may be NULL or cut: then the whole is given up */
	v->text = NULL;
}

static void put_nets(struct env *v, const struct net_list *list)
{
	char text[ADDR_TEXT];

	for (size_t i = 0; i < list->n; i++)
		put_item(v, addr_net_text(&list->nets[i], text));
}

static void put_macs(struct env *v, const struct mac_list *list)
{
	char text[24];

	for (size_t i = 0; i < list->n; i++) {
		const uint8_t *b = list->macs[i].bytes;

		snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
		put_item(v, text);
	}
}

static void put_ports(struct env *v, const struct port_list *list)
{
	char text[16];

	for (size_t i = 0; i < list->n; i++) {
		unsigned first = list->ranges[i].first, last = list->ranges[i].last;

		if (first == last)
			snprintf(text, sizeof(text), "%u", first);
		else
			snprintf(text, sizeof(text), "%u-%u", first, last);
		put_item(v, text);
	}
}

static void put_ifaces(struct env *v, const struct iface_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		put_item(v, list->ifaces[i].name);
}

static void add_text(struct env *v, const char *name, const char *value)
{
	begin(v, name);
	put(v, value);
	end(v);
}

static void add_number(struct env *v, const char *name, uint32_t value)
{
	char text[16];

	snprintf(text, sizeof(text), "%" PRIu32, value);
	add_text(v, name, text);
}

static void add_mark(struct env *v, uint32_t mark)
{
	char text[16];

	snprintf(text, sizeof(text), "0x%" PRIx32, mark);
	add_text(v, "MARK", text);
}

static void add_lists(struct env *v, const struct script_values *values)
{
	const struct selection *s = values->selection ? values->selection : &no_selection;

	begin(v, "PROXY_CIDRS");
	put_nets(v, &s->want);
	if (s->want.n > 0)
		put_nets(v, values->fake ? values->fake : &no_nets);
	end(v);
	begin(v, "EXCLUDE_SRC_CIDRS");
	put_nets(v, &s->skip_src);
	put_macs(v, &s->skip_mac);
	end(v);
	begin(v, "EXCLUDE_IFACES");
	put_ifaces(v, &s->skip_ifaces);
	end(v);
	begin(v, "EXCLUDE_IPS");
	put_nets(v, &s->skip_dst);
	put_nets(v, values->lan ? values->lan : &no_nets);
	end(v);
	begin(v, "EXCLUDE_PORTS");
	put_ports(v, &s->skip_ports);
	end(v);
	begin(v, "INCLUDE_SRC_CIDRS");
	put_nets(v, &s->only_src);
	put_macs(v, &s->only_mac);
	end(v);
	begin(v, "LAN_IFACES");
	put_ifaces(v, &s->lan_ifaces);
	end(v);
}

static void add_rest(struct env *v, const struct script_values *values, const char *path)
{
	add_text(v, "PROXY_IPSET_NAME", values->server_set);
	add_number(v, "TPROXY_PORT", values->port);
	add_mark(v, values->mark);
	add_number(v, "TABLE", values->table);
	add_text(v, "LEASE_IPSET_NAME", values->lease_set);
	add_number(v, "CORE_GID", values->core_gid);
	add_text(v, "LOCAL", values->local ? "yes" : "no");
	begin(v, "FAMILIES");
	if (values->family[IP_V4])
		put_item(v, "4");
	if (values->family[IP_V6])
		put_item(v, "6");
	end(v);
	if (path)
		add_text(v, "PATH", path);
}

int script_env(const struct script_values *values, const char *path, char ***envp_out, struct err *e)
{
	struct env v = { .vars = calloc(VARIABLES_MAX, sizeof(char *)) };
	int r = 0;

	if (!v.vars)
		return err_sys(e, ENOMEM, "cannot make the script's environment");
	add_lists(&v, values);
	add_rest(&v, values, path);
	if (v.no_memory)
		r = err_sys(e, ENOMEM, "cannot make the script's environment");
	else if (v.too_long)
		r = err_set(e, E2BIG,
			    "%s is longer than the %d bytes that a script can be given; use a shorter list, or "
			    "backend = iptables or nft",
			    v.too_long, SCRIPT_ENV_VALUE_MAX);
	if (r < 0) {
		for (size_t i = 0; i < v.n; i++)
			free(v.vars[i]);
		free(v.vars);
		return r;
	}
	*envp_out = v.vars;
	return 0;
}

void script_env_free(char **envp)
{
	for (size_t i = 0; envp && envp[i]; i++)
		free(envp[i]);
	free(envp);
}
