#!/bin/bash
# A sandbox of three network namespaces in a row, with IPv4 and IPv6:
#
#	PREFIX-client ---lan--- PREFIX-router ---wan--- PREFIX-inet
#
#	client  10.66.0.2   fd66::2        (a private LAN)
#	        44.44.44.2  2a0f:4444::2   (a LAN with public addresses)
#	router  .1 / ::1 on the LANs;  45.45.45.1  2a0f:4545::1 on the wan
#	inet    45.45.45.2  2a0f:4545::2   the far server
#	        45.45.45.3  2a0f:4545::3   another one
#	        45.45.45.8  2a0f:4545::8   the proxy server
#	        45.45.45.53 2a0f:4545::53  the DNS server
#
# The far side's addresses are ordinary public ones, since the reserved ranges
# are never proxied. They exist inside these namespaces only: every device is
# born in there, and the host's own network is not touched.
#
#	net.sh up PREFIX [masquerade]    masquerade: the router hides the LANs
#	net.sh down PREFIX               ends what runs in there, then deletes it
set -eu

usage()
{
	sed -n '2,21s/^# \{0,1\}//p' "$0" >&2
	exit 2
}

inside()
{
	local where=$1

	shift
	nsenter --net="/run/netns/$prefix-$where" -- "$@"
}

up()
{
	local ns

	trap '[ $? -eq 0 ] || down' EXIT # half a sandbox is of no use
	for ns in client router inet; do
		ip netns add "$prefix-$ns"
		# A new address must work at once, on a link that is up at once.
		inside $ns sh -c 'for f in all default; do
			echo 0 >/proc/sys/net/ipv6/conf/$f/accept_dad
			echo 0 >/proc/sys/net/ipv6/conf/$f/disable_ipv6
			echo 0 >/proc/sys/net/ipv6/conf/$f/accept_ra; done'
		ip -n "$prefix-$ns" link set lo up
	done
	ip -n "$prefix-router" link add lan type veth peer name eth0 netns "$prefix-client"
	ip -n "$prefix-router" link add wan type veth peer name eth0 netns "$prefix-inet"

	addresses client eth0 10.66.0.2/24 fd66::2/64 44.44.44.2/24 2a0f:4444::2/64
	addresses router lan 10.66.0.1/24 fd66::1/64 44.44.44.1/24 2a0f:4444::1/64
	addresses router wan 45.45.45.1/24 2a0f:4545::1/64
	addresses inet eth0 45.45.45.2/24 45.45.45.3/24 45.45.45.8/24 45.45.45.53/24 \
		2a0f:4545::2/64 2a0f:4545::3/64 2a0f:4545::8/64 2a0f:4545::53/64

	ip -n "$prefix-client" route add default via 10.66.0.1
	ip -n "$prefix-client" -6 route add default via fd66::1
	# Everything unknown goes to the far side, which knows the way back.
	ip -n "$prefix-router" route add default via 45.45.45.2
	ip -n "$prefix-router" -6 route add default via 2a0f:4545::2
	ip -n "$prefix-inet" route add default via 45.45.45.1
	ip -n "$prefix-inet" -6 route add default via 2a0f:4545::1
	inside router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward
		echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
	[ "${1:-}" != masquerade ] || masquerade
}

addresses()
{
	local ns=$1 dev=$2 address

	shift 2
	ip -n "$prefix-$ns" link set "$dev" up
	for address; do
		ip -n "$prefix-$ns" address add "$address" dev "$dev"
	done
}

masquerade()
{
	local lock

	# The lock file is the host's, for all namespaces: take our own.
	lock=$(mktemp)
	XTABLES_LOCKFILE=$lock inside router iptables -w -t nat -A POSTROUTING -o wan -j MASQUERADE
	XTABLES_LOCKFILE=$lock inside router ip6tables -w -t nat -A POSTROUTING -o wan -j MASQUERADE
	rm -f "$lock"
	# As on the real internet: what leaves with a LAN's address gets no answer.
	ip -n "$prefix-inet" route delete default
	ip -n "$prefix-inet" -6 route delete default
}

down()
{
	local ns pids try

	for ns in client router inet; do
		[ -e "/run/netns/$prefix-$ns" ] || continue
		for try in TERM KILL KILL; do
			pids=$(ip netns pids "$prefix-$ns")
			[ -n "$pids" ] || break
			# shellcheck disable=SC2086
			kill -s $try $pids 2>/dev/null || :
			for _ in 1 2 3 4 5 6 7 8 9 10; do
				[ -n "$(ip netns pids "$prefix-$ns")" ] || break
				sleep 0.1
			done
		done
		ip netns delete "$prefix-$ns"
	done
}

[ $# -ge 2 ] || usage
verb=$1 prefix=$2
shift 2
case $verb in
up) up "$@" ;;
down) down ;;
*) usage ;;
esac
