#!/bin/sh
# A complete script for [tproxy] backend = script, by iptables, and by hand:
#
#	tproxy.sh apply		puts the rules in; again: replaces them in one step
#	tproxy.sh remove	takes all of them out
#
# From the environment, lists separated by blanks, IPv4 and IPv6 in one list:
#
#	PROXY_CIDRS		only these destinations; empty: all but the reserved ones
#	EXCLUDE_SRC_CIDRS	never from these sources: networks, MAC addresses
#	EXCLUDE_IFACES		never from or to these interfaces; wg* means all that begin so
#	EXCLUDE_IPS		never to these destinations
#	PROXY_IPSET_NAME	the set of the proxy servers (IPv6: with a 6 behind it)
#	EXCLUDE_PORTS		never to these ports: 22 1000-2000
#	TPROXY_PORT MARK TABLE	7893 0x1 100
#
# and these, without which it does as by hand:
#
#	LEASE_IPSET_NAME	where this set is there, the rules work only while it has
#				elements: clashsup keeps it so while Mihomo serves, and
#				when all is killed the kernel empties it after 3 seconds
#	CORE_GID		Mihomo's group, whose traffic is never taken: without it
#				the machine's own traffic is left alone, since it would loop
#	FAMILIES		4, 6 or both; empty: IPv4, and IPv6 where it works
#	LOCAL			no: the machine's own traffic is left alone
#	INCLUDE_SRC_CIDRS	only from these sources; empty: from all
#	LAN_IFACES		only from these interfaces; empty: from all
#
# What each rule is for is told in docs/decisions/0002-rules.md. POSIX sh; it
# needs iptables (either variant), ip6tables for IPv6, and ip.
set -u
set -f # a * in a list is no file name

: "${PROXY_CIDRS:=}" "${EXCLUDE_SRC_CIDRS:=}" "${EXCLUDE_IFACES:=}" "${EXCLUDE_IPS:=}" "${PROXY_IPSET_NAME:=}"
: "${EXCLUDE_PORTS:=}" "${TPROXY_PORT:=7893}" "${MARK:=0x1}" "${TABLE:=100}"
: "${LEASE_IPSET_NAME:=}" "${CORE_GID:=}" "${FAMILIES:=}" "${LOCAL:=yes}" "${INCLUDE_SRC_CIDRS:=}" "${LAN_IFACES:=}"

# clashsup leaves policy routing to its script; at 100 it is its own, with the other backends.
PREF=101
CHAINS="CLASH_TPROXY CLASH_TPROXY_OUT CLASH_SELECT CLASH_DIVERT"

# Special-purpose registries, without 198.18.0.0/15, where fake-ip answers live.
RESERVED4="0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
	192.88.99.0/24 192.168.0.0/16 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
RESERVED6="::/128 ::1/128 ::ffff:0:0/96 64:ff9b::/96 100::/64 2001::/32 2001:20::/28 2001:db8::/32 2002::/16 fc00::/7
	fe80::/10 ff00::/8"

die()
{
	echo "tproxy.sh: $*" >&2
	exit 1
}

# Sets what differs between the families.
use_family()
{
	family=$1
	case $family in
	4) iptables=iptables suffix="" listener=127.0.0.1 reserved=$RESERVED4 ;;
	6) iptables=ip6tables suffix=6 listener=::1 reserved=$RESERVED6 ;;
	esac
}

# restore TEXT: as a text that is complete, since the tool holds the lock of iptables while it reads.
restore()
{
	printf '%s\n' "$1" | "$iptables-restore" --noflush --wait 5
}

# A set that is there and of this family: the tool looks it up even when it only tests.
has_set()
{
	printf '*mangle\n-A PREROUTING -m set --match-set %s dst\nCOMMIT\n' "$1" |
		"$iptables-restore" --noflush --wait 5 --test 2>/dev/null
}

family_works()
{
	[ "$family" = 4 ] || [ -e /proc/net/if_inet6 ] || return 1
	"$iptables" --wait 5 -t mangle -S PREROUTING >/dev/null 2>&1
}

# ---- lists ----

# Prints the elements of a list that are networks of this family.
nets()
{
	for item in $1; do
		case $item in
		??:??:??:??:??:??) ;; # a MAC address
		*:*) [ "$family" = 4 ] || echo "$item" ;;
		*) [ "$family" = 6 ] || echo "$item" ;;
		esac
	done
}

macs()
{
	for item in $1; do
		case $item in ??:??:??:??:??:??) echo "$item" ;; esac
	done
}

# each TEXT LIST: a line for each element, which stands for the @ in the text.
each()
{
	for item in $2; do
		echo "${1%%@*}$item${1#*@}"
	done
}

# The * of the lists is a + for iptables.
ifaces()
{
	for item in $1; do
		echo "${item%\*}$(case $item in *\*) echo + ;; esac)"
	done
}

ports()
{
	for item in $1; do
		case $item in
		*-*) echo "${item%-*}:${item#*-}" ;;
		*) echo "$item" ;;
		esac
	done
}

# ---- rules ----

lease_rule()
{
	[ -z "$lease" ] || echo "-A $1 -m set ! --match-set $lease dst -j RETURN"
}

servers_rule()
{
	[ -z "$servers" ] || echo "-A $1 -m set --match-set $servers dst -j RETURN"
}

# tproxy_rules START MATCH
tproxy_rules()
{
	for proto in tcp udp; do
		echo "$1 -p $proto $2 -j TPROXY --on-port $TPROXY_PORT --on-ip $listener --tproxy-mark $mark"
	done
}

lan_rules()
{
	lease_rule CLASH_TPROXY
	for proto in tcp udp; do
		echo "-A CLASH_TPROXY -p $proto -m $proto --dport $TPROXY_PORT -m addrtype --dst-type LOCAL" \
			"-m conntrack --ctdir ORIGINAL -j DROP"
	done
	echo "-A CLASH_TPROXY -p tcp -m socket --transparent -j CLASH_DIVERT"
	echo "-A CLASH_TPROXY -i lo -m mark ! --mark $mark -j RETURN"
	tproxy_rules "-A CLASH_TPROXY -i lo" "-m mark --mark $mark"
	# from here on the mark is the verdict of CLASH_SELECT alone
	echo "-A CLASH_TPROXY -m mark --mark $mark -j MARK --set-xmark 0x0/0xffffffff"
	tproxy_rules "-A CLASH_TPROXY" "-m connmark --mark $mark -m addrtype ! --dst-type LOCAL" | grep -e '-p udp'
	echo "-A CLASH_TPROXY -m conntrack --ctdir REPLY -j RETURN"
	each "-A CLASH_TPROXY -i @ -j RETURN" "$(ifaces "$EXCLUDE_IFACES")"
	each "-A CLASH_TPROXY -s @ -j RETURN" "$(nets "$EXCLUDE_SRC_CIDRS")"
	each "-A CLASH_TPROXY -m mac --mac-source @ -j RETURN" "$(macs "$EXCLUDE_SRC_CIDRS")"
	servers_rule CLASH_TPROXY
	# + is any interface; who matches twice is selected twice, to the same effect
	lan=$(ifaces "$LAN_IFACES")
	for iface in ${lan:-+}; do
		[ -n "$INCLUDE_SRC_CIDRS" ] || echo "-A CLASH_TPROXY -i $iface -j CLASH_SELECT"
		each "-A CLASH_TPROXY -i $iface -s @ -j CLASH_SELECT" "$(nets "$INCLUDE_SRC_CIDRS")"
		each "-A CLASH_TPROXY -i $iface -m mac --mac-source @ -j CLASH_SELECT" "$(macs "$INCLUDE_SRC_CIDRS")"
	done
	tproxy_rules "-A CLASH_TPROXY" "-m mark --mark $mark"
}

select_rules()
{
	types="LOCAL MULTICAST"
	[ "$family" = 6 ] || types="$types BROADCAST"
	each "-A CLASH_SELECT -m addrtype --dst-type @ -j RETURN" "$types"
	for proto in tcp udp; do
		each "-A CLASH_SELECT -p $proto -m $proto --dport @ -j RETURN" "$(ports "$EXCLUDE_PORTS")"
	done
	each "-A CLASH_SELECT -d @ -j RETURN" "$(nets "$EXCLUDE_IPS")"
	[ -n "$PROXY_CIDRS" ] || each "-A CLASH_SELECT -d @ -j RETURN" "$reserved"
	# flows that began directly stay direct
	echo "-A CLASH_SELECT -p udp -m conntrack --ctstate ESTABLISHED -m connmark ! --mark $mark -j RETURN"
	all=0.0.0.0/0
	[ "$family" = 4 ] || all=::/0
	for net in $([ -n "$PROXY_CIDRS" ] && nets "$PROXY_CIDRS" || echo "$all"); do
		echo "-A CLASH_SELECT -d $net -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j MARK --set-xmark $mark"
		echo "-A CLASH_SELECT -d $net -p udp -j MARK --set-xmark $mark"
	done
	echo "-A CLASH_SELECT -p udp -m mark --mark $mark -j CONNMARK --set-xmark $mark"
}

# The machine's own traffic: only with a group by which Mihomo's is known.
out_rules()
{
	lease_rule CLASH_TPROXY_OUT
	echo "-A CLASH_TPROXY_OUT -p udp -m owner --gid-owner $CORE_GID -m conntrack --ctstate NEW" \
		"-m addrtype ! --src-type LOCAL -j CONNMARK --set-xmark $mark"
	echo "-A CLASH_TPROXY_OUT -o lo -j RETURN"
	echo "-A CLASH_TPROXY_OUT -m owner --gid-owner $CORE_GID -j RETURN"
	echo "-A CLASH_TPROXY_OUT -p udp -m connmark --mark $mark -j MARK --set-xmark $mark"
	echo "-A CLASH_TPROXY_OUT -m conntrack --ctdir REPLY -j RETURN"
	echo "-A CLASH_TPROXY_OUT -p tcp -m connmark --mark $mark -j MARK --set-xmark $mark"
	echo "-A CLASH_TPROXY_OUT -m mark --mark $mark -j RETURN"
	each "-A CLASH_TPROXY_OUT -o @ -j RETURN" "$(ifaces "$EXCLUDE_IFACES")"
	servers_rule CLASH_TPROXY_OUT
	echo "-A CLASH_TPROXY_OUT -j CLASH_SELECT"
	echo "-A CLASH_TPROXY_OUT -m mark --mark $mark -j CONNMARK --set-xmark $mark"
}

takes_own_traffic()
{
	[ -n "$CORE_GID" ] && [ "$LOCAL" != no ]
}

# The deletions of all jumps to our chains that are there now.
old_jumps()
{
	"$iptables" --wait 5 -t mangle -S |
		sed -n 's/^-A \(.* -j CLASH_TPROXY\)$/-D \1/p; s/^-A \(.* -j CLASH_TPROXY_OUT\)$/-D \1/p'
}

# One transaction: to declare a chain empties it.
rules()
{
	echo "*mangle"
	each ":@ - [0:0]" "$CHAINS"
	old_jumps
	echo "-A CLASH_DIVERT -j MARK --set-xmark $mark"
	echo "-A CLASH_DIVERT -j ACCEPT"
	lan_rules
	select_rules
	takes_own_traffic && out_rules
	echo "-A PREROUTING -j CLASH_TPROXY"
	takes_own_traffic && echo "-A OUTPUT -j CLASH_TPROXY_OUT"
	echo COMMIT
}

removal()
{
	echo "*mangle"
	old_jumps
	each "-F @" "$ours"
	each "-X @" "$ours"
	echo COMMIT
}

# ---- routing: what carries our mark is delivered here ----

routing_in()
{
	ip "-$family" route replace local default dev lo table "$TABLE" || return
	# one that is there already is refused, and is what we want
	ip "-$family" rule add pref $PREF fwmark "$mark" lookup "$TABLE" 2>/dev/null ||
		[ -n "$(our_policy_rules)" ]
}

# Mark and table of the rules at our place, whatever the values are now.
our_policy_rules()
{
	ip "-$family" rule show | sed -n "s/^$PREF:.* fwmark \([^ ]*\) lookup \([^ ]*\).*/\1 \2/p"
}

routing_out()
{
	our_policy_rules | while read -r its_mark its_table; do
		ip "-$family" rule del pref $PREF fwmark "$its_mark" lookup "$its_table"
		# the route is others' too while a rule of theirs leads to it
		[ -n "$(ip "-$family" rule show table "$its_table")" ] ||
			ip "-$family" route del local default dev lo table "$its_table" 2>/dev/null || :
	done
}

# ---- verbs ----

remove_family()
{
	family_works || return 0
	there=$("$iptables" --wait 5 -t mangle -S | sed -n 's/^-N \(CLASH_[A-Z_]*\)$/\1/p')
	ours=""
	for chain in $CHAINS; do
		for item in $there; do
			[ "$item" != "$chain" ] || ours="$ours $chain"
		done
	done
	if [ -n "$ours" ]; then
		restore "$(removal)" || return
	fi
	routing_out
}

remove()
{
	failed=0
	for f in 4 6; do
		use_family $f
		remove_family || failed=1
	done
	return $failed
}

apply_family()
{
	mark=$MARK/0xffffffff lease="" servers=""
	[ -z "$LEASE_IPSET_NAME" ] || ! has_set "$LEASE_IPSET_NAME$suffix" || lease=$LEASE_IPSET_NAME$suffix
	[ -z "$PROXY_IPSET_NAME" ] || ! has_set "$PROXY_IPSET_NAME$suffix" || servers=$PROXY_IPSET_NAME$suffix
	if [ "$family" = 4 ] && [ -n "$PROXY_IPSET_NAME" ] && [ -z "$servers" ]; then
		echo "tproxy.sh: there is no set $PROXY_IPSET_NAME: ipset create $PROXY_IPSET_NAME hash:ip" >&2
		return 1
	fi
	routing_in && restore "$(rules)"
}

apply()
{
	for version in 4 6; do
		use_family $version
		case ${FAMILIES:-auto} in
		*$version*) wanted=yes ;;
		auto) if [ $version = 4 ] || family_works; then wanted=yes; else wanted=no; fi ;;
		*) wanted=no ;;
		esac
		if [ $wanted = yes ]; then
			apply_family || { remove; die "the rules for IPv$version could not be put in; all are out"; }
		else
			remove_family
		fi
	done
}

case ${1:-} in
apply) apply ;;
remove) remove ;;
*) die "usage: tproxy.sh apply|remove" ;;
esac
