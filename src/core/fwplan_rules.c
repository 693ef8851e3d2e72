#include "core/fwplan_rules.h"

/* ---- the chains ---- */

const char *const fw_table_name[FW_TABLES] = { "nat", "filter", "mangle" };

#define MANGLE TABLE_MANGLE, FWPLAN_ARMED
#define FORWARD TABLE_FILTER, FWPLAN_STANDING, "FORWARD", true, false
#define NAT TABLE_NAT, FWPLAN_STANDING

const struct fw_chain_info fw_chain_info[FW_CHAINS] = {
	[CHAIN_DIVERT] = { FWPLAN_CHAIN_DIVERT, MANGLE, NULL, false, false, NULL },
	[CHAIN_IN] = { FWPLAN_CHAIN, MANGLE, "PREROUTING", false, false, "filter hook prerouting priority mangle" },
	[CHAIN_SELECT] = { FWPLAN_CHAIN_SELECT, MANGLE, NULL, false, false, NULL },
	[CHAIN_OUT] = { FWPLAN_CHAIN_OUT, MANGLE, "OUTPUT", false, false, "route hook output priority mangle" },
	/* nft: what one table accepts another may drop, so the accept must stand where the policy is: in iptables */
	[CHAIN_INPUT] = { FWPLAN_CHAIN_INPUT, TABLE_FILTER, FWPLAN_ARMED | FWPLAN_INPUT, "INPUT", true, false, NULL },
	[CHAIN_CLOSED] = { FWPLAN_CHAIN_CLOSED, FORWARD, "filter hook forward priority filter - 1" },
	[CHAIN_FAKE] = { FWPLAN_CHAIN_FAKE, FORWARD, "filter hook forward priority filter - 1" },
	[CHAIN_DNS] = { FWPLAN_CHAIN_DNS, NAT, "PREROUTING", false, true, "nat hook prerouting priority dstnat" },
	/* the name "dstnat" is not taken at this hook; -100 is what it means */
	[CHAIN_DNS_OUT] = { FWPLAN_CHAIN_DNS_OUT, NAT, "OUTPUT", false, true, "nat hook output priority -100" },
	[CHAIN_DNS_SNAT] = { FWPLAN_CHAIN_DNS_SNAT, NAT, "POSTROUTING", false, false,
			     "nat hook postrouting priority srcnat" },
	[CHAIN_PROBE_NAT] = { FWPLAN_CHAIN_PROBE, TABLE_NAT, 0, NULL, false, false, NULL },
	[CHAIN_PROBE_FILTER] = { FWPLAN_CHAIN_PROBE, TABLE_FILTER, 0, NULL, false, false, NULL },
	[CHAIN_PROBE_MANGLE] = { FWPLAN_CHAIN_PROBE, TABLE_MANGLE, 0, NULL, false, false, NULL },
};

/* ---- the words ---- */

/*
 * '$' and a letter stand for a value:
 *	m M	our mark with its full mask, without one
 *	r R	a routing mark, likewise
 *	p d	the TPROXY port, the port of Mihomo's DNS
 *	i I	the listener's address, for an URL
 *	b B	the fallback resolver's, likewise
 *	g	the core's gid
 *	s	the name of the set that is asked
 *	f	an interface
 *	l	tcp or udp, as the rule says
 *	a u	nft: ip or ip6, and its multicast network
 *	4	the suffix of a family's chains in nft
 */
#define SET_IS(direction) "-m set --match-set $s " direction
#define SET_NOT(direction) "-m set ! --match-set $s " direction
#define IPT_IN "-i $f"
#define NFT_IN "iifname \"$f\""

const struct fw_spelling fw_words[WORDS] = {
	[TCP] = { { "-p tcp", "meta l4proto tcp" } },
	[UDP] = { { "-p udp", "meta l4proto udp" } },
	[LEASE_ON] = { { SET_IS("dst"), "meta nfproto @$s" } },
	[LEASE_OFF] = { { SET_NOT("dst"), "meta nfproto != @$s" } },
	[TO_PORT_ITSELF] = { { "-m $l --dport $p", "$l dport $p" } },
	[TO_PORT_53] = { { "-m $l --dport 53", "$l dport 53" } },
	[TO_PORT_OF_DNS] = { { "-m $l --dport $d", "$l dport $d" } },
	[WAS_REDIRECTED] = { { "-m conntrack --ctstate DNAT --ctorigdstport 53",
			       "ct status dnat ct original proto-dst 53" } },
	[TO_LOCAL] = { { "-m addrtype --dst-type LOCAL", "fib daddr type local" } },
	[NOT_TO_LOCAL] = { { "-m addrtype ! --dst-type LOCAL", "fib daddr type != local" } },
	[NOT_FROM_LOCAL] = { { "-m addrtype ! --src-type LOCAL", "fib saddr type != local" } },
	[TO_MULTICAST] = { { "-m addrtype --dst-type MULTICAST", "$a daddr $u" } },
	[TO_BROADCAST] = { { "-m addrtype --dst-type BROADCAST", "fib daddr type broadcast" } },
	[TO_FALLBACK] = { { "-d $b", "$a daddr $b" } },
	[ORIGINAL] = { { "-m conntrack --ctdir ORIGINAL", "ct direction original" } },
	[REPLY] = { { "-m conntrack --ctdir REPLY", "ct direction reply" } },
	[NEW] = { { "-m conntrack --ctstate NEW", "ct state new" } },
	[ESTABLISHED] = { { "-m conntrack --ctstate ESTABLISHED", "ct state established" } },
	[SYN] = { { "-m tcp --tcp-flags FIN,SYN,RST,ACK SYN", "tcp flags & (fin|syn|rst|ack) == syn" } },
	/* never "wildcard 0" behind it: that ends the rule for the handshake's ACK, which meets a request socket */
	[SOCKET] = { { "-m socket --transparent", "socket transparent 1" } },
	[CORE] = { { "-m owner --gid-owner $g", "meta skgid $g" } },
	[MARKED] = { { "-m mark --mark $m", "meta mark $M" } },
	[UNMARKED] = { { "-m mark ! --mark $m", "meta mark != $M" } },
	[CT_MARKED] = { { "-m connmark --mark $m", "ct mark $M" } },
	[CT_UNMARKED] = { { "-m connmark ! --mark $m", "ct mark != $M" } },
	[IN_LO] = { { "-i lo", "iif \"lo\"" } }, /* by number, which is 1 everywhere and cheaper than the name */
	[OUT_LO] = { { "-o lo", "oif \"lo\"" } },
	[TO_SERVERS] = { { SET_IS("dst"), "$a daddr @$s" } },
	[TO_LAN] = { { SET_IS("dst"), "$a daddr @$s" } },
	[NOT_FROM_INSIDE] = { { SET_NOT("src"), "$a saddr != @$s" } },
	[NOT_FROM_LAN] = { { SET_NOT("src"), "$a saddr != @$s" } },
	[TO_FAKE] = { { SET_IS("dst"), "$a daddr @$s" } },
	[NOT_TO_FAKE] = { { SET_NOT("dst"), "$a daddr != @$s" } },
	[TO_RESERVED] = { { SET_IS("dst"), "$a daddr @$s" } },
	[NOT_TO_WANT] = { { SET_NOT("dst"), "$a daddr != @$s" } },
	[TO_SKIP_DST] = { { SET_IS("dst"), "$a daddr @$s" } },
	[TO_SKIP_PORT] = { { SET_IS("dst"), "$l dport @$s" } },
	[FROM_SKIP_SRC] = { { SET_IS("src"), "$a saddr @$s" } },
	[FROM_SKIP_MAC] = { { SET_IS("src"), "ether saddr @$s" } },
	[ROUTING_MARK] = { { "-m mark --mark $r", "meta mark $R" } },
	[IN_SKIP_IFACE] = { { IPT_IN, NFT_IN } },
	[OUT_SKIP_IFACE] = { { "-o $f", "oifname \"$f\"" } },
};

/* FROM_WHOM: the parts that a rule has */
const struct fw_spelling fw_from_iface = { { IPT_IN, NFT_IN } };
const struct fw_from_only fw_from_only[FW_FROM_ONLY] = {
	{ FWSET_ONLY_SRC, { { SET_IS("src"), "$a saddr @$s" } } },
	{ FWSET_ONLY_MAC, { { SET_IS("src"), "ether saddr @$s" } } },
};

const unsigned char fw_set_of[WORDS] = {
	[LEASE_ON] = FWSET_LEASE + 1,	      [LEASE_OFF] = FWSET_LEASE + 1,
	[TO_SERVERS] = FWSET_SERVERS + 1,     [TO_LAN] = FWSET_LAN + 1,
	[NOT_FROM_INSIDE] = FWSET_INSIDE + 1, [NOT_FROM_LAN] = FWSET_LAN + 1,
	[TO_FAKE] = FWSET_FAKE + 1,	      [NOT_TO_FAKE] = FWSET_FAKE + 1,
	[TO_RESERVED] = FWSET_RESERVED + 1,   [NOT_TO_WANT] = FWSET_WANT + 1,
	[TO_SKIP_DST] = FWSET_SKIP_DST + 1,   [TO_SKIP_PORT] = FWSET_SKIP_PORT + 1,
	[FROM_SKIP_SRC] = FWSET_SKIP_SRC + 1, [FROM_SKIP_MAC] = FWSET_SKIP_MAC + 1,
};

#define TO_LISTENER "tproxy $a to $I:$p meta mark set $M accept" /* the mark is set only where there is a listener */
#define IPT_TPROXY "-j TPROXY --on-port $p --on-ip $i --tproxy-mark $m"

const struct fw_spelling fw_actions[ACTIONS] = {
	[RETURN] = { { "-j RETURN", "return" } },
	[ACCEPT] = { { "-j ACCEPT", "accept" } },
	[DROP] = { { "-j DROP", "drop" } },
	[MARK] = { { "-j MARK --set-xmark $m", "meta mark set $M" } },
	[UNMARK] = { { "-j MARK --set-xmark 0x0/0xffffffff", "meta mark set 0x0" } },
	[CT_MARK] = { { "-j CONNMARK --set-xmark $m", "ct mark set $M" } },
	[FORGET] = { { NULL, "meta mark set 0x0 ct mark set 0x0" } },
	[DIVERT] = { { "-j " FWPLAN_CHAIN_DIVERT, "counter name diverted goto " FWPLAN_CHAIN_DIVERT "$4" } },
	[DIVERT_LO] = { { "-j " FWPLAN_CHAIN_DIVERT, "goto " FWPLAN_CHAIN_DIVERT "$4" } },
	[SELECT] = { { "-j " FWPLAN_CHAIN_SELECT, "jump " FWPLAN_CHAIN_SELECT "$4" } },
	[TPROXY] = { { IPT_TPROXY, TO_LISTENER } },
	[TPROXY_CHOSEN] = { { IPT_TPROXY, "counter name chosen " TO_LISTENER } },
	[TPROXY_RUNNING] = { { IPT_TPROXY, "counter name diverted " TO_LISTENER } },
	[REJECT] = { { "-j REJECT", "reject" } },
	[REDIRECT] = { { "-j REDIRECT --to-ports $d", "redirect to :$d" } },
	[DNAT] = { { "-j DNAT --to-destination $B:53", "dnat $a to $B:53" } },
	[MASQUERADE] = { { "-j MASQUERADE", "masquerade" } },
};
const struct fw_spelling fw_reject_tcp = { { "-j REJECT --reject-with tcp-reset", "reject with tcp reset" } };

/* ---- the rules ---- */

#define C(chain) (1u << CHAIN_##chain)
#define SENDERS (C(IN) | C(DNS) | C(CLOSED))
#define TARGETS (C(SELECT) | C(CLOSED))

/* Order is meaning; docs/decisions/0002-rules.md and 0005-traffic.md say why each is there. */
const struct fw_rule fw_rules[] = {
	{ C(DIVERT), 0, { END }, MARK },
	{ C(DIVERT), 0, { END }, ACCEPT },

	/*
	 * What takes a packet asks the lease, last, since what is direct need not wait for the answer.
	 * UDP's answers are told at once; of TCP's only DIVERT knows which are Mihomo's.
	 */
	{ C(IN), 0, { UDP, UNMARKED, REPLY, CT_UNMARKED }, RETURN },
	{ C(IN), 0, { TCP, TO_PORT_ITSELF, TO_LOCAL, ORIGINAL, LEASE_ON }, DROP },
	{ C(IN), 0, { UDP, TO_PORT_ITSELF, TO_LOCAL, ORIGINAL, LEASE_ON }, DROP },
	/* an answer behind a masquerade may come to our port: nft would find the listener there, xt_socket does not */
	{ C(IN), NEED_SOCKET | NEED_NFT, { TCP, TO_PORT_ITSELF, TO_LOCAL, REPLY }, RETURN },
	{ C(IN), NEED_SOCKET, { TCP, IN_LO, SOCKET, LEASE_ON }, DIVERT_LO }, /* our own traffic proves nothing */
	{ C(IN), NEED_SOCKET, { TCP, SOCKET, LEASE_ON }, DIVERT },
	{ C(IN), 0, { IN_LO, UNMARKED }, RETURN },
	{ C(IN), 0, { IN_LO, TCP, MARKED, LEASE_ON }, TPROXY },
	{ C(IN), 0, { IN_LO, UDP, MARKED, LEASE_ON }, TPROXY },
	/* nobody listens; IPv4 answers a datagram with nothing, since ICMP would have to come from the far address */
	{ C(IN), NEED_NFT | NEED_REJECT, { IN_LO, TCP, MARKED, LEASE_ON }, REJECT },
	{ C(IN), NEED_NFT | NEED_REJECT, { IN_LO, UDP, MARKED, LEASE_ON }, REJECT },
	/* from here on the mark is the verdict of CLASH_SELECT alone */
	{ C(IN), 0, { MARKED }, UNMARK },
	{ C(IN), NEED_NO_SOCKET, { TCP, CT_MARKED, NOT_TO_LOCAL, LEASE_ON }, TPROXY_RUNNING },
	{ C(IN), NEED_NO_SOCKET | NEED_NFT, { TCP, CT_MARKED, NOT_TO_LOCAL, LEASE_ON }, RETURN },
	{ C(IN), 0, { UDP, CT_MARKED, NOT_TO_LOCAL, LEASE_ON }, TPROXY },
	/* nobody listens: it goes on as it is, and keeps the mark by which the supervisor will forget it */
	{ C(IN), NEED_NFT, { UDP, CT_MARKED, NOT_TO_LOCAL, LEASE_ON }, RETURN },

	{ C(DNS), 0, { IN_LO }, RETURN },
	{ C(CLOSED), 0, { LEASE_ON, ESTABLISHED }, RETURN },
	{ C(CLOSED), 0, { REPLY }, RETURN },
	{ C(IN), 0, { TCP, REPLY }, RETURN }, /* UDP: see above, and ESTABLISHED in SELECT for what is marked */
	{ SENDERS, 0, { IN_SKIP_IFACE }, RETURN },
	{ SENDERS, 0, { FROM_SKIP_SRC }, RETURN },
	{ SENDERS, 0, { FROM_SKIP_MAC }, RETURN },
	{ C(IN) | C(CLOSED), NEED_LAN_SERVERS, { TO_SERVERS }, RETURN },
	{ C(IN), 0, { FROM_WHOM }, SELECT },
	{ C(IN), 0, { TCP, MARKED }, TPROXY_CHOSEN },
	{ C(IN), 0, { UDP, MARKED }, TPROXY },
	{ C(IN), NEED_NFT, { MARKED }, FORGET },

	/* these only return, so those that spare most and cost least come first */
	{ TARGETS, NEED_NO_FAKE, { TO_RESERVED }, RETURN },
	{ TARGETS, NEED_FAKE, { NOT_TO_FAKE, TO_RESERVED }, RETURN },
	{ TARGETS, 0, { TO_LOCAL }, RETURN },
	{ TARGETS, 0, { TO_MULTICAST }, RETURN },
	{ TARGETS, NEED_V4, { TO_BROADCAST }, RETURN },
	{ TARGETS, 0, { TO_LAN }, RETURN },
	{ TARGETS, 0, { TCP, TO_SKIP_PORT }, RETURN },
	{ TARGETS, 0, { UDP, TO_SKIP_PORT }, RETURN },
	{ C(SELECT), NEED_DNS, { TCP, TO_PORT_53 }, RETURN },
	{ C(SELECT), NEED_DNS, { UDP, TO_PORT_53 }, RETURN },
	{ TARGETS, 0, { TO_SKIP_DST }, RETURN },
	{ TARGETS, 0, { NOT_TO_WANT }, RETURN },
	{ C(SELECT), 0, { LEASE_OFF }, RETURN },
	{ C(SELECT), NEED_NO_SOCKET, { TCP, SYN }, CT_MARK },
	{ C(SELECT), 0, { TCP, SYN }, MARK },
	{ C(SELECT), 0, { UDP, ESTABLISHED, CT_UNMARKED }, RETURN },
	{ C(SELECT), 0, { UDP }, CT_MARK },
	{ C(SELECT), 0, { UDP }, MARK },

	{ C(OUT), 0, { LEASE_OFF }, RETURN },
	{ C(OUT), 0, { UDP, CORE, NEW, NOT_FROM_LOCAL }, CT_MARK },
	{ C(OUT), 0, { OUT_LO }, RETURN },
	{ C(OUT) | C(DNS_OUT), 0, { CORE }, RETURN },
	{ C(OUT) | C(DNS_OUT), 0, { ROUTING_MARK }, RETURN },
	{ C(OUT), 0, { UDP, CT_MARKED }, MARK },
	{ C(OUT), 0, { REPLY }, RETURN },
	{ C(OUT), 0, { TCP, CT_MARKED }, MARK },
	{ C(OUT), 0, { MARKED }, RETURN },
	{ C(OUT), 0, { OUT_SKIP_IFACE }, RETURN },
	{ C(OUT), 0, { TO_SERVERS }, RETURN },
	{ C(OUT), 0, { END }, SELECT },
	{ C(OUT), 0, { MARKED }, CT_MARK },

	{ C(INPUT), 0, { MARKED }, ACCEPT },
	{ C(INPUT), NEED_DNS, { TCP, TO_PORT_OF_DNS, WAS_REDIRECTED }, ACCEPT },
	{ C(INPUT), NEED_DNS, { UDP, TO_PORT_OF_DNS, WAS_REDIRECTED }, ACCEPT },

	{ C(CLOSED), 0, { FROM_WHOM, TCP }, REJECT },
	{ C(CLOSED), 0, { FROM_WHOM, UDP }, REJECT },

	{ C(FAKE), 0, { TCP, TO_FAKE }, REJECT },
	{ C(FAKE), 0, { TO_FAKE }, REJECT },

	/* never a resolver for the world: the LAN is who is named as such, or has an address of the inside */
	{ C(DNS), NEED_ANY_LAN, { NOT_FROM_INSIDE, NOT_FROM_LAN }, RETURN },
	{ C(DNS), 0, { FROM_WHOM, TCP, LEASE_ON }, REDIRECT },
	{ C(DNS), 0, { FROM_WHOM, UDP, LEASE_ON }, REDIRECT },
	{ C(DNS), NEED_FALLBACK, { FROM_WHOM, TCP, TO_LOCAL }, DNAT },
	{ C(DNS), NEED_FALLBACK, { FROM_WHOM, UDP, TO_LOCAL }, DNAT },
	{ C(DNS_OUT), 0, { OUT_LO }, RETURN },
	{ C(DNS_OUT), 0, { LEASE_OFF }, RETURN },
	{ C(DNS_OUT), 0, { TCP }, REDIRECT },
	{ C(DNS_OUT), 0, { UDP }, REDIRECT },
	{ C(DNS_SNAT), 0, { TO_FALLBACK, TCP, WAS_REDIRECTED }, MASQUERADE },
	{ C(DNS_SNAT), 0, { TO_FALLBACK, UDP, WAS_REDIRECTED }, MASQUERADE },
};
const size_t fw_n_rules = sizeof(fw_rules) / sizeof(fw_rules[0]);
