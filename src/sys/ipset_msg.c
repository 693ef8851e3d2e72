#include "sys/ipset_msg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/ipset/ip_set_hash.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>
#include <sys/socket.h>

bool ipset_msg_name_ok(const char *name)
{
	return name[0] != '\0' && strlen(name) < IPSET_MAXNAMELEN;
}

struct nlmsghdr *ipset_msg_start(void *at, uint8_t cmd, uint16_t flags, const char *name)
{
	struct nlmsghdr *msg = mnl_nlmsg_put_header(at);
	struct nfgenmsg *head = mnl_nlmsg_put_extra_header(msg, sizeof(*head));

	msg->nlmsg_type = (uint16_t)(NFNL_SUBSYS_IPSET << 8 | cmd);
	msg->nlmsg_flags = NLM_F_REQUEST | flags;
	head->nfgen_family = AF_INET; /* unused: the set knows its family */
	head->version = NFNETLINK_V0;
	mnl_attr_put_u8(msg, IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL_MIN); /* every kernel since 2.6.39 takes it */
	mnl_attr_put_strz(msg, IPSET_ATTR_SETNAME, name);
	return msg;
}

int ipset_msg_err(struct err *e, int r, const char *what, const char *name)
{
	switch (-r) {
	case IPSET_ERR_BUSY:
		return err_sys(e, EBUSY, "%s %s", what, name);
	case IPSET_ERR_HASH_FULL:
		return err_sys(e, ENOSPC, "%s %s", what, name);
	default:
		if (-r >= IPSET_ERR_PRIVATE)
			return err_set(e, EPROTO, "%s %s: refused with ipset code %d", what, name, -r);
		return err_sys(e, -r, "%s %s", what, name);
	}
}
