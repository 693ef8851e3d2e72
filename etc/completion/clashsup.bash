# shellcheck shell=bash
# Completion of clashsup for bash: PREFIX/share/bash-completion/completions/clashsup

_clashsup()
{
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command="" at words=""

	for ((at = 1; at < COMP_CWORD; at++)); do
		case ${COMP_WORDS[at]} in
		-c) ((at++)) ;;
		*) command=${COMP_WORDS[at]}; break ;;
		esac
	done
	case $before:$command in
	-c:*) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
	--backend:rules) words="iptables nft" ;;
	*:"") words="run status start stop restart shutdown on off mode signal refresh reexec reload ips logs events check
		rules extract doctor exec cleanup -c -h -V" ;;
	*:run) words="--ready-fd" ;;
	*:status) words="--json --live" ;;
	*:mode) words="tproxy mixed" ;;
	*:signal) words="HUP TERM INT USR1 USR2 KILL STOP CONT" ;;
	*:logs) words="-f -n" ;;
	*:events) words="-f -n --json" ;;
	*:check) words="--print" ;;
	*:rules) words="--backend" ;;
	*:extract) mapfile -t COMPREPLY < <(compgen -W "--json --no-resolve -" -f -- "$word"); return ;;
	*:doctor) words="--json" ;;
	*:exec) mapfile -t COMPREPLY < <(compgen -c -- "$word"); return ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _clashsup clashsup
