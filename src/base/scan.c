#include "clashsup/scan.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

/* Reads digits up to `end`; at least one is demanded. */
static int scan_digits(const char *text, const char *end, unsigned base, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (text == end)
		return -EINVAL;
	for (; text < end; text++) {
		unsigned digit = (unsigned)digit_value(*text);

		if (digit >= base)
			return -EINVAL;
		if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value) ||
		    value > max)
			return -ERANGE;
	}
	*out = value;
	return 0;
}

int scan_u64(const char *text, uint64_t max, uint64_t *out)
{
	const char *end = text + strlen(text);

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		return scan_digits(text + 2, end, 16, max, out);
	return scan_digits(text, end, 10, max, out);
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* "NUMBERunit": the units are tried in order, so "ms" stands before "s". */
static int scan_with_unit(const char *text, const struct unit *units, size_t n_units, uint64_t max, uint64_t *out)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < n_units; i++) {
		size_t unit_len = strlen(units[i].name);
		uint64_t value;
		int r;

		if (unit_len > len || strcmp(text + len - unit_len, units[i].name) != 0)
			continue;
		r = scan_digits(text, text + len - unit_len, 10, max / units[i].factor, &value);
		if (r == 0)
			*out = value * units[i].factor;
		return r;
	}
	return -EINVAL;
}

int scan_duration(const char *text, int64_t *ms_out)
{
	static const struct unit units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60 * 1000 }, { "h", 3600 * 1000 } };
	uint64_t ms;
	int r = scan_with_unit(text, units, sizeof(units) / sizeof(units[0]), INT64_MAX / 2, &ms);

	if (r == 0)
		*ms_out = (int64_t)ms;
	return r;
}

int scan_size(const char *text, uint64_t max, uint64_t *out)
{
	static const struct unit units[] = { { "K", 1 << 10 }, { "M", 1 << 20 }, { "G", 1 << 30 }, { "", 1 } };

	return scan_with_unit(text, units, sizeof(units) / sizeof(units[0]), max, out);
}

bool scan_yaml_name(const char *name)
{
	const char *dot = strrchr(name, '.');

	return name[0] != '.' && dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

int scan_signal(const char *text)
{
	const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
	uint64_t number;

	if (strncasecmp(name, "RTMIN+", 6) == 0)
		return scan_u64(name + 6, (uint64_t)(SIGRTMAX - SIGRTMIN), &number) == 0 ? SIGRTMIN + (int)number
											 : -EINVAL;
	for (int sig = 1; sig < NSIG; sig++) {
		const char *known = sigabbrev_np(sig);

		if (known && strcasecmp(name, known) == 0)
			return sig;
	}
	return scan_u64(text, (uint64_t)SIGRTMAX, &number) == 0 && number > 0 ? (int)number : -EINVAL;
}

int scan_bool(const char *text, bool *out)
{
	static const struct {
		const char *name;
		bool value;
	} words[] = { { "yes", true }, { "true", true },   { "on", true },
		      { "no", false }, { "false", false }, { "off", false } };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(text, words[i].name) == 0) {
			*out = words[i].value;
			return 0;
		}
	}
	return -EINVAL;
}
