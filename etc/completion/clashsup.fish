# Completion of clashsup for fish: PREFIX/share/fish/vendor_completions.d/clashsup.fish

complete -c clashsup -f
complete -c clashsup -s c -r -F -d 'configuration'
complete -c clashsup -n __fish_use_subcommand -s h -d 'help'
complete -c clashsup -n __fish_use_subcommand -s V -d 'version'
complete -c clashsup -n __fish_use_subcommand -a 'run' -d 'supervise Mihomo and the network rules'
complete -c clashsup -n __fish_use_subcommand -a 'status' -d 'what it is doing'
complete -c clashsup -n __fish_use_subcommand -a 'start stop restart' -d 'Mihomo'
complete -c clashsup -n __fish_use_subcommand -a 'shutdown' -d 'end clashsup itself'
complete -c clashsup -n __fish_use_subcommand -a 'on off mode' -d 'tproxy or mixed'
complete -c clashsup -n __fish_use_subcommand -a 'signal' -d 'send Mihomo a signal'
complete -c clashsup -n __fish_use_subcommand -a 'refresh' -d 'look for server addresses now'
complete -c clashsup -n __fish_use_subcommand -a 'reexec' -d 'put the new program in the place of the running one'
complete -c clashsup -n __fish_use_subcommand -a 'reload' -d 'read the configuration again'
complete -c clashsup -n __fish_use_subcommand -a 'ips' -d 'the server addresses in the set'
complete -c clashsup -n __fish_use_subcommand -a 'logs' -d 'the latest lines of Mihomo'
complete -c clashsup -n __fish_use_subcommand -a 'events' -d 'the latest turns of its life'
complete -c clashsup -n __fish_use_subcommand -a 'check' -d 'check the configuration'
complete -c clashsup -n __fish_use_subcommand -a 'rules' -d 'print the rules'
complete -c clashsup -n __fish_use_subcommand -a 'extract' -d 'the endpoints in files'
complete -c clashsup -n __fish_use_subcommand -a 'doctor' -d 'what keeps it from working well here'
complete -c clashsup -n __fish_use_subcommand -a 'exec' -d 'run any command as an init does'
complete -c clashsup -n __fish_use_subcommand -a 'cleanup' -d 'remove what a killed clashsup left'
complete -c clashsup -n '__fish_seen_subcommand_from status doctor events extract' -l json
complete -c clashsup -n '__fish_seen_subcommand_from status' -l live
complete -c clashsup -n '__fish_seen_subcommand_from mode' -a 'tproxy mixed'
complete -c clashsup -n '__fish_seen_subcommand_from logs events' -s f -d 'go on with what comes'
complete -c clashsup -n '__fish_seen_subcommand_from logs events' -s n -x -d 'so many'
complete -c clashsup -n '__fish_seen_subcommand_from check' -l print
complete -c clashsup -n '__fish_seen_subcommand_from rules' -l backend -x -a 'iptables nft'
complete -c clashsup -n '__fish_seen_subcommand_from extract' -F -l no-resolve
complete -c clashsup -n '__fish_seen_subcommand_from exec' -F
