/* exec: `clashsup exec`, an init for one command (docs/clashsup.8). */
#ifndef DAEMON_EXEC_H
#define DAEMON_EXEC_H

/* argv[0] is "exec". Signals are blocked as proc_clean_start leaves them. The exit status. */
int exec_main(int argc, char **argv);

#endif
