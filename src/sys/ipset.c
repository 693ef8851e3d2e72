#include "clashsup/ipset.h"

#include <arpa/inet.h>
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

#include "sys/ipset_msg.h"
#include "sys/netlink.h"

#define TYPE_TEXT_MAX 128
#define MSG_MAX 128

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
	const struct ipset_type *type;
	uint8_t family;
	uint32_t line;
};

static int begin_batch(struct batch *b, const char *name)
{
	struct ipset_data *data = ipset_session_data(b->session);

	b->name = name;
	if (ipset_parse_setname(b->session, IPSET_SETNAME, name) < 0)
		return -EIO;
	b->type = ipset_type_get(b->session, IPSET_CMD_ADD); /* one question to the kernel; not cached by the library */
	b->family = ipset_data_family(data);
	ipset_data_reset(data);
	return b->type ? 0 : -EIO;
}

/*
 * Into the library's buffer: with a line number it gathers elements of one
 * command and set into messages of a page. -EIO: the library has the reason.
 */
static int put(struct batch *b, enum ipset_cmd cmd, const struct addr_net *net)
{
	struct ipset_data *data = ipset_session_data(b->session);
	bool whole = net->prefix == addr_len(&net->addr) * 8;

	if (addr_af(&net->addr) != b->family) /* NFPROTO_IPV4 and _IPV6 are the numbers of AF_* */
		return -EAFNOSUPPORT;
	if (ipset_data_set(data, IPSET_SETNAME, b->name) < 0 ||
	    ipset_data_set(data, IPSET_OPT_FAMILY, &b->family) < 0 ||
	    ipset_data_set(data, IPSET_OPT_TYPE, b->type) < 0 ||
	    ipset_data_set(data, IPSET_OPT_IP, net->addr.bytes) < 0 ||
	    (!whole && ipset_data_set(data, IPSET_OPT_CIDR, &net->prefix) < 0))
		return -EIO;
	return ipset_cmd(b->session, cmd, ++b->line) < 0 ? -EIO : 0;
}

static int batch_err(struct ipset *s, const struct batch *b, int r, const char *what, const char *name, struct err *e)
{
	if (r == -EIO)
		return library_err(s, b->session, what, name, false, e);
	return err_sys(e, -r, "%s %s: element %u", what, name, b->line + 1);
}

int ipset_add_nets(struct ipset *s, const char *name, const char *const *nets, size_t n, struct err *e)
{
	cleanup_session struct ipset_session *session = start_session();
	struct batch b = { .session = session };
	struct addr_net net;
	int r;

	if (!session || !ipset_msg_name_ok(name))
		return err_sys(e, session ? EINVAL : ENOMEM, "add to set %s", name);
	r = begin_batch(&b, name);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = addr_net_parse(nets[i], &net);
		if (r == 0)
			r = put(&b, IPSET_CMD_ADD, &net);
	}
	if (r == 0 && ipset_commit(session) < 0)
		r = -EIO;
	return r < 0 ? batch_err(s, &b, r, "add to set", name, e) : 0;
}

static int put_addrs(struct batch *b, enum ipset_cmd cmd, const struct addr *addrs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct addr_net net = { addrs[i], (uint8_t)(addr_len(&addrs[i]) * 8) };
		int r = put(b, cmd, &net);

		if (r < 0)
			return r;
	}
	return 0;
}

int ipset_change(struct ipset *s, const char *name, const struct addr *add, size_t n_add, const struct addr *del,
		 size_t n_del, struct err *e)
{
	cleanup_session struct ipset_session *session = start_session();
	struct batch b = { .session = session };
	int r;

	if (!session || !ipset_msg_name_ok(name))
		return err_sys(e, session ? EINVAL : ENOMEM, "change set %s", name);
	r = begin_batch(&b, name);
	if (r == 0)
		r = put_addrs(&b, IPSET_CMD_ADD, add, n_add);
	if (r == 0)
		r = put_addrs(&b, IPSET_CMD_DEL, del, n_del);
	if (r == 0 && ipset_commit(session) < 0)
		r = -EIO;
	return r < 0 ? batch_err(s, &b, r, "change set", name, e) : 0;
}
