#compdef clashsup
# Completion of clashsup for zsh: PREFIX/share/zsh/site-functions/_clashsup

_clashsup()
{
	local -a commands
	commands=(
		'run:supervise Mihomo and the network rules' 'status:what it is doing' 'start:start Mihomo'
		'stop:stop Mihomo, the network is direct' 'restart:restart Mihomo' 'shutdown:end clashsup itself'
		'on:mode tproxy' 'off:mode mixed' 'mode:tproxy or mixed' 'signal:send Mihomo a signal'
		'refresh:look for server addresses now' 'reexec:put the new program in the place of the running one'
		'reload:read the configuration again' 'ips:the server addresses in the set' 'logs:the latest lines of Mihomo'
		'events:the latest turns of its life' 'check:check the configuration' 'rules:print the rules'
		'extract:the endpoints in files' 'doctor:what keeps it from working well here'
		'exec:run any command as an init does' 'cleanup:remove what a killed clashsup left'
	)
	_arguments '-c[configuration]:file:_files' '(- *)-h[help]' '(- *)-V[version]' '1:command:->command' '*::argument:->rest'
	case $state in
	command) _describe command commands ;;
	rest)
		case $words[1] in
		run) _arguments '--ready-fd[descriptor that is told of readiness]:number' ;;
		status) _arguments '--json[one line of JSON]' '--live[only whether it answers]' ;;
		mode) _values mode tproxy mixed ;;
		signal) _signals ;;
		logs) _arguments '-f[go on with what comes]' '-n[so many]:count' ;;
		events) _arguments '-f[go on with what comes]' '-n[so many]:count' '--json[an object each]' ;;
		check) _arguments '--print[the effective values]' ;;
		rules) _arguments '--backend[of this backend]:backend:(iptables nft)' ;;
		extract) _arguments '--json' '--no-resolve' '*:file:_files' ;;
		doctor) _arguments '--json' ;;
		exec) _normal ;;
		esac
		;;
	esac
}
_clashsup "$@"
