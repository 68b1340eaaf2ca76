# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_llts_global_optspecs
    string join \n config= port= listen-addr= name= cluster= peers= no-discovery= key-file= hmac-key= rate= rounds= role= algorithm= faults= clock= virtual-offset= virtual-drift= step-threshold= timestamps= iface= phc= user= no-step= slew-limit= max-change= max-change-at-start= max-total= on-conflict= drift-file= cpu= sched= mlock= poll-mode= runtime-dir= state-dir= socket= metrics= record= log-measurements= log-measurements-format= log-interval= log-dir= log-level= log-format= end-with-parent= h/help V/version
end

function __fish_llts_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_llts_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_llts_using_subcommand
    set -l cmd (__fish_llts_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c llts -n "__fish_llts_needs_command" -l config -d 'Configuration file; options given here or as variables win over it [default: /etc/llts/llts.toml if it is there]' -r -F
complete -c llts -n "__fish_llts_needs_command" -l port -d 'UDP port [default: 4123]' -r
complete -c llts -n "__fish_llts_needs_command" -l listen-addr -d 'Address to listen on: IP, IP:PORT, or :PORT for every interface; beyond loopback it needs a key [default: 127.0.0.1]' -r
complete -c llts -n "__fish_llts_needs_command" -l name -d 'Name of this node, the only one of its cluster to have it [default: HOSTNAME:PORT]' -r
complete -c llts -n "__fish_llts_needs_command" -l cluster -d 'Name of the cluster' -r
complete -c llts -n "__fish_llts_needs_command" -l peers -d 'Peers, as host:port,host:port; may be given more than once' -r
complete -c llts -n "__fish_llts_needs_command" -l no-discovery -d 'Look for peers neither on this machine nor on the local network' -r -f -a "true\t''
false\t''"
complete -c llts -n "__fish_llts_needs_command" -l key-file -d 'File with the cluster\'s keys, as `llts keygen` makes it' -r -F
complete -c llts -n "__fish_llts_needs_command" -l hmac-key -d 'The cluster\'s key itself, as text, HEX:... or B64:...; every user of the machine can read it with ps' -r
complete -c llts -n "__fish_llts_needs_command" -l rate -d 'Exchanges a second with each peer' -r
complete -c llts -n "__fish_llts_needs_command" -l rounds -d 'Exchanges in the burst with which a peer is met' -r
complete -c llts -n "__fish_llts_needs_command" -l role -d 'peer: an equal; reference: the cluster\'s truth, never moves; observer: measures only' -r -f -a "peer\t''
reference\t''
observer\t''"
complete -c llts -n "__fish_llts_needs_command" -l algorithm -d 'How nodes agree' -r -f -a "rce\t'raw-clock ensemble: fault-tolerant fusion of filtered raw clocks'
rce-kalman\t'the same over plain Kalman filters, for comparison: less close where queues are one-sided'
average\t'plain average consensus, for comparison: one liar moves everybody'
lynch-welch\t'fault-tolerant midpoint (1988): proven against f < n/3 liars, averages noise less well'
trimmed-mean\t'mean without the f outermost on each side: f < n/3 liars, no anchor against a dragged rate'
median\t'median of all, crash faults only: liars can hold two groups apart for ever'
marzullo\t'intersection of hard intervals (1983): f < n/3 liars, no assumption on noise, coarse'
saturn\t'rounds of trips, the slow ones dropped, mean of the rest, with a rate: one liar moves everybody'
regression\t'regression with a runs test, as NTP clients do, combined over peers: one liar moves everybody'
tree\t'one leader whom all follow, as in PTP: a lying or broken leader is the time'"
complete -c llts -n "__fish_llts_needs_command" -l faults -d 'Faulty nodes to tolerate [default: a third of those present]' -r
complete -c llts -n "__fish_llts_needs_command" -l clock -d 'Clock to steer: virtual is in memory, system is the machine\'s own and needs CAP_SYS_TIME' -r -f -a "virtual\t'A clock in memory'
system\t'The machine\'s own'"
complete -c llts -n "__fish_llts_needs_command" -l virtual-offset -d 'Throw the virtual clock off by this at start, like 10ms or -3us' -r
complete -c llts -n "__fish_llts_needs_command" -l virtual-drift -d 'Let the virtual clock\'s oscillator run faster by this, like 20ppm or -350ppb' -r
complete -c llts -n "__fish_llts_needs_command" -l step-threshold -d 'At start, step the clock once if it is off by more than this; below, close the gap fast, at up to 10 % unless --slew-limit is given' -r
complete -c llts -n "__fish_llts_needs_command" -l timestamps -d 'Whose time stamps: auto takes the card\'s where it can and the kernel\'s else, packet by packet; hardware insists on a card that stamps; kernel touches no card; user reads the program\'s own clock' -r -f -a "auto\t''
hardware\t''
kernel\t''
user\t''"
complete -c llts -n "__fish_llts_needs_command" -l iface -d 'Interfaces whose cards stamp, as eth0 or eth0,eth1; bonds and VLANs lead to theirs [default: that of the address listened on, or those on the way to --peers, or all]' -r
complete -c llts -n "__fish_llts_needs_command" -l phc -d 'Clock of that card, as /dev/ptpN or as an interface that has it [default: what the card\'s driver says]' -r
complete -c llts -n "__fish_llts_needs_command" -l user -d 'Become this user once everything is set up; needs a start as root' -r
complete -c llts -n "__fish_llts_needs_command" -l no-step -d 'Never step the clock, not even at start, and never slew it faster than --slew-limit, or 500 ppm' -r -f -a "true\t''
false\t''"
complete -c llts -n "__fish_llts_needs_command" -l slew-limit -d 'Never slew the clock faster than this [default: 500ppm once it has caught up, and before that as fast as --step-threshold says]' -r
complete -c llts -n "__fish_llts_needs_command" -l max-change -d 'End rather than change the clock by more than this after the start; none: any change' -r
complete -c llts -n "__fish_llts_needs_command" -l max-change-at-start -d 'End rather than change the clock by more than this at the start; none: any change' -r
complete -c llts -n "__fish_llts_needs_command" -l max-total -d 'End when the steps that put right what others did to the clock add up to more than this; none: never' -r
complete -c llts -n "__fish_llts_needs_command" -l on-conflict -d 'When somebody else steers or sets the system clock: warn says so and puts it right, refuse stops and ends' -r -f -a "warn\t''
refuse\t''"
complete -c llts -n "__fish_llts_needs_command" -l drift-file -d 'Where the oscillator\'s drift is kept, for a warm start; with --clock system only [default: drift in the state folder]' -r -F
complete -c llts -n "__fish_llts_needs_command" -l cpu -d 'Core for the thread that answers packets' -r
complete -c llts -n "__fish_llts_needs_command" -l sched -d 'Scheduling class of that thread: other, or fifo:N with N from 1 to 99' -r
complete -c llts -n "__fish_llts_needs_command" -l mlock -d 'Lock all memory' -r -f -a "true\t''
false\t''"
complete -c llts -n "__fish_llts_needs_command" -l poll-mode -d 'How that thread waits: busy spins, block sleeps, hybrid spins a little first; auto chooses and says why' -r -f -a "auto\t''
busy\t''
hybrid\t''
block\t''"
complete -c llts -n "__fish_llts_needs_command" -l runtime-dir -d 'Folder for sockets and announcements [default: /run/llts for root, else the user\'s own]' -r -F
complete -c llts -n "__fish_llts_needs_command" -l state-dir -d 'Folder for what is to survive a restart: the drift file [default: /var/lib/llts for root, else the user\'s own]' -r -F
complete -c llts -n "__fish_llts_needs_command" -l socket -d 'Status socket [default: in the runtime folder]' -r -F
complete -c llts -n "__fish_llts_needs_command" -l metrics -d 'Serve metrics for Prometheus and a page for people by HTTP: PORT on loopback, IP:PORT, or :PORT for every interface [default: nowhere]' -r
complete -c llts -n "__fish_llts_needs_command" -l record -d 'Record every finished exchange into this file, for replay; a file that is there is left alone, and FILE.1, FILE.2 and so on are taken instead: the log says which' -r -F
complete -c llts -n "__fish_llts_needs_command" -l log-measurements -d 'Log measurements: exchanges (every one), peers and tracking (now and then), as LOG,LOG; chrony\'s names measurements and statistics for the first two are understood [default: none]' -r -f -a "exchanges\t''
peers\t''
tracking\t''"
complete -c llts -n "__fish_llts_needs_command" -l log-measurements-format -d 'Form of measurement logs: csv, or jsonl for one JSON object a line' -r -f -a "csv\t''
jsonl\t''"
complete -c llts -n "__fish_llts_needs_command" -l log-interval -d 'Time between two lines of the logs peers and tracking' -r
complete -c llts -n "__fish_llts_needs_command" -l log-dir -d 'Folder of measurement logs; SIGHUP opens their files again, for logrotate [default: /var/log/llts for root, else log in the state folder]' -r -F
complete -c llts -n "__fish_llts_needs_command" -l log-level -d 'What to log: off, error, warn, info, debug or trace' -r
complete -c llts -n "__fish_llts_needs_command" -l log-format -d 'Form of log lines: text for people, journal for systemd\'s, json for programs; auto is journal where standard error is the journal' -r -f -a "auto\t''
text\t''
journal\t''
json\t''"
complete -c llts -n "__fish_llts_needs_command" -l end-with-parent -d 'End when the process with this id, which must be the parent, ends; for `llts demo`' -r
complete -c llts -n "__fish_llts_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c llts -n "__fish_llts_needs_command" -s V -l version -d 'Print version'
complete -c llts -n "__fish_llts_needs_command" -f -a "demo" -d 'Run several nodes on this machine with clocks thrown off, and show their true error'
complete -c llts -n "__fish_llts_needs_command" -f -a "status" -d 'Show how a node on this machine is doing'
complete -c llts -n "__fish_llts_needs_command" -f -a "doctor" -d 'Say what this machine can give: clocks, cards, privileges, and what each lack costs'
complete -c llts -n "__fish_llts_needs_command" -f -a "watch" -d 'Show how far apart the nodes of a cluster are, and warn when that is too far'
complete -c llts -n "__fish_llts_needs_command" -f -a "query" -d 'Ask one node a few times, for cron and monitoring: exit code 0 good, 1 over the threshold, 2 unreachable'
complete -c llts -n "__fish_llts_needs_command" -f -a "peers" -d 'Show the peers of a node on this machine, and why those that are not used are not'
complete -c llts -n "__fish_llts_needs_command" -f -a "tracking" -d 'Show how well the clock of a node on this machine follows its cluster'
complete -c llts -n "__fish_llts_needs_command" -f -a "top" -d 'Show a node on this machine and its peers live in this terminal'
complete -c llts -n "__fish_llts_needs_command" -f -a "waitsync" -d 'Wait until a node on this machine promises a bound: 0 it does, 1 not in time, 2 it never will'
complete -c llts -n "__fish_llts_needs_command" -f -a "release-clock" -d 'Leave the system clock well after a node that was killed while it steered it'
complete -c llts -n "__fish_llts_needs_command" -f -a "keygen" -d 'Make a key'
complete -c llts -n "__fish_llts_needs_command" -f -a "check-config" -d 'Check a configuration file and everything that it names'
complete -c llts -n "__fish_llts_needs_command" -f -a "completions" -d 'Print the script by which a shell completes the words of this program'
complete -c llts -n "__fish_llts_needs_command" -f -a "sim" -d 'Simulate a cluster in virtual time and hold it to its bounds'
complete -c llts -n "__fish_llts_needs_command" -f -a "saturn" -d 'Watch clocks, or have one watched, by the protocol of the older program Saturn'
complete -c llts -n "__fish_llts_needs_command" -f -a "compare" -d 'Run algorithms side by side in the simulator and print the table'
complete -c llts -n "__fish_llts_needs_command" -f -a "replay" -d 'Show what an algorithm would have made of a recording'
complete -c llts -n "__fish_llts_needs_command" -f -a "run" -d 'Run a node until a signal ends it'
complete -c llts -n "__fish_llts_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c llts -n "__fish_llts_using_subcommand demo" -l nodes -d 'How many nodes' -r
complete -c llts -n "__fish_llts_using_subcommand demo" -l seconds -d 'For how long' -r
complete -c llts -n "__fish_llts_using_subcommand demo" -l algorithm -d 'How nodes agree' -r -f -a "rce\t'raw-clock ensemble: fault-tolerant fusion of filtered raw clocks'
rce-kalman\t'the same over plain Kalman filters, for comparison: less close where queues are one-sided'
average\t'plain average consensus, for comparison: one liar moves everybody'
lynch-welch\t'fault-tolerant midpoint (1988): proven against f < n/3 liars, averages noise less well'
trimmed-mean\t'mean without the f outermost on each side: f < n/3 liars, no anchor against a dragged rate'
median\t'median of all, crash faults only: liars can hold two groups apart for ever'
marzullo\t'intersection of hard intervals (1983): f < n/3 liars, no assumption on noise, coarse'
saturn\t'rounds of trips, the slow ones dropped, mean of the rest, with a rate: one liar moves everybody'
regression\t'regression with a runs test, as NTP clients do, combined over peers: one liar moves everybody'
tree\t'one leader whom all follow, as in PTP: a lying or broken leader is the time'"
complete -c llts -n "__fish_llts_using_subcommand demo" -l poll-mode -d 'How the nodes wait for packets' -r -f -a "auto\t''
busy\t''
hybrid\t''
block\t''"
complete -c llts -n "__fish_llts_using_subcommand demo" -l rate -d 'Exchanges a second with each peer' -r
complete -c llts -n "__fish_llts_using_subcommand demo" -l seed -d 'Throw the clocks off as an earlier demo with this number did [default: anew each time]' -r
complete -c llts -n "__fish_llts_using_subcommand demo" -l kill-restart -d 'Kill this node (1 is the first) with SIGKILL after a quarter of the time, and start it again one second later' -r
complete -c llts -n "__fish_llts_using_subcommand demo" -l json -d 'Print nothing but one JSON object, at the end'
complete -c llts -n "__fish_llts_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c llts -n "__fish_llts_using_subcommand status" -l watch -d 'Show it again and again, this often [default: 1s]' -r
complete -c llts -n "__fish_llts_using_subcommand status" -l socket -d 'The node\'s status socket [default: the only one in the runtime folder]' -r -F
complete -c llts -n "__fish_llts_using_subcommand status" -l runtime-dir -d 'Folder to look for status sockets in [default: that of this user, then that of the system]' -r -F
complete -c llts -n "__fish_llts_using_subcommand status" -l json -d 'Print the JSON document (docs/schema tells its names)'
complete -c llts -n "__fish_llts_using_subcommand status" -s h -l help -d 'Print help'
complete -c llts -n "__fish_llts_using_subcommand doctor" -l iface -d 'Interfaces to look at, as eth0 or eth0,eth1 [default: all but loopback]' -r
complete -c llts -n "__fish_llts_using_subcommand doctor" -l peer -d 'Send five packets to this host over each of them and see who stamps them; stamps of cards are switched on for it and put back' -r
complete -c llts -n "__fish_llts_using_subcommand doctor" -l port -d 'UDP port that a node would have [default: 4123]' -r
complete -c llts -n "__fish_llts_using_subcommand doctor" -l json -d 'Print one JSON object'
complete -c llts -n "__fish_llts_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c llts -n "__fish_llts_using_subcommand watch" -l peers -d 'Nodes to measure, as host:port,host:port; may be given more than once' -r
complete -c llts -n "__fish_llts_using_subcommand watch" -l peers-file -d 'File that names nodes to measure, one or several a line; # begins a comment' -r -F
complete -c llts -n "__fish_llts_using_subcommand watch" -l socket -d 'Show what the node with this status socket sees [default, without --peers: the only one in the runtime folder]' -r -F
complete -c llts -n "__fish_llts_using_subcommand watch" -l cluster -d 'Name of the cluster' -r
complete -c llts -n "__fish_llts_using_subcommand watch" -l key-file -d 'File with the cluster\'s keys, as `llts keygen` makes it [default, on this machine: the key of this user]' -r -F
complete -c llts -n "__fish_llts_using_subcommand watch" -l hmac-key -d 'The cluster\'s key itself, as text, HEX:... or B64:...; every user of the machine can read it with ps' -r
complete -c llts -n "__fish_llts_using_subcommand watch" -l runtime-dir -d 'Folder where the key of this user and status sockets are [default: /run/llts for root, else the user\'s own]' -r -F
complete -c llts -n "__fish_llts_using_subcommand watch" -l rate -d 'Exchanges a second with each node' -r
complete -c llts -n "__fish_llts_using_subcommand watch" -l rounds -d 'Exchanges in the burst with which a node is met' -r
complete -c llts -n "__fish_llts_using_subcommand watch" -l interval -d 'Time between two lines, like 1s or 250ms' -r
complete -c llts -n "__fish_llts_using_subcommand watch" -l count -d 'End after so many lines [default: never]' -r
complete -c llts -n "__fish_llts_using_subcommand watch" -l threshold -d 'Warn when the largest skew, or a node\'s offset from the median, is above this: 5 (milliseconds) or 250us' -r
complete -c llts -n "__fish_llts_using_subcommand watch" -l exec -d 'Program to start when the threshold is crossed, in either direction; docs/WATCH.md lists what it is told' -r -F
complete -c llts -n "__fish_llts_using_subcommand watch" -l webhook -d 'Server to POST to when the threshold is crossed, in either direction: http://HOST:PORT/PATH' -r
complete -c llts -n "__fish_llts_using_subcommand watch" -l json -d 'Print one JSON object for each interval and nothing else'
complete -c llts -n "__fish_llts_using_subcommand watch" -s h -l help -d 'Print help'
complete -c llts -n "__fish_llts_using_subcommand query" -l cluster -d 'Name of the cluster' -r
complete -c llts -n "__fish_llts_using_subcommand query" -l key-file -d 'File with the cluster\'s keys, as `llts keygen` makes it [default, on this machine: the key of this user]' -r -F
complete -c llts -n "__fish_llts_using_subcommand query" -l hmac-key -d 'The cluster\'s key itself, as text, HEX:... or B64:...; every user of the machine can read it with ps' -r
complete -c llts -n "__fish_llts_using_subcommand query" -l runtime-dir -d 'Folder where the key of this user and status sockets are [default: /run/llts for root, else the user\'s own]' -r -F
complete -c llts -n "__fish_llts_using_subcommand query" -l rounds -d 'How many exchanges' -r
complete -c llts -n "__fish_llts_using_subcommand query" -l threshold -d 'Exit with 1 if the offset is above this, ahead or behind: 5 (milliseconds) or 250us' -r
complete -c llts -n "__fish_llts_using_subcommand query" -l timeout -d 'How long to wait for the first answer, like 3s' -r
complete -c llts -n "__fish_llts_using_subcommand query" -l json -d 'Print one JSON object'
complete -c llts -n "__fish_llts_using_subcommand query" -s h -l help -d 'Print help'
complete -c llts -n "__fish_llts_using_subcommand peers" -l watch -d 'Show it again and again, this often [default: 1s]' -r
complete -c llts -n "__fish_llts_using_subcommand peers" -l socket -d 'The node\'s status socket [default: the only one in the runtime folder]' -r -F
complete -c llts -n "__fish_llts_using_subcommand peers" -l runtime-dir -d 'Folder to look for status sockets in [default: that of this user, then that of the system]' -r -F
complete -c llts -n "__fish_llts_using_subcommand peers" -l json -d 'Print the JSON document (docs/schema tells its names)'
complete -c llts -n "__fish_llts_using_subcommand peers" -s h -l help -d 'Print help'
complete -c llts -n "__fish_llts_using_subcommand tracking" -l watch -d 'Show it again and again, this often [default: 1s]' -r
complete -c llts -n "__fish_llts_using_subcommand tracking" -l socket -d 'The node\'s status socket [default: the only one in the runtime folder]' -r -F
complete -c llts -n "__fish_llts_using_subcommand tracking" -l runtime-dir -d 'Folder to look for status sockets in [default: that of this user, then that of the system]' -r -F
complete -c llts -n "__fish_llts_using_subcommand tracking" -l json -d 'Print the JSON document (docs/schema tells its names)'
complete -c llts -n "__fish_llts_using_subcommand tracking" -s h -l help -d 'Print help'
complete -c llts -n "__fish_llts_using_subcommand top" -l interval -d 'Ask the node this often' -r
complete -c llts -n "__fish_llts_using_subcommand top" -l socket -d 'The node\'s status socket [default: the only one in the runtime folder]' -r -F
complete -c llts -n "__fish_llts_using_subcommand top" -l runtime-dir -d 'Folder to look for status sockets in [default: that of this user, then that of the system]' -r -F
complete -c llts -n "__fish_llts_using_subcommand top" -s h -l help -d 'Print help'
complete -c llts -n "__fish_llts_using_subcommand waitsync" -l bound -d 'The bound to wait for' -r
complete -c llts -n "__fish_llts_using_subcommand waitsync" -l timeout -d 'For how long' -r
complete -c llts -n "__fish_llts_using_subcommand waitsync" -l socket -d 'The node\'s status socket [default: the only one in the runtime folder]' -r -F
complete -c llts -n "__fish_llts_using_subcommand waitsync" -l runtime-dir -d 'Folder to look for status sockets in [default: that of this user, then that of the system]' -r -F
complete -c llts -n "__fish_llts_using_subcommand waitsync" -l accept-virtual -d 'Take the word of a node with a virtual clock too: its bound says nothing of the clock that programs read'
complete -c llts -n "__fish_llts_using_subcommand waitsync" -l wait-for-daemon -d 'Wait for a daemon that is not running too, as while a machine boots'
complete -c llts -n "__fish_llts_using_subcommand waitsync" -l json -d 'Print one JSON object'
complete -c llts -n "__fish_llts_using_subcommand waitsync" -s h -l help -d 'Print help'
complete -c llts -n "__fish_llts_using_subcommand release-clock" -l drift-file -d 'Where the node keeps the oscillator\'s drift [default: drift in the state folder]' -r -F
complete -c llts -n "__fish_llts_using_subcommand release-clock" -l state-dir -d 'Folder for what is to survive a restart [default: /var/lib/llts for root, else the user\'s own]' -r -F
complete -c llts -n "__fish_llts_using_subcommand release-clock" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c llts -n "__fish_llts_using_subcommand keygen" -l id -d 'The number by which packets name the key' -r
complete -c llts -n "__fish_llts_using_subcommand keygen" -l out -d 'Write it to a new file that only its owner can read [default: standard output]' -r -F
complete -c llts -n "__fish_llts_using_subcommand keygen" -s h -l help -d 'Print help'
complete -c llts -n "__fish_llts_using_subcommand check-config" -l json -d 'Print one JSON object'
complete -c llts -n "__fish_llts_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c llts -n "__fish_llts_using_subcommand completions" -s h -l help -d 'Print help'
complete -c llts -n "__fish_llts_using_subcommand sim" -l explain -d 'Show a scenario as it is written, and what can be reached in it at best' -r
complete -c llts -n "__fish_llts_using_subcommand sim" -l algorithm -d 'How agreement is reached, instead of as the scenario says' -r
complete -c llts -n "__fish_llts_using_subcommand sim" -l seeds -d 'Runs, each of its own seed [default: as the scenario says]' -r
complete -c llts -n "__fish_llts_using_subcommand sim" -l seed -d 'First seed; alone, the only one' -r
complete -c llts -n "__fish_llts_using_subcommand sim" -l plot -d 'Draw the first run' -r -F
complete -c llts -n "__fish_llts_using_subcommand sim" -l all -d 'Run every scenario that comes with the program, on all its seeds'
complete -c llts -n "__fish_llts_using_subcommand sim" -l list -d 'List the scenarios that come with the program; with --json one object a scenario, one a line'
complete -c llts -n "__fish_llts_using_subcommand sim" -l json -d 'One JSON object a run (or, with --list, a scenario), one a line'
complete -c llts -n "__fish_llts_using_subcommand sim" -s h -l help -d 'Print help'
complete -c llts -n "__fish_llts_using_subcommand saturn" -l listen-addr -d 'Where a master listens: :PORT for every interface, IP:PORT or NAME:PORT' -r
complete -c llts -n "__fish_llts_using_subcommand saturn" -l master-addr -d 'Be a slave of this master: HOST:PORT; a name without a port is looked up as the SRV record _saturn._udp.NAME, else port 4123 [default: be the master]' -r
complete -c llts -n "__fish_llts_using_subcommand saturn" -l hmac-key -d 'The shared key; every user of the machine can read it with ps: prefer --key-file or the environment\'s SATURN_HMAC_KEY' -r
complete -c llts -n "__fish_llts_using_subcommand saturn" -l key-file -d 'File that holds the shared key on one line, readable by its owner only' -r -F
complete -c llts -n "__fish_llts_using_subcommand saturn" -l name -d 'Slave: what to be called by the master [default: the host\'s name]' -r
complete -c llts -n "__fish_llts_using_subcommand saturn" -l rounds -d 'Master: round trips of a transaction' -r
complete -c llts -n "__fish_llts_using_subcommand saturn" -l interval -d 'Slave: seconds from one report to the next' -r
complete -c llts -n "__fish_llts_using_subcommand saturn" -l threshold -d 'Master: warn of an offset of more milliseconds than this' -r
complete -c llts -n "__fish_llts_using_subcommand saturn" -l log-level -d 'What to log' -r -f -a "error\t'Failures of the program itself'
warn\t'Offsets over the threshold too, and reports that came to nothing'
info\t'Every offset too'
debug\t'The beginning of every transaction too'"
complete -c llts -n "__fish_llts_using_subcommand saturn" -l log-format -d 'Log to standard error as `llts run` does, instead of Saturn\'s lines' -r -f -a "auto\t''
text\t''
journal\t''
json\t''"
complete -c llts -n "__fish_llts_using_subcommand saturn" -l virtual-offset -d 'Slave: report a clock that is ahead of the machine\'s by this, like 6s or -3us, to try the alarm' -r
complete -c llts -n "__fish_llts_using_subcommand saturn" -l json -d 'Log JSON objects, one a line, instead of Saturn\'s lines'
complete -c llts -n "__fish_llts_using_subcommand saturn" -l compat -d 'Behave as Saturn did: its offset formula (NaN included), one reading of the clock for each message, replies from any address, every field taken as it comes'
complete -c llts -n "__fish_llts_using_subcommand saturn" -l allow-default-key -d 'Accept the key "secret", which is Saturn\'s default and no secret'
complete -c llts -n "__fish_llts_using_subcommand saturn" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c llts -n "__fish_llts_using_subcommand compare" -l scenarios -d 'Scenarios: names, numbers or files, or `all` [default: eight that tell algorithms apart]' -r
complete -c llts -n "__fish_llts_using_subcommand compare" -l algorithms -d 'Algorithms, or `all`' -r
complete -c llts -n "__fish_llts_using_subcommand compare" -l seeds -d 'Runs of each algorithm in each scenario, all on the same seeds' -r
complete -c llts -n "__fish_llts_using_subcommand compare" -l plot -d 'Draw the first run of each algorithm into this folder, one picture for each scenario' -r -F
complete -c llts -n "__fish_llts_using_subcommand compare" -l json -d 'One JSON object a row, one a line'
complete -c llts -n "__fish_llts_using_subcommand compare" -l markdown -d 'Tables for a Markdown file'
complete -c llts -n "__fish_llts_using_subcommand compare" -s h -l help -d 'Print help'
complete -c llts -n "__fish_llts_using_subcommand replay" -l algorithm -d 'How agreement is sought' -r -f -a "rce\t'raw-clock ensemble: fault-tolerant fusion of filtered raw clocks'
rce-kalman\t'the same over plain Kalman filters, for comparison: less close where queues are one-sided'
average\t'plain average consensus, for comparison: one liar moves everybody'
lynch-welch\t'fault-tolerant midpoint (1988): proven against f < n/3 liars, averages noise less well'
trimmed-mean\t'mean without the f outermost on each side: f < n/3 liars, no anchor against a dragged rate'
median\t'median of all, crash faults only: liars can hold two groups apart for ever'
marzullo\t'intersection of hard intervals (1983): f < n/3 liars, no assumption on noise, coarse'
saturn\t'rounds of trips, the slow ones dropped, mean of the rest, with a rate: one liar moves everybody'
regression\t'regression with a runs test, as NTP clients do, combined over peers: one liar moves everybody'
tree\t'one leader whom all follow, as in PTP: a lying or broken leader is the time'"
complete -c llts -n "__fish_llts_using_subcommand replay" -l json -d 'One JSON object a second, one a line, and the summary as the last'
complete -c llts -n "__fish_llts_using_subcommand replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c llts -n "__fish_llts_using_subcommand run" -l config -d 'Configuration file; options given here or as variables win over it [default: /etc/llts/llts.toml if it is there]' -r -F
complete -c llts -n "__fish_llts_using_subcommand run" -l port -d 'UDP port [default: 4123]' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l listen-addr -d 'Address to listen on: IP, IP:PORT, or :PORT for every interface; beyond loopback it needs a key [default: 127.0.0.1]' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l name -d 'Name of this node, the only one of its cluster to have it [default: HOSTNAME:PORT]' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l cluster -d 'Name of the cluster' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l peers -d 'Peers, as host:port,host:port; may be given more than once' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l no-discovery -d 'Look for peers neither on this machine nor on the local network' -r -f -a "true\t''
false\t''"
complete -c llts -n "__fish_llts_using_subcommand run" -l key-file -d 'File with the cluster\'s keys, as `llts keygen` makes it' -r -F
complete -c llts -n "__fish_llts_using_subcommand run" -l hmac-key -d 'The cluster\'s key itself, as text, HEX:... or B64:...; every user of the machine can read it with ps' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l rate -d 'Exchanges a second with each peer' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l rounds -d 'Exchanges in the burst with which a peer is met' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l role -d 'peer: an equal; reference: the cluster\'s truth, never moves; observer: measures only' -r -f -a "peer\t''
reference\t''
observer\t''"
complete -c llts -n "__fish_llts_using_subcommand run" -l algorithm -d 'How nodes agree' -r -f -a "rce\t'raw-clock ensemble: fault-tolerant fusion of filtered raw clocks'
rce-kalman\t'the same over plain Kalman filters, for comparison: less close where queues are one-sided'
average\t'plain average consensus, for comparison: one liar moves everybody'
lynch-welch\t'fault-tolerant midpoint (1988): proven against f < n/3 liars, averages noise less well'
trimmed-mean\t'mean without the f outermost on each side: f < n/3 liars, no anchor against a dragged rate'
median\t'median of all, crash faults only: liars can hold two groups apart for ever'
marzullo\t'intersection of hard intervals (1983): f < n/3 liars, no assumption on noise, coarse'
saturn\t'rounds of trips, the slow ones dropped, mean of the rest, with a rate: one liar moves everybody'
regression\t'regression with a runs test, as NTP clients do, combined over peers: one liar moves everybody'
tree\t'one leader whom all follow, as in PTP: a lying or broken leader is the time'"
complete -c llts -n "__fish_llts_using_subcommand run" -l faults -d 'Faulty nodes to tolerate [default: a third of those present]' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l clock -d 'Clock to steer: virtual is in memory, system is the machine\'s own and needs CAP_SYS_TIME' -r -f -a "virtual\t'A clock in memory'
system\t'The machine\'s own'"
complete -c llts -n "__fish_llts_using_subcommand run" -l virtual-offset -d 'Throw the virtual clock off by this at start, like 10ms or -3us' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l virtual-drift -d 'Let the virtual clock\'s oscillator run faster by this, like 20ppm or -350ppb' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l step-threshold -d 'At start, step the clock once if it is off by more than this; below, close the gap fast, at up to 10 % unless --slew-limit is given' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l timestamps -d 'Whose time stamps: auto takes the card\'s where it can and the kernel\'s else, packet by packet; hardware insists on a card that stamps; kernel touches no card; user reads the program\'s own clock' -r -f -a "auto\t''
hardware\t''
kernel\t''
user\t''"
complete -c llts -n "__fish_llts_using_subcommand run" -l iface -d 'Interfaces whose cards stamp, as eth0 or eth0,eth1; bonds and VLANs lead to theirs [default: that of the address listened on, or those on the way to --peers, or all]' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l phc -d 'Clock of that card, as /dev/ptpN or as an interface that has it [default: what the card\'s driver says]' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l user -d 'Become this user once everything is set up; needs a start as root' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l no-step -d 'Never step the clock, not even at start, and never slew it faster than --slew-limit, or 500 ppm' -r -f -a "true\t''
false\t''"
complete -c llts -n "__fish_llts_using_subcommand run" -l slew-limit -d 'Never slew the clock faster than this [default: 500ppm once it has caught up, and before that as fast as --step-threshold says]' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l max-change -d 'End rather than change the clock by more than this after the start; none: any change' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l max-change-at-start -d 'End rather than change the clock by more than this at the start; none: any change' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l max-total -d 'End when the steps that put right what others did to the clock add up to more than this; none: never' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l on-conflict -d 'When somebody else steers or sets the system clock: warn says so and puts it right, refuse stops and ends' -r -f -a "warn\t''
refuse\t''"
complete -c llts -n "__fish_llts_using_subcommand run" -l drift-file -d 'Where the oscillator\'s drift is kept, for a warm start; with --clock system only [default: drift in the state folder]' -r -F
complete -c llts -n "__fish_llts_using_subcommand run" -l cpu -d 'Core for the thread that answers packets' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l sched -d 'Scheduling class of that thread: other, or fifo:N with N from 1 to 99' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l mlock -d 'Lock all memory' -r -f -a "true\t''
false\t''"
complete -c llts -n "__fish_llts_using_subcommand run" -l poll-mode -d 'How that thread waits: busy spins, block sleeps, hybrid spins a little first; auto chooses and says why' -r -f -a "auto\t''
busy\t''
hybrid\t''
block\t''"
complete -c llts -n "__fish_llts_using_subcommand run" -l runtime-dir -d 'Folder for sockets and announcements [default: /run/llts for root, else the user\'s own]' -r -F
complete -c llts -n "__fish_llts_using_subcommand run" -l state-dir -d 'Folder for what is to survive a restart: the drift file [default: /var/lib/llts for root, else the user\'s own]' -r -F
complete -c llts -n "__fish_llts_using_subcommand run" -l socket -d 'Status socket [default: in the runtime folder]' -r -F
complete -c llts -n "__fish_llts_using_subcommand run" -l metrics -d 'Serve metrics for Prometheus and a page for people by HTTP: PORT on loopback, IP:PORT, or :PORT for every interface [default: nowhere]' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l record -d 'Record every finished exchange into this file, for replay; a file that is there is left alone, and FILE.1, FILE.2 and so on are taken instead: the log says which' -r -F
complete -c llts -n "__fish_llts_using_subcommand run" -l log-measurements -d 'Log measurements: exchanges (every one), peers and tracking (now and then), as LOG,LOG; chrony\'s names measurements and statistics for the first two are understood [default: none]' -r -f -a "exchanges\t''
peers\t''
tracking\t''"
complete -c llts -n "__fish_llts_using_subcommand run" -l log-measurements-format -d 'Form of measurement logs: csv, or jsonl for one JSON object a line' -r -f -a "csv\t''
jsonl\t''"
complete -c llts -n "__fish_llts_using_subcommand run" -l log-interval -d 'Time between two lines of the logs peers and tracking' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l log-dir -d 'Folder of measurement logs; SIGHUP opens their files again, for logrotate [default: /var/log/llts for root, else log in the state folder]' -r -F
complete -c llts -n "__fish_llts_using_subcommand run" -l log-level -d 'What to log: off, error, warn, info, debug or trace' -r
complete -c llts -n "__fish_llts_using_subcommand run" -l log-format -d 'Form of log lines: text for people, journal for systemd\'s, json for programs; auto is journal where standard error is the journal' -r -f -a "auto\t''
text\t''
journal\t''
json\t''"
complete -c llts -n "__fish_llts_using_subcommand run" -l end-with-parent -d 'End when the process with this id, which must be the parent, ends; for `llts demo`' -r
complete -c llts -n "__fish_llts_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "demo" -d 'Run several nodes on this machine with clocks thrown off, and show their true error'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "status" -d 'Show how a node on this machine is doing'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "doctor" -d 'Say what this machine can give: clocks, cards, privileges, and what each lack costs'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "watch" -d 'Show how far apart the nodes of a cluster are, and warn when that is too far'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "query" -d 'Ask one node a few times, for cron and monitoring: exit code 0 good, 1 over the threshold, 2 unreachable'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "peers" -d 'Show the peers of a node on this machine, and why those that are not used are not'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "tracking" -d 'Show how well the clock of a node on this machine follows its cluster'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "top" -d 'Show a node on this machine and its peers live in this terminal'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "waitsync" -d 'Wait until a node on this machine promises a bound: 0 it does, 1 not in time, 2 it never will'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "release-clock" -d 'Leave the system clock well after a node that was killed while it steered it'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "keygen" -d 'Make a key'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "check-config" -d 'Check a configuration file and everything that it names'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "completions" -d 'Print the script by which a shell completes the words of this program'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "sim" -d 'Simulate a cluster in virtual time and hold it to its bounds'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "saturn" -d 'Watch clocks, or have one watched, by the protocol of the older program Saturn'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "compare" -d 'Run algorithms side by side in the simulator and print the table'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "replay" -d 'Show what an algorithm would have made of a recording'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "run" -d 'Run a node until a signal ends it'
complete -c llts -n "__fish_llts_using_subcommand help; and not __fish_seen_subcommand_from demo status doctor watch query peers tracking top waitsync release-clock keygen check-config completions sim saturn compare replay run help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
