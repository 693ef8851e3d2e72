#include "clashsup/ipset.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>

#include <libipset/data.h>
#include <libipset/linux_ip_set.h>
#include <libipset/parse.h>
#include <libipset/session.h>
#include <libipset/types.h>

#include "clashsup/scan.h"
#include "sys/ipset_msg.h"
#include "sys/netlink.h"

#define TYPE_TEXT_MAX 128
#define MSG_MAX 128
#define REPLACE_ROUNDS 64

struct ipset {
	struct netlink nl;
};

/* ---- questions and commands whose outcome is needed as a code: our own messages ---- */

static int ask(struct ipset *s, uint8_t cmd, uint16_t flags, const char *name, netlink_each_fn each, void *ctx)
{
	NETLINK_ALIGNED uint8_t buf[MSG_MAX] = { 0 }; /* libmnl leaves padding as it is */
	struct nlmsghdr *msg;

	if (!ipset_msg_name_ok(name))
		return -EINVAL;
	msg = ipset_msg_start(buf, cmd, flags, name);
	if (cmd == IPSET_CMD_LIST) /* without it the kernel would send every element */
		mnl_attr_put_u32(msg, IPSET_ATTR_FLAGS, htonl(IPSET_FLAG_LIST_HEADER));
	return netlink_ask(&s->nl, msg, each, ctx);
}

struct count {
	bool known;
	size_t elements;
};

static void read_count(const struct nlmsghdr *msg, void *ctx)
{
	const struct nlattr *data = netlink_nest(msg, sizeof(struct nfgenmsg), IPSET_ATTR_DATA);
	const struct nlattr *elements = data ? netlink_inner(data, IPSET_ATTR_ELEMENTS, sizeof(uint32_t)) : NULL;
	struct count *c = ctx;

	if (elements) {
		c->elements = ntohl(mnl_attr_get_u32(elements));
		c->known = true;
	}
}

int ipset_exists(struct ipset *s, const char *name, size_t *count_out, struct err *e)
{
	struct count c = { .known = false };
	int r = count_out ? ask(s, IPSET_CMD_LIST, NLM_F_DUMP, name, read_count, &c)
			  : ask(s, IPSET_CMD_HEADER, NLM_F_ACK, name, NULL, NULL);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return ipset_msg_err(e, r, "look up set", name);
	if (count_out && !c.known) /* a kernel before 4.10 */
		return err_set(e, EOPNOTSUPP, "look up set %s: the kernel does not count elements", name);
	if (count_out)
		*count_out = c.elements;
	return 1;
}

int ipset_flush(struct ipset *s, const char *name, struct err *e)
{
	int r = ask(s, IPSET_CMD_FLUSH, NLM_F_ACK, name, NULL, NULL);

	return r < 0 ? ipset_msg_err(e, r, "flush set", name) : 0;
}

int ipset_swap(struct ipset *s, const char *one, const char *other, struct err *e)
{
	NETLINK_ALIGNED uint8_t buf[MSG_MAX] = { 0 };
	struct nlmsghdr *msg;
	int r;

	if (!ipset_msg_name_ok(one) || !ipset_msg_name_ok(other))
		return err_set(e, EINVAL, "swap sets: bad name");
	msg = ipset_msg_start(buf, IPSET_CMD_SWAP, NLM_F_ACK, one);
	mnl_attr_put_strz(msg, IPSET_ATTR_TYPENAME, other); /* the kernel's place for a second name */
	r = netlink_ask(&s->nl, msg, NULL, NULL);
	return r < 0 ? ipset_msg_err(e, r, "swap set", one) : 0;
}

int ipset_destroy(struct ipset *s, const char *name, struct err *e)
{
	int r = ask(s, IPSET_CMD_DESTROY, NLM_F_ACK, name, NULL, NULL);

	return r < 0 && r != -ENOENT ? ipset_msg_err(e, r, "destroy set", name) : 0;
}

int ipset_open(struct ipset **out, struct err *e)
{
	struct ipset *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_sys(e, ENOMEM, "open ipset");
	r = netlink_open(&s->nl, NETLINK_NETFILTER);
	if (r < 0) {
		free(s);
		return err_sys(e, -r, "open ipset");
	}
	ipset_load_types(); /* a second time changes nothing */
	*out = s;
	return 0;
}

void ipset_close(struct ipset *s)
{
	if (!s)
		return;
	netlink_close(&s->nl);
	free(s);
}

/*
 * ---- what libipset builds: creation and elements ----
 *
 * A library session lives for one call. So nothing of it outlasts an error
 * (half-parsed data, buffered elements, the cache of set types), and its socket,
 * which is not close-on-exec, is never open when somebody forks. 20 us.
 *
 * The session layer is used, not the command line layer above it: that one calls
 * exit() on errors and resolves names.
 */

/* Its socket and buffers are freed by the session; what is still buffered is not sent. */
static void end_session(struct ipset_session **session)
{
	if (*session)
		ipset_session_fini(*session);
}

#define cleanup_session __attribute__((cleanup(end_session)))

static struct ipset_session *start_session(void)
{
	struct ipset_session *session = ipset_session_init(NULL, NULL);

	if (session)
		ipset_envopt_set(session, IPSET_ENV_EXIST);
	return session;
}

/* The library's sentence; its code has to be asked for, since the library drops it. */
static int library_err(struct ipset *s, const struct ipset_session *session, const char *what, const char *name,
		       bool creating, struct err *e)
{
	int found = ask(s, IPSET_CMD_HEADER, NLM_F_ACK, name, NULL, NULL);
	const char *text = ipset_session_report_msg(session);
	int code = EIO;

	if (found == 0 && creating)
		code = EEXIST;
	else if (found < 0 && !(found == -ENOENT && creating))
		code = found > -IPSET_ERR_PRIVATE ? -found : EPROTO;
	return err_set(e, code, "%s %s: %.*s", what, name, (int)strcspn(text, "\n"), text);
}

static const struct ipset_arg *find_arg(const struct ipset_type *type, const char *word)
{
	for (const enum ipset_keywords *k = type->cmd[IPSET_CREATE].args; *k != IPSET_ARG_NONE; k++) {
		const struct ipset_arg *arg = ipset_keyword(*k);

		if (arg && strcmp(word, arg->name[0]) == 0)
			return arg;
	}
	return NULL;
}

/* "hash:ip family inet maxelem 131072" into the session's data. */
static int parse_type(struct ipset_session *session, char *text)
{
	char *rest = NULL, *word = strtok_r(text, " ", &rest);
	const struct ipset_type *type;

	if (!word || ipset_parse_typename(session, IPSET_OPT_TYPENAME, word) < 0)
		return -EINVAL;
	type = ipset_type_get(session, IPSET_CMD_CREATE);
	while (type && (word = strtok_r(NULL, " ", &rest))) {
		const struct ipset_arg *arg = find_arg(type, word);
		const char *value = NULL;

		if (!arg)
			return -EINVAL;
		if (arg->has_arg != IPSET_NO_ARG && !(value = strtok_r(NULL, " ", &rest)))
			return -EINVAL;
		if (ipset_call_parser(session, arg, value) < 0)
			return -EINVAL;
	}
	return type ? 0 : -EINVAL;
}

static void read_family(const struct nlmsghdr *msg, void *ctx)
{
	const struct nlattr *attr = netlink_attr(msg, sizeof(struct nfgenmsg), IPSET_ATTR_FAMILY, sizeof(uint8_t));

	if (attr)
		*(uint8_t *)ctx = mnl_attr_get_u8(attr);
}

/* The kernel takes a set of the other family for equal: it compares the families that the types can have. */
static int check_family(struct ipset *s, const char *name, uint8_t wanted, struct err *e)
{
	uint8_t family = NFPROTO_UNSPEC;
	int r = ask(s, IPSET_CMD_HEADER, NLM_F_ACK, name, read_family, &family);

	if (r < 0)
		return ipset_msg_err(e, r, "create set", name);
	if (family != wanted)
		return err_set(e, EEXIST, "create set %s: it exists with another family", name);
	return 0;
}

int ipset_create(struct ipset *s, const char *name, const char *type, struct err *e)
{
	cleanup_session struct ipset_session *session = NULL;
	char text[TYPE_TEXT_MAX];
	uint8_t family;

	if (!ipset_msg_name_ok(name) || strlen(type) >= sizeof(text))
		return err_set(e, EINVAL, "create set %s: bad name or type", name);
	memcpy(text, type, strlen(type) + 1);
	session = start_session();
	if (!session)
		return err_sys(e, ENOMEM, "create set %s", name);
	if (ipset_parse_setname(session, IPSET_SETNAME, name) < 0)
		return library_err(s, session, "create set", name, true, e);
	if (parse_type(session, text) < 0 && ipset_session_report_msg(session)[0] == '\0')
		return err_set(e, EINVAL, "create set %s: bad type \"%s\"", name, type);
	family = ipset_data_family(ipset_session_data(session));
	if (ipset_session_report_msg(session)[0] != '\0' || ipset_cmd(session, IPSET_CMD_CREATE, 0) < 0)
		return library_err(s, session, "create set", name, true, e);
	return check_family(s, name, family, e);
}

/* One call's changes to one set: the session with its line counter, and what the kernel says the set is. */
struct batch {
	struct ipset_session *session;
	const char *name;
	const struct ipset_type *type; /* NULL until the kernel has told */
	uint8_t family;
	uint32_t line;
};

/* -EIO: the library has the reason. */
static int begin_batch(struct batch *b, const char *name)
{
	struct ipset_data *data;

	*b = (struct batch){ .name = name };
	if (!ipset_msg_name_ok(name))
		return -EINVAL;
	b->session = start_session();
	if (!b->session)
		return -ENOMEM;
	if (ipset_parse_setname(b->session, IPSET_SETNAME, name) < 0)
		return -EIO;
	data = ipset_session_data(b->session);
	b->type = ipset_type_get(b->session, IPSET_CMD_ADD); /* one question to the kernel; not cached by the library */
	b->family = ipset_data_family(data);
	ipset_data_reset(data);
	return b->type ? 0 : -EIO;
}

/* Sends what is still buffered unless r tells of an error already; the error's sentence either way. */
static int end_batch(struct ipset *s, struct batch *b, int r, const char *what, struct err *e)
{
	if (r == 0 && ipset_commit(b->session) < 0)
		r = -EIO;
	if (r == -EIO)
		r = library_err(s, b->session, what, b->name, false, e);
	else if (r < 0 && b->type)
		err_sys(e, -r, "%s %s: element %u", what, b->name, b->line + 1);
	else if (r < 0)
		err_sys(e, -r, "%s %s", what, b->name);
	end_session(&b->session);
	return r;
}

/* ---- elements as values: nothing that is not understood here reaches the library, which would ask a name server ----
 */

struct element {
	enum ipset_opt opt; /* what the set's type has as its first part: which member counts */
	struct addr_net net;
	uint8_t mac[6];
	uint16_t first, last; /* ports */
};

static int parse_mac(const char *text, uint8_t mac[6])
{
	static const char hex[] = "0123456789abcdef";

	if (strlen(text) != 17)
		return -EINVAL;
	for (int i = 0; i < 17; i++) {
		const char *digit = text[i] ? strchr(hex, tolower((unsigned char)text[i])) : NULL;

		if (i % 3 == 2 ? text[i] != ':' : !digit)
			return -EINVAL;
		if (i % 3 != 2)
			mac[i / 3] = (uint8_t)(mac[i / 3] << 4 | (digit - hex));
	}
	return 0;
}

static int parse_ports(const char *text, uint16_t *first, uint16_t *last)
{
	const char *dash = strchr(text, '-');
	size_t len = dash ? (size_t)(dash - text) : strlen(text);
	char from[8];
	uint64_t a, b;

	if (len >= sizeof(from))
		return -EINVAL;
	memcpy(from, text, len);
	from[len] = '\0';
	if (scan_u64(from, UINT16_MAX, &a) < 0 || scan_u64(dash ? dash + 1 : from, UINT16_MAX, &b) < 0 || a > b)
		return -EINVAL;
	*first = (uint16_t)a;
	*last = (uint16_t)b;
	return 0;
}

static int parse_element(const struct ipset_type *type, const char *text, struct element *out)
{
	*out = (struct element){ .opt = type->elem[0].opt };
	if (type->dimension != 1)
		return -EOPNOTSUPP;
	switch (out->opt) {
	case IPSET_OPT_IP:
		return addr_net_parse(text, &out->net);
	case IPSET_OPT_ETHER:
		return parse_mac(text, out->mac);
	case IPSET_OPT_PORT:
		return parse_ports(text, &out->first, &out->last);
	default:
		return -EOPNOTSUPP;
	}
}

/* The library's setters return negative for what they refuse. */
static int set_element(struct ipset_data *data, const struct element *el)
{
	bool whole = el->net.prefix == addr_len(&el->net.addr) * 8;

	switch (el->opt) {
	case IPSET_OPT_ETHER:
		return ipset_data_set(data, IPSET_OPT_ETHER, el->mac);
	case IPSET_OPT_PORT:
		return ipset_data_set(data, IPSET_OPT_PORT, &el->first) < 0 ||
				       (el->last != el->first && ipset_data_set(data, IPSET_OPT_PORT_TO, &el->last) < 0)
			       ? -1
			       : 0;
	default:
		return ipset_data_set(data, IPSET_OPT_IP, el->net.addr.bytes) < 0 ||
				       (!whole && ipset_data_set(data, IPSET_OPT_CIDR, &el->net.prefix) < 0)
			       ? -1
			       : 0;
	}
}

/*
 * Into the library's buffer: with a line number it gathers elements of one
 * command and set into messages of a page. -EIO: the library has the reason.
 */
static int put(struct batch *b, enum ipset_cmd cmd, const struct element *el)
{
	struct ipset_data *data = ipset_session_data(b->session);

	if (el->opt != b->type->elem[0].opt || b->type->dimension != 1)
		return -EOPNOTSUPP;
	/* NFPROTO_IPV4 and _IPV6 are the numbers of AF_* */
	if (el->opt == IPSET_OPT_IP && addr_af(&el->net.addr) != b->family)
		return -EAFNOSUPPORT;
	if (ipset_data_set(data, IPSET_SETNAME, b->name) < 0 ||
	    ipset_data_set(data, IPSET_OPT_FAMILY, &b->family) < 0 ||
	    ipset_data_set(data, IPSET_OPT_TYPE, b->type) < 0 || set_element(data, el) < 0)
		return -EIO;
	return ipset_cmd(b->session, cmd, ++b->line) < 0 ? -EIO : 0;
}

int ipset_add_elements(struct ipset *s, const char *name, const char *const *elements, size_t n, struct err *e)
{
	struct element el;
	struct batch b;
	int r = begin_batch(&b, name);

	for (size_t i = 0; i < n && r == 0; i++) {
		r = parse_element(b.type, elements[i], &el);
		if (r == 0)
			r = put(&b, IPSET_CMD_ADD, &el);
	}
	return end_batch(s, &b, r, "add to set", e);
}

static int put_net(struct batch *b, enum ipset_cmd cmd, const struct addr_net *net)
{
	const struct element el = { .opt = IPSET_OPT_IP, .net = *net };

	return put(b, cmd, &el);
}

static int put_addrs(struct batch *b, enum ipset_cmd cmd, const struct addr *addrs, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		const struct addr_net net = { addrs[i], (uint8_t)(addr_len(&addrs[i]) * 8) };

		r = put_net(b, cmd, &net);
	}
	return r;
}

int ipset_change(struct ipset *s, const char *name, const struct addr *add, size_t n_add, const struct addr *del,
		 size_t n_del, struct err *e)
{
	struct batch b;
	int r = begin_batch(&b, name);

	if (r == 0)
		r = put_addrs(&b, IPSET_CMD_ADD, add, n_add);
	if (r == 0)
		r = put_addrs(&b, IPSET_CMD_DEL, del, n_del);
	return end_batch(s, &b, r, "change set", e);
}

/* ---- replacing the content of a small set ---- */

struct content {
	const struct addr_net *wanted;
	size_t n_wanted, n_others;
	struct addr_net others[IPSET_REPLACE_MAX]; /* in the set and not wanted */
	bool more;
};

static bool same_net(const struct addr_net *a, const struct addr_net *b)
{
	return a->prefix == b->prefix && addr_cmp(&a->addr, &b->addr) == 0;
}

static const struct nlattr *read_ip(const struct nlattr *data, uint16_t type, size_t len)
{
	const struct nlattr *ip = netlink_inner(data, IPSET_ATTR_IP, sizeof(*data) + len);

	return ip ? netlink_inner(ip, type, len) : NULL;
}

static bool read_net(const struct nlattr *data, struct addr_net *out)
{
	const struct nlattr *four = read_ip(data, IPSET_ATTR_IPADDR_IPV4, 4), *ip = four;
	const struct nlattr *cidr = netlink_inner(data, IPSET_ATTR_CIDR, sizeof(uint8_t));

	if (!ip)
		ip = read_ip(data, IPSET_ATTR_IPADDR_IPV6, 16);
	if (!ip)
		return false;
	*out = (struct addr_net){ .addr.family = four ? IP_V4 : IP_V6 };
	memcpy(out->addr.bytes, mnl_attr_get_payload(ip), addr_len(&out->addr));
	out->prefix = cidr ? mnl_attr_get_u8(cidr) : (uint8_t)(addr_len(&out->addr) * 8);
	return true;
}

static void note_others(const struct nlmsghdr *msg, void *ctx)
{
	const struct nlattr *list = netlink_nest(msg, sizeof(struct nfgenmsg), IPSET_ATTR_ADT), *data;
	const char *end = list ? (const char *)list + mnl_attr_get_len(list) : NULL;
	struct content *c = ctx;
	struct addr_net net;

	if (!list)
		return;
	for (data = mnl_attr_get_payload(list); mnl_attr_ok(data, (int)(end - (const char *)data));
	     data = mnl_attr_next(data)) {
		bool other = read_net(data, &net);

		for (size_t i = 0; i < c->n_wanted && other; i++)
			other = !same_net(&net, &c->wanted[i]);
		if (other && c->n_others == IPSET_REPLACE_MAX)
			c->more = true;
		else if (other)
			c->others[c->n_others++] = net;
	}
}

static int list_others(struct ipset *s, const char *name, struct content *c)
{
	NETLINK_ALIGNED uint8_t buf[MSG_MAX] = { 0 };
	int r = -EINTR;

	for (int i = 0; i < REPLACE_ROUNDS && r == -EINTR; i++) {
		c->n_others = 0;
		c->more = false;
		r = netlink_ask(&s->nl, ipset_msg_start(buf, IPSET_CMD_LIST, NLM_F_DUMP, name), note_others, c);
	}
	return r;
}

static int change_nets(struct ipset *s, const char *name, enum ipset_cmd cmd, const struct addr_net *nets, size_t n,
		       struct err *e)
{
	struct batch b;
	int r = begin_batch(&b, name);

	for (size_t i = 0; i < n && r == 0; i++)
		r = put_net(&b, cmd, &nets[i]);
	return end_batch(s, &b, r, "change set", e);
}

int ipset_replace_nets(struct ipset *s, const char *name, const struct addr_net *nets, size_t n, struct err *e)
{
	struct content c = { .wanted = nets, .n_wanted = n, .more = true };
	int r;

	if (n > IPSET_REPLACE_MAX)
		return err_set(e, E2BIG, "change set %s: more than %d networks", name, IPSET_REPLACE_MAX);
	r = change_nets(s, name, IPSET_CMD_ADD, nets, n, e);
	for (int i = 0; i < REPLACE_ROUNDS && r == 0 && c.more; i++) {
		r = list_others(s, name, &c);
		if (r < 0)
			return ipset_msg_err(e, r, "list set", name);
		r = change_nets(s, name, IPSET_CMD_DEL, c.others, c.n_others, e);
	}
	if (r == 0 && c.more)
		return err_set(e, EAGAIN, "change set %s: others fill it all the while", name);
	return r;
}
