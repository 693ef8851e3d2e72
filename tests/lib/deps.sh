# shellcheck shell=bash
# What the tests and init/try need on the machine. Sourced, not run.
#
#	install_packages   installs the Debian packages that are missing (root)
#	find_mihomo        sets MIHOMO to a real Mihomo, building one if need be
#	find_oracle        sets ORACLE to the program that asks Mihomo's own readers
#
# They speak on standard error in whole sentences and return non-zero when the
# caller cannot go on.

MIHOMO_VERSION=v1.19.30

DEPS_BUILD="gcc cmake ninja-build pkg-config libev-dev libcurl4-openssl-dev libyaml-dev libcjson-dev libipset-dev
	libcap-ng-dev libinih-dev libmnl-dev libnftnl-dev libc-ares-dev libidn2-dev libseccomp-dev libcmocka-dev nettle-dev"
DEPS_RUN="iptables ipset nftables iproute2 conntrack util-linux kmod procps python3 curl ca-certificates"
DEPS_CHECK="clang clang-tidy clang-format libclang-rt-14-dev valgrind mandoc nsd shellcheck
	tini dumb-init runit s6 strace debootstrap dpkg-dev"

# install_packages [all]: with `all` also what only tests/run needs.
install_packages()
{
	local package missing=() wanted="$DEPS_BUILD $DEPS_RUN"

	[ "${1:-}" = all ] && wanted="$wanted $DEPS_CHECK"
	for package in $wanted; do
		dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
	done
	[ ${#missing[@]} -eq 0 ] && return 0
	if ! command -v apt-get >/dev/null; then
		echo "These packages are missing and there is no apt-get to install them: ${missing[*]}" >&2
		return 1
	fi
	echo "Installing ${#missing[@]} packages: ${missing[*]}" >&2
	# The lists may be absent or old: fetch them only when the install fails without.
	deps_apt install "${missing[@]}" 2>/dev/null && return 0
	deps_apt update && deps_apt install "${missing[@]}" && return 0
	echo "apt-get could not install them; its own words are above." >&2
	return 1
}

# Runs a command while Debian's policy for packages' services is "none is started": the host serves no DNS because of us.
deps_without_services()
{
	local policy=/usr/sbin/policy-rc.d result

	[ -e "$policy" ] && { "$@"; return; }
	printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
	"$@"
	result=$?
	rm -f "$policy"
	return "$result"
}

deps_apt()
{
	local verb=$1

	shift
	if [ "$verb" = update ]; then
		apt-get -q update </dev/null >/dev/null
	else
		DEBIAN_FRONTEND=noninteractive deps_without_services apt-get -q -y --no-install-recommends "$verb" "$@" \
			</dev/null >/dev/null
	fi
}

# find_mihomo SOURCE_DIR: $MIHOMO, PATH, the cache, or a build by Go from the pinned module.
find_mihomo()
{
	local cache=${CLASHSUP_CACHE:-/var/cache/clashsup} kept

	kept=$cache/mihomo-$MIHOMO_VERSION
	if [ -n "${MIHOMO:-}" ]; then
		[ -x "$MIHOMO" ] && export MIHOMO && return 0
		echo "MIHOMO=$MIHOMO is not an executable file." >&2
		return 1
	fi
	MIHOMO=$(command -v mihomo) || MIHOMO=$kept
	export MIHOMO
	[ -x "$MIHOMO" ] && return 0
	unset MIHOMO
	if ! deps_find_go; then
		echo "There is no Mihomo: install Go 1.20 or newer and run this again, or set MIHOMO=/path/to/mihomo." >&2
		return 1
	fi
	echo "Building Mihomo $MIHOMO_VERSION once with $(go env GOVERSION), about 4 minutes; it is kept in $kept" >&2
	deps_go_build "$1" github.com/metacubex/mihomo "$kept" ||
		{ echo "Mihomo could not be built; set MIHOMO=/path/to/mihomo instead." >&2; return 1; }
	export MIHOMO=$kept
}

# deps_go_build SOURCE_DIR PACKAGE RESULT: of the pinned module; the same flags for all, so that they share Go's cache.
deps_go_build()
{
	mkdir -p "$(dirname "$3")" &&
		(cd "$1/tests/mihomo" && go build -mod=readonly -buildvcs=false -tags with_gvisor -trimpath \
			-o "$3.new" "$2") </dev/null >&2 &&
		mv "$3.new" "$3"
}

# find_oracle SOURCE_DIR: $ORACLE, the cache, or a build by Go. The cache's key is the source and the module's version.
find_oracle()
{
	local cache=${CLASHSUP_CACHE:-/var/cache/clashsup} key kept

	key=$(cd "$1/tests/mihomo" && cat go.mod go.sum oracle/*.go | sha256sum | cut -c 1-16)
	kept=$cache/oracle-$key
	if [ -n "${ORACLE:-}" ]; then
		[ -x "$ORACLE" ] && export ORACLE && return 0
		echo "ORACLE=$ORACLE is not an executable file." >&2
		return 1
	fi
	export ORACLE=$kept
	[ -x "$ORACLE" ] && return 0
	unset ORACLE
	if ! deps_find_go; then
		echo "The oracle needs Go 1.20 or newer to be built; or set ORACLE=/path/to/it." >&2
		return 1
	fi
	echo "Building the oracle once, 10 seconds to 4 minutes; it is kept in $kept" >&2
	rm -f "$cache"/oracle-*
	deps_go_build "$1" ./oracle "$kept" || { echo "The oracle could not be built." >&2; return 1; }
	export ORACLE=$kept
}

# sudo's PATH often lacks the directory where Go's own archive goes.
deps_find_go()
{
	command -v go >/dev/null && return 0
	[ -x /usr/local/go/bin/go ] && PATH=$PATH:/usr/local/go/bin
}
