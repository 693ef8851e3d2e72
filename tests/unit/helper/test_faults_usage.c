/* Asking the API without memory, libcurl's and cJSON's own too: an error or less knowledge, never a crash. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <curl/curl.h>

#include "clashsup/wire.h"
#include "failing.h"
#include "helper/usage.h"

/* To all questions alike: what an answer does not hold is absent. */
#define BODY                                                                                                           \
	"{\"proxies\":[{\"name\":\"G\",\"type\":\"Selector\",\"now\":\"a\"},{\"name\":\"a\",\"type\":\"Vless\"}],"     \
	"\"connections\":[{\"chains\":[\"b\"]}]}"

static char path[64];
static pid_t server;

static void serve(int listener)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" BODY;
	char question[4096];

	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd >= 0 && read(fd, question, sizeof(question)) > 0)
			(void)!send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
		close(fd);
	}
}

static void *our_malloc(size_t size)
{
	return malloc(size);
}

static void *our_realloc(void *p, size_t size)
{
	return realloc(p, size);
}

static void *our_calloc(size_t n, size_t size)
{
	return calloc(n, size);
}

static char *our_strdup(const char *s)
{
	return strdup(s);
}

static int start(void **state)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	cJSON_Hooks hooks = { .malloc_fn = our_malloc, .free_fn = free };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)state;

	snprintf(path, sizeof(path), "/tmp/test_faults_usage.%d", getpid());
	memcpy(at.sun_path, path, sizeof(path));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(listener, 128) < 0)
		return -1;
	server = fork();
	if (server == 0)
		serve(listener);
	close(listener);
	cJSON_InitHooks(&hooks);
	return server > 0 && curl_global_init_mem(CURL_GLOBAL_NOTHING, our_malloc, free, our_realloc, our_strdup,
						  our_calloc) == CURLE_OK
		       ? 0
		       : -1;
}

static int stop(void **state)
{
	(void)state;
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	unlink(path);
	curl_global_cleanup();
	return 0;
}

static void without_memory_less_is_known(void **state)
{
	bool failed = true;
	int refused = 0;
	long n;
	(void)state;

	for (n = 0; failed; n++) {
		struct err e = ERR_INIT;
		struct usage *u = NULL;
		int r;

		fail_allocation(n);
		r = usage_load(path, USAGE_WAIT_MS, &u, &e);
		failed = allocations_work();
		assert_true(r == 0 || (failed && r == -ENOMEM));
		assert_true((r == 0) == (u != NULL));
		refused += r < 0;
		if (!failed) {
			assert_int_equal(usage_rank(u, wire_hash("a")), USAGE_NOW);
			assert_int_equal(usage_rank(u, wire_hash("b")), USAGE_NOW);
			assert_int_equal(usage_rank(u, wire_hash("c")), USAGE_REST);
		}
		usage_free(u);
	}
	assert_true(n > 100); /* libcurl's own are among them */
	assert_true(refused > 5);
	assert_int_equal(usage_rank(NULL, 1), USAGE_REST);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(without_memory_less_is_known) };

	return cmocka_run_group_tests(tests, start, stop);
}
