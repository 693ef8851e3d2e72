/*
 * probe: asks Mihomo's API over its UNIX socket, once each interval, whether or
 * not the last answer has come, always on a fresh connection: one that was open
 * before says nothing about who accepts now. The witness looks in between.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clashsup/io.h"
#include "clashsup/scan.h"
#include "helper/helper.h"
#include "helper/witness.h"

#define IN_FLIGHT_MAX 32
#define BODY_MAX 65536 /* of an answer; what comes beyond ends the transfer */

static const char usage[] = "probe SOCKET INTERVAL_MS TIMEOUT_MS";

struct slot {
	struct api_request request; /* first: found by it */
	bool busy;
};

struct probe {
	CURLM *multi;
	struct slot slots[IN_FLIGHT_MAX];
	struct slot order; /* what the supervisor wants done, beside the probes */
	char order_body[32];
	struct witness witness;
	const char *socket;
	int64_t interval_ms, timeout_ms, next_ms;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Makes the slot's handle if it has none yet. */
static bool slot_ready(const struct probe *p, struct slot *s, const char *path)
{
	if (!s->request.easy) {
		if (api_request_init(&s->request, p->socket, BODY_MAX, p->timeout_ms) < 0) {
			api_request_free(&s->request);
			return false;
		}
		curl_easy_setopt(s->request.easy, CURLOPT_FRESH_CONNECT, 1L);
		curl_easy_setopt(s->request.easy, CURLOPT_FORBID_REUSE, 1L);
	}
	return api_request_path(&s->request, path) == 0;
}

static void slot_start(struct probe *p, struct slot *s)
{
	s->busy = curl_multi_add_handle(p->multi, s->request.easy) == CURLM_OK;
}

static void slot_free(struct probe *p, struct slot *s)
{
	if (s->busy)
		curl_multi_remove_handle(p->multi, s->request.easy);
	api_request_free(&s->request);
}

/* With all slots pending, this turn's probe is left out: their time-outs speak. */
static void start_one(struct probe *p)
{
	struct slot *s = p->slots;

	while (s < p->slots + IN_FLIGHT_MAX && s->busy)
		s++;
	if (s == p->slots + IN_FLIGHT_MAX)
		return;
	if (slot_ready(p, s, "/version"))
		slot_start(p, s);
}

static bool idle(const struct probe *p)
{
	for (size_t i = 0; i < IN_FLIGHT_MAX; i++)
		if (p->slots[i].busy)
			return false;
	return true;
}

static void report(const CURLMsg *m)
{
	struct wire_record r = { .type = WIRE_HEALTH };
	curl_off_t took_us = 0;
	long status = 0;

	curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(m->easy_handle, CURLINFO_TOTAL_TIME_T, &took_us);
	r.u.health.ok = m->data.result == CURLE_OK && status == 200;
	r.u.health.status = status > 0 && status < 1000 ? (uint16_t)status : 0;
	r.u.health.latency_us = took_us < UINT32_MAX ? (uint32_t)took_us : UINT32_MAX;
	emit(&r);
}

static void finish(struct probe *p)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(p->multi, &left))) {
		struct api_request *r = api_request_of(m->easy_handle);
		struct slot *s = (struct slot *)r;

		if (r == &p->witness.request) {
			witness_answer(&p->witness, m->data.result);
			continue;
		}
		if (s != &p->order)
			report(m);
		curl_multi_remove_handle(p->multi, r->easy);
		s->busy = false;
	}
}

/*
 * Opens the TPROXY port of a Mihomo whose config has no listener and takes no
 * further line (PATCH /configs, which needs it once after each start).
 */
static void open_port(struct probe *p, unsigned port)
{
	struct slot *s = &p->order;

	if (s->busy || !slot_ready(p, s, "/configs"))
		return;
	snprintf(p->order_body, sizeof(p->order_body), "{\"tproxy-port\":%u}", port);
	curl_easy_setopt(s->request.easy, CURLOPT_CUSTOMREQUEST, "PATCH");
	curl_easy_setopt(s->request.easy, CURLOPT_POSTFIELDS, p->order_body);
	slot_start(p, s);
}

/* Orders of three bytes: 'p', port (big endian); 'n', 0, 0 = a probe now. False at the end of input. */
static bool obey(struct probe *p)
{
	uint8_t orders[3 * 16];
	ssize_t n = io_read(STDIN_FILENO, orders, sizeof(orders));

	for (ssize_t i = 0; i + 2 < n; i += 3) {
		if (orders[i] == 'p') {
			open_port(p, (unsigned)orders[i + 1] << 8 | orders[i + 2]);
		} else if (orders[i] == 'n') {
			p->next_ms = now_ms();
			witness_anew(&p->witness, p->next_ms);
		}
	}
	return n > 0;
}

static int run(struct probe *p)
{
	struct curl_waitfd input = { .fd = STDIN_FILENO, .events = CURL_WAIT_POLLIN };
	int running;

	p->next_ms = now_ms();
	for (;;) {
		int64_t now = now_ms(), until;

		if (now >= p->next_ms) {
			start_one(p);
			p->next_ms += p->interval_ms;
			if (p->next_ms <= now) /* we were stopped: do not catch up */
				p->next_ms = now + p->interval_ms;
		}
		if (curl_multi_perform(p->multi, &running) != CURLM_OK)
			return 1;
		finish(p);
		now = now_ms();
		witness_turn(&p->witness, now, idle(p) ? p->next_ms - now : 0);
		until = witness_next_ms(&p->witness);
		if (until > p->next_ms || !idle(p))
			until = p->next_ms;
		input.revents = 0;
		if (now < until && curl_multi_poll(p->multi, &input, 1, (int)(until - now), NULL) != CURLM_OK)
			return 1;
		if (input.revents && !obey(p))
			return 0;
	}
}

static int scan_ms(const char *text, int64_t *out)
{
	uint64_t ms;

	if (scan_u64(text, 24 * 3600 * 1000, &ms) < 0 || ms == 0)
		return -EINVAL;
	*out = (int64_t)ms;
	return 0;
}

int role_probe(int argc, char **argv)
{
	struct probe p = { 0 };
	int code;

	if (argc != 4 || scan_ms(argv[2], &p.interval_ms) < 0 || scan_ms(argv[3], &p.timeout_ms) < 0)
		return usage_error(usage);
	p.socket = argv[1];
	if (confine(CONFINE_RESOLVING, NULL) < 0 || curl_global_init(CURL_GLOBAL_NOTHING) != CURLE_OK)
		return 1;
	p.multi = curl_multi_init();
	code = p.multi && witness_init(&p.witness, p.multi, p.socket, p.timeout_ms, now_ms()) == 0 ? run(&p) : 1;
	for (size_t i = 0; i < IN_FLIGHT_MAX; i++)
		slot_free(&p, &p.slots[i]);
	slot_free(&p, &p.order);
	witness_deinit(&p.witness);
	curl_multi_cleanup(p.multi);
	curl_global_cleanup();
	return code;
}
