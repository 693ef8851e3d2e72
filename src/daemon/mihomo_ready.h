/*
 * mihomo_ready: the half of mihomo that looks for readiness: the FIFO's word, the
 * listeners and the idle connection to the API. For mihomo.c alone.
 */
#ifndef DAEMON_MIHOMO_READY_H
#define DAEMON_MIHOMO_READY_H

#include "daemon/mihomo.h"

#define READY_SETTLE_LOOKS 40 /* of a ready one whose API connection ended: 200 ms cover an exec */

extern const int ready_protocols[2];		   /* of the listener */
const char *ready_protocol_name(unsigned p);	   /* "TCP" */
bool ready_needs_listener(const struct mihomo *m); /* in mode mixed no packet is sent to it */

void ready_init(struct mihomo *m);
void ready_watch(struct mihomo *m, int fifo); /* takes it over */
void ready_look_soon(struct mihomo *m);

/* Of the families that are wanted: has any a listener that is the child's? Keeps what it finds. */
bool ready_find_listeners(struct mihomo *m);

/* Tells a restart in place, which keeps pid and start time; never 0. */
uint64_t ready_exec_mark(pid_t pid);

/* What is waited for is told at a falling rate: behind so many `fast` looks, the 1st, 2nd, 4th, ... time. */
void ready_tell_waiting(const struct mihomo *m, uint32_t fast);

#endif
