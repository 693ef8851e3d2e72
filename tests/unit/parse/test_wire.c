/* wire: what one side writes the other reads; anything else is refused. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "clashsup/wire.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const uint32_t many[WIRE_TYPES] = { 0, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000 };

static struct wire_record sample(enum wire_type type)
{
	struct wire_record r = { .type = type };

	switch (type) {
	case WIRE_SETTING:
		r.u.setting.key = WIRE_SET_WATCH;
		r.u.setting.value = "/etc/clash/proxies/b\xc3\xbc"
				    "cher.yaml";
		break;
	case WIRE_ADDRESS:
		assert_int_equal(addr_parse("2001:db8::7", &r.u.address.addr), 0);
		r.u.address.source = 0xfffefdfc;
		r.u.address.host = 7;
		r.u.address.ttl_s = 3600;
		break;
	case WIRE_UNRESOLVED:
		r.u.unresolved.source = 1;
		r.u.unresolved.host = 0x80000000;
		break;
	case WIRE_FRESH:
		r.u.fresh.source = 0x01020304;
		r.u.fresh.host = 5;
		break;
	case WIRE_DIALLED:
		assert_int_equal(addr_parse("203.0.113.7", &r.u.dialled), 0);
		break;
	case WIRE_NAME:
		r.u.name.source = 3;
		r.u.name.proxy = 4;
		r.u.name.families = 2;
		r.u.name.group = 9;
		r.u.name.host = "n1.example";
		break;
	case WIRE_SOURCE:
		r.u.source.source = 9;
		r.u.source.complete = true;
		break;
	case WIRE_SUMMARY:
		r.u.summary = (struct wire_summary){ 1, 2, 3, 4, 5 };
		break;
	case WIRE_HEALTH:
		r.u.health = (struct wire_health){ true, 200, 123456 };
		break;
	case WIRE_NOTE:
		r.u.note.warn = true;
		r.u.note.text = "a note";
		break;
	case WIRE_TYPES:
		fail();
	}
	return r;
}

static void assert_same(const struct wire_record *a, const struct wire_record *b)
{
	uint8_t one[WIRE_HEADER + WIRE_PAYLOAD_MAX], two[WIRE_HEADER + WIRE_PAYLOAD_MAX];
	int len = wire_encode(a, one);

	assert_int_equal(a->type, b->type);
	assert_true(len > 0);
	assert_int_equal(wire_encode(b, two), len);
	assert_memory_equal(one, two, (size_t)len);
}

/* Decodes one record from bytes at once. */
static int decode(const uint8_t *bytes, size_t len, struct wire_in *in, struct wire_record *out)
{
	wire_in_init(in, many);
	return wire_next(in, &bytes, &len, out);
}

static void every_record_comes_out_as_it_went_in_however_the_bytes_are_split(void **state)
{
	(void)state;

	for (int type = 1; type < WIRE_TYPES; type++) {
		struct wire_record r = sample((enum wire_type)type), got;
		uint8_t buf[WIRE_HEADER + WIRE_PAYLOAD_MAX];
		int len = wire_encode(&r, buf);

		assert_true(len > WIRE_HEADER);
		for (size_t split = 0; split <= (size_t)len; split++) {
			struct wire_in in;
			const uint8_t *at = buf;
			size_t left = split;

			wire_in_init(&in, many);
			if (split < (size_t)len)
				assert_int_equal(wire_next(&in, &at, &left, &got), 0);
			left = (size_t)len - (size_t)(at - buf);
			assert_int_equal(wire_next(&in, &at, &left, &got), 1);
			assert_int_equal(left, 0);
			assert_same(&r, &got);
		}
	}
}

static void records_behind_each_other_are_taken_one_by_one(void **state)
{
	uint8_t buf[2][WIRE_HEADER + WIRE_PAYLOAD_MAX], both[2 * sizeof(buf[0])];
	struct wire_record a = sample(WIRE_SETTING), b = sample(WIRE_NOTE), got;
	size_t one = (size_t)wire_encode(&a, buf[0]), two = (size_t)wire_encode(&b, buf[1]);
	const uint8_t *at = both;
	size_t left = one + two;
	struct wire_in in;
	(void)state;

	memcpy(both, buf[0], one);
	memcpy(both + one, buf[1], two);
	wire_in_init(&in, many);
	assert_int_equal(wire_next(&in, &at, &left, &got), 1);
	assert_same(&a, &got);
	assert_int_equal(left, two);
	assert_int_equal(wire_next(&in, &at, &left, &got), 1);
	assert_same(&b, &got);
	assert_int_equal(wire_next(&in, &at, &left, &got), 0);
}

static void a_wrong_version_type_or_length_is_refused_before_the_payload_is_awaited(void **state)
{
	(void)state;

	for (int type = 1; type < WIRE_TYPES; type++) {
		struct wire_record r = sample((enum wire_type)type), got;
		uint8_t buf[WIRE_HEADER + WIRE_PAYLOAD_MAX];
		struct wire_in in;

		assert_true(wire_encode(&r, buf) > 0);
		buf[0] = WIRE_VERSION + 1;
		assert_int_equal(decode(buf, WIRE_HEADER, &in, &got), -EPROTO);
		buf[0] = WIRE_VERSION;
		for (int bad = 0; bad < 256; bad += bad ? 1 : WIRE_TYPES) {
			buf[1] = (uint8_t)bad;
			assert_int_equal(decode(buf, WIRE_HEADER, &in, &got), -EPROTO);
		}
	}
}

static void only_the_lengths_of_a_type_are_allowed(void **state)
{
	static const struct {
		enum wire_type type;
		uint8_t first; /* byte of the payload */
		unsigned good[2];
		bool range; /* all from good[0] to good[1], else these two */
	} rows[] = { { WIRE_SETTING, 1, { 1, 1 + WIRE_TEXT_MAX }, true },
		     { WIRE_ADDRESS, IP_V4, { 17, 17 }, false },
		     { WIRE_ADDRESS, IP_V6, { 29, 29 }, false },
		     { WIRE_ADDRESS, 2, { 0, 0 }, false },
		     { WIRE_UNRESOLVED, 1, { 8, 8 }, false },
		     { WIRE_FRESH, 1, { 8, 8 }, false },
		     { WIRE_NAME, 1, { 11, 10 + WIRE_TEXT_MAX }, true },
		     { WIRE_DIALLED, IP_V4, { 5, 5 }, false },
		     { WIRE_DIALLED, IP_V6, { 17, 17 }, false },
		     { WIRE_SOURCE, 1, { 5, 5 }, false },
		     { WIRE_SUMMARY, 1, { 20, 20 }, false },
		     { WIRE_HEALTH, 1, { 7, 7 }, false },
		     { WIRE_NOTE, 1, { 1, 1 + WIRE_TEXT_MAX }, true } };
	static uint8_t buf[WIRE_HEADER + 65535];
	struct wire_record got;
	struct wire_in in;
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		for (unsigned len = 1; len <= 65535; len += len < 2000 ? 1 : 977) {
			bool good = rows[i].range ? len >= rows[i].good[0] && len <= rows[i].good[1]
						  : len == rows[i].good[0] || len == rows[i].good[1];

			memset(buf, 0, sizeof(buf));
			buf[0] = WIRE_VERSION;
			buf[1] = (uint8_t)rows[i].type;
			buf[2] = (uint8_t)(len >> 8);
			buf[3] = (uint8_t)len;
			buf[4] = rows[i].first;
			assert_int_equal(decode(buf, WIRE_HEADER + len, &in, &got), good ? 1 : -EPROTO);
		}
	}
}

static void values_outside_their_range_are_refused_for_good(void **state)
{
	static const struct {
		enum wire_type type;
		unsigned at; /* byte of the payload */
		uint8_t value;
	} rows[] = { { WIRE_SETTING, 0, 0 },   { WIRE_SETTING, 0, WIRE_SETTINGS },
		     { WIRE_SETTING, 0, 255 }, { WIRE_SOURCE, 4, 2 },
		     { WIRE_HEALTH, 0, 255 },  { WIRE_NOTE, 0, 2 },
		     { WIRE_ADDRESS, 0, 7 } };
	(void)state;

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct wire_record r = sample(rows[i].type), got;
		uint8_t buf[WIRE_HEADER + WIRE_PAYLOAD_MAX];
		size_t len = (size_t)wire_encode(&r, buf);
		const uint8_t *at = buf;
		struct wire_in in;

		buf[WIRE_HEADER + rows[i].at] = rows[i].value;
		wire_in_init(&in, many);
		assert_int_equal(wire_next(&in, &at, &len, &got), -EPROTO);
		assert_true(wire_encode(&r, buf) > 0);
		at = buf;
		len = sizeof(buf);
		assert_int_equal(wire_next(&in, &at, &len, &got), -EPROTO);
	}
}

static void an_address_has_one_form_on_the_wire(void **state)
{
	struct wire_record r = sample(WIRE_ADDRESS), got;
	uint8_t buf[WIRE_HEADER + WIRE_PAYLOAD_MAX];
	struct wire_in in;
	int len;
	(void)state;

	memset(r.u.address.addr.bytes, 0, 10);
	memset(r.u.address.addr.bytes + 10, 0xff, 2); /* ::ffff:a.b.c.d */
	len = wire_encode(&r, buf);
	assert_int_equal(decode(buf, (size_t)len, &in, &got), -EPROTO);
}

static void one_record_more_than_its_cap_is_refused(void **state)
{
	uint32_t caps[WIRE_TYPES] = { 0 };
	(void)state;

	for (int type = 1; type < WIRE_TYPES; type++) {
		struct wire_record r = sample((enum wire_type)type), got;
		uint8_t buf[WIRE_HEADER + WIRE_PAYLOAD_MAX];
		size_t len = (size_t)wire_encode(&r, buf);
		struct wire_in in;

		for (uint32_t cap = 0; cap < 3; cap++) {
			caps[type] = cap;
			wire_in_init(&in, caps);
			for (uint32_t n = 0; n <= cap; n++) {
				const uint8_t *at = buf;
				size_t left = len;

				assert_int_equal(wire_next(&in, &at, &left, &got), n < cap ? 1 : -EPROTO);
			}
		}
		caps[type] = 0;
	}
}

static void controls_in_text_become_question_marks(void **state)
{
	struct wire_record r = sample(WIRE_NOTE), got;
	uint8_t buf[WIRE_HEADER + WIRE_PAYLOAD_MAX];
	struct wire_in in;
	int len;
	(void)state;

	r.u.note.text = "a\nb\x1b[2J\x7f \xc2\x9b"
			"c \xc3\xa9 \xe2\x82\xac \t.";
	len = wire_encode(&r, buf);
	assert_int_equal(decode(buf, (size_t)len, &in, &got), 1);
	assert_string_equal(got.u.note.text, "a?b?[2J? ??c \xc3\xa9 \xe2\x82\xac ?.");
	buf[WIRE_HEADER + 1] = 0; /* a NUL from outside */
	assert_int_equal(decode(buf, (size_t)len, &in, &got), 1);
	assert_int_equal(got.u.note.text[0], '?');
	assert_int_equal(strlen(got.u.note.text), (size_t)len - WIRE_HEADER - 1);
}

static void long_text_is_cut_between_two_characters(void **state)
{
	struct wire_record r = sample(WIRE_NOTE), got;
	uint8_t buf[WIRE_HEADER + WIRE_PAYLOAD_MAX];
	char text[2 * WIRE_TEXT_MAX];
	struct wire_in in;
	int len;
	(void)state;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	memcpy(text + WIRE_TEXT_MAX - 2, "\xe2\x82\xac", 3);
	r.u.note.text = text;
	len = wire_encode(&r, buf);
	assert_int_equal(decode(buf, (size_t)len, &in, &got), 1);
	assert_int_equal(strlen(got.u.note.text), WIRE_TEXT_MAX - 2);
}

static void a_record_is_sent_whole_through_a_pipe(void **state)
{
	struct wire_record r = sample(WIRE_ADDRESS), got;
	uint8_t buf[256];
	struct wire_in in;
	ssize_t n;
	int fds[2];
	(void)state;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(wire_send(fds[1], &r), 0);
	n = read(fds[0], buf, sizeof(buf));
	assert_true(n > 0);
	assert_int_equal(decode(buf, (size_t)n, &in, &got), 1);
	assert_same(&r, &got);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(wire_send(fds[1], &r), -EBADF);
	r.type = WIRE_TYPES;
	assert_int_equal(wire_encode(&r, (uint8_t[WIRE_HEADER + WIRE_PAYLOAD_MAX]){ 0 }), -EMSGSIZE);
}

static void hashes_are_fnv_1a_and_never_zero(void **state)
{
	(void)state;

	assert_int_equal(wire_hash(""), 0x811c9dc5); /* the offset basis */
	assert_int_equal(wire_hash("a"), 0xe40c292c);
	assert_int_equal(wire_hash("foobar"), 0xbf9cf968);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_record_comes_out_as_it_went_in_however_the_bytes_are_split),
		cmocka_unit_test(records_behind_each_other_are_taken_one_by_one),
		cmocka_unit_test(a_wrong_version_type_or_length_is_refused_before_the_payload_is_awaited),
		cmocka_unit_test(only_the_lengths_of_a_type_are_allowed),
		cmocka_unit_test(values_outside_their_range_are_refused_for_good),
		cmocka_unit_test(an_address_has_one_form_on_the_wire),
		cmocka_unit_test(one_record_more_than_its_cap_is_refused),
		cmocka_unit_test(controls_in_text_become_question_marks),
		cmocka_unit_test(long_text_is_cut_between_two_characters),
		cmocka_unit_test(a_record_is_sent_whole_through_a_pipe),
		cmocka_unit_test(hashes_are_fnv_1a_and_never_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
