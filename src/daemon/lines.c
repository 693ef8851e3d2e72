#include "daemon/lines.h"

#include <inttypes.h>
#include <string.h>

#include "daemon/clock.h"
#include "daemon/logfile.h"

enum log_level lines_level(const char *text, size_t len)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = {
		{ "debug", LOG_LEVEL_DEBUG }, { "info", LOG_LEVEL_INFO },   { "warn", LOG_LEVEL_WARN },
		{ "err", LOG_LEVEL_ERROR },   { "fatal", LOG_LEVEL_ERROR }, { "panic", LOG_LEVEL_ERROR },
	};
	static const char key[] = "level=";
	const char *at =
		memmem(text, len < 128 ? len : 128, key, sizeof(key) - 1); /* behind the time; not in a message */
	size_t left;

	if (!at)
		return LOG_LEVEL_INFO;
	at += sizeof(key) - 1;
	left = len - (size_t)(at - text);
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		size_t n = strlen(levels[i].name);

		if (n <= left && memcmp(at, levels[i].name, n) == 0)
			return levels[i].level;
	}
	return LOG_LEVEL_INFO;
}

void lines_take(struct lines *l, const char *text, size_t len)
{
	enum log_level level = lines_level(text, len);

	ring_add(&l->ring, text, len);
	if (l->news)
		l->news(l->ctx);
	if (level < l->settings->log.level)
		return;
	if (!policy_rate(&l->rate, l->settings->log.rate, clock_ms())) {
		l->dropped++;
		return;
	}
	if (l->file && logfile_wanted(l->file))
		logfile_put(l->file, text, len);
	else
		log_pass(level, text, len);
}

void lines_tick(struct lines *l)
{
	if (!l->dropped)
		return;
	log_warn(LOG_CLASH, "%" PRIu64 " lines of Mihomo dropped: more than %u a second (see [log] rate)", l->dropped,
		 l->settings->log.rate);
	l->dropped = 0;
}

void lines_init(struct lines *l, const struct settings *settings, void (*news)(void *ctx), void *ctx)
{
	*l = (struct lines){ .settings = settings, .news = news, .ctx = ctx };
	ring_init(&l->ring, LINES_KEPT, LINES_BYTES);
}

void lines_free(struct lines *l)
{
	lines_tick(l);
	ring_free(&l->ring);
}
