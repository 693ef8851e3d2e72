#include "daemon/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "clashsup/io.h"
#include "clashsup/log.h"
#include "clashsup/mihomo_words.h"
#include "clashsup/scan.h"
#include "daemon/mihomo.h"

#define CONFIG_MAX (64u << 20)

/* Records that inspect may send; 64 lines for the log. */
static const uint32_t inspect_caps[WIRE_TYPES] = { [WIRE_SETTING] = 1024, [WIRE_SUMMARY] = 1, [WIRE_NOTE] = 64 };

struct check {
	const struct check_setup *setup;
	check_done_fn done;
	void *ctx;
	struct helper *helper;
	struct job *job;
	char copy[PATH_MAX], final[PATH_MAX];
	int copy_fd; /* from the copying to the appended line */

	/* of the present run */
	struct config_facts facts;
	bool whole;	   /* inspect came to its end */
	bool has_listener; /* the config opens a TPROXY port by itself */
	bool may_append;
	char why_not[WIRE_TEXT_MAX + 1]; /* no line can be appended: the reason */
	char refusal[320];		 /* "" = none */
	char note[WIRE_TEXT_MAX + 1];	 /* the last warning of inspect */
};

void config_facts_free(struct config_facts *f)
{
	for (size_t i = 0; i < f->n_watch; i++)
		free(f->watch[i]);
	memset(f, 0, sizeof(*f));
}

static void finish(struct check *c, const char *why)
{
	io_close(&c->copy_fd);
	c->done(c->ctx, *why ? NULL : &c->facts, why);
}

/* ---- copy ---- */

/*
 * The directory is Mihomo's own: nothing there is opened by name twice, so that
 * what is written to is what was made here.
 */
static int copy_config(struct check *c, struct err *e)
{
	cleanup_free char *bytes = NULL;
	size_t len;
	int r = io_slurp_path(c->setup->config, CONFIG_MAX, &bytes, &len, e);

	if (r < 0)
		return r;
	if (len == 0)
		return err_set(e, EINVAL, "%s is empty", c->setup->config);
	unlink(c->copy);
	c->copy_fd = open(c->copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->copy_fd < 0)
		return err_sys(e, errno, "cannot make %s", c->copy);
	if (fchown(c->copy_fd, c->setup->ids.uid, (gid_t)-1) < 0)
		return err_sys(e, errno, "cannot give %s to Mihomo's user", c->copy);
	r = io_write_all(c->copy_fd, bytes, len);
	return r < 0 ? err_sys(e, -r, "cannot write %s", c->copy) : 0;
}

#define LISTENER "\nlisteners: [{name: clashsup, type: tproxy, port: "

/* One appended line adds the listener: it works with allow-lan false, for both families, over every kind of reload. */
static int append_listener(const struct check *c, struct err *e)
{
	const char *listen = access("/proc/net/if_inet6", F_OK) == 0 ? "::" : "0.0.0.0";
	char line[160];
	int n = snprintf(line, sizeof(line), LISTENER "%u, listen: \"%s\", udp: true}]\n", c->facts.port, listen);
	int r = io_write_all(c->copy_fd, line, (size_t)n);

	return r < 0 ? err_sys(e, -r, "cannot write %s", c->copy) : 0;
}

/* ---- mihomo -t ---- */

static bool same_bytes(const char *a, const char *b)
{
	cleanup_free char *x = NULL, *y = NULL;
	size_t x_len, y_len;

	return io_slurp_path(a, CONFIG_MAX, &x, &x_len, NULL) == 0 &&
	       io_slurp_path(b, CONFIG_MAX, &y, &y_len, NULL) == 0 && x_len == y_len && memcmp(x, y, x_len) == 0;
}

/* The copy is the user's file, perhaps with our line behind it. */
bool check_differs(const struct check *c)
{
	cleanup_free char *file = NULL, *copy = NULL;
	size_t len, copy_len;

	if (io_slurp_path(c->setup->config, CONFIG_MAX, &file, &len, NULL) < 0 ||
	    io_slurp_path(c->final, CONFIG_MAX, &copy, &copy_len, NULL) < 0 || copy_len < len ||
	    memcmp(file, copy, len) != 0)
		return true;
	return copy_len > len && strncmp(copy + len, LISTENER, sizeof(LISTENER) - 1) != 0;
}

/* The directory is Mihomo's: only the very file that was made here is given away. */
int check_give(const struct check *c, uid_t from, uid_t to, struct err *e)
{
	cleanup_fd int fd = open(c->final, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, errno, "cannot give %s to Mihomo's user", c->final);
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_uid != from)
		return err_set(e, EPERM, "%s is not the file that was made there", c->final);
	return fchown(fd, to, (gid_t)-1) < 0 ? err_sys(e, errno, "cannot give %s to Mihomo's user", c->final) : 0;
}

static void on_tested(void *ctx, const struct job_result *result)
{
	struct check *c = ctx;
	const char *config = c->setup->config, *home = c->setup->home;
	char text[200], why[512] = "";

	c->job = NULL;
	if (job_ok(result)) {
		c->facts.unchanged = same_bytes(c->copy, c->final);
		if (rename(c->copy, c->final) < 0)
			snprintf(why, sizeof(why), "cannot put the checked copy in force: %s", strerror(errno));
	} else if (result->timed_out && mihomo_downloads(result->output, config, home, why, sizeof(why))) {
		/* it has said why */
	} else if (result->status == -1 || result->timed_out || !result->output_len) {
		snprintf(why, sizeof(why), "mihomo -t: %s", job_why(result, text, sizeof(text)));
	} else {
		mihomo_complaint(result->output, config, home, why, sizeof(why));
	}
	finish(c, why);
}

static void test_copy(struct check *c)
{
	const char *const argv[] = {
		c->setup->settings->mihomo.binary, "-t", "-d", c->setup->home, "-f", c->copy, NULL
	};
	cleanup_free char **env = mihomo_environment(c->setup->settings);
	struct job_spec spec = { .argv = argv,
				 .envp = (const char *const *)env,
				 .deadline_ms = CHECK_DEADLINE_MS,
				 .in_child = sandbox_mihomo,
				 .arg = &c->setup->ids };
	struct err e = ERR_INIT;

	if (job_start(&c->job, c->setup->reaper, &spec, on_tested, c, &e) < 0) {
		c->job = NULL;
		err_prefix(&e, "cannot test the config");
		finish(c, e.msg);
	}
}

/* ---- inspect ---- */

static void refuse(struct check *c, const char *line, const char *sentence)
{
	if (c->setup->settings->tproxy.mode == MODE_TPROXY && !c->refusal[0])
		snprintf(c->refusal, sizeof(c->refusal), "%.100s:%.10s: %s", c->setup->config, line, sentence);
}

static void take_mark(struct check *c, const char *value)
{
	struct config_facts *f = &c->facts;
	char mark[24], sentence[160];
	const char *line = strchr(value, ' ');
	uint64_t number;

	if (!line || (size_t)(line - value) >= sizeof(mark))
		return;
	memcpy(mark, value, (size_t)(line - value));
	mark[line - value] = '\0';
	if (scan_u64(mark, UINT32_MAX, &number) < 0)
		return;
	snprintf(sentence, sizeof(sentence),
		 "routing-mark %s is the mark of our own rules: choose another, or set [tproxy] mark", mark);
	if (number == c->setup->settings->tproxy.mark)
		refuse(c, line + 1, sentence);
	for (size_t i = 0; i < f->n_marks; i++) {
		if (f->marks[i] == number)
			return;
	}
	if (number && f->n_marks < CHECK_MARKS)
		f->marks[f->n_marks++] = (uint32_t)number;
}

/* "PORT ..." of tproxy-port or of a tproxy listener; the first one counts. */
static void take_port(struct check *c, const char *value)
{
	char digits[8] = "";
	uint64_t port;

	snprintf(digits, sizeof(digits), "%.*s", (int)strcspn(value, " "), value);
	if (c->has_listener || scan_u64(digits, UINT16_MAX, &port) < 0 || port == 0)
		return;
	c->has_listener = true;
	c->facts.port = (uint16_t)port;
}

/* ":1053", "0.0.0.0:1053", "[::]:1053": only on a wildcard address can a redirected query be answered. */
static void take_dns_listen(struct config_facts *f, const char *value)
{
	static const char *const wildcards[] = { "", "0.0.0.0", "[::]", "::", "*" };
	const char *colon = strrchr(value, ':');
	uint64_t port;

	if (!colon || scan_u64(colon + 1, UINT16_MAX, &port) < 0)
		return;
	for (size_t i = 0; i < sizeof(wildcards) / sizeof(wildcards[0]); i++) {
		if (strlen(wildcards[i]) == (size_t)(colon - value) &&
		    memcmp(wildcards[i], value, (size_t)(colon - value)) == 0)
			f->dns_port = (uint16_t)port;
	}
}

static void take_setting(struct check *c, enum wire_setting key, const char *value)
{
	struct config_facts *f = &c->facts;

	switch (key) {
	case WIRE_SET_TPROXY_PORT:
	case WIRE_SET_TPROXY_LISTENER:
		take_port(c, value);
		break;
	case WIRE_SET_ROUTING_MARK:
		take_mark(c, value);
		break;
	case WIRE_SET_IPTABLES:
		refuse(c, value, "iptables.enable is true: set it to false, clashsup makes the rules");
		break;
	case WIRE_SET_TUN:
		refuse(c, value, "tun.enable is true: set it to false, or run clashsup with [tproxy] mode = mixed");
		break;
	case WIRE_SET_FAKE_IP:
		if (f->n_fake < CHECK_FAKE_NETS && addr_net_parse(value, &f->fake[f->n_fake]) == 0)
			f->n_fake++;
		break;
	case WIRE_SET_DNS_LISTEN:
		take_dns_listen(f, value);
		break;
	case WIRE_SET_DNS_FALLBACK:
		if (f->n_resolvers < CHECK_RESOLVERS && addr_parse(value, &f->resolver[f->n_resolvers]) == 0)
			f->n_resolvers++;
		break;
	case WIRE_SET_WATCH:
		if (f->n_watch == CHECK_WATCHES)
			snprintf(f->warning, sizeof(f->warning),
				 "more than %d provider files: changes of the others are seen each [extract] interval "
				 "only",
				 CHECK_WATCHES);
		else if ((f->watch[f->n_watch] = strdup(value)))
			f->n_watch++;
		break;
	case WIRE_SET_APPEND:
		c->may_append = strcmp(value, "yes") == 0;
		snprintf(c->why_not, sizeof(c->why_not), "%s", value);
		break;
	case WIRE_SET_ALLOW_LAN:
	case WIRE_SET_BIND_ADDRESS:
	case WIRE_SET_IPV6:
	case WIRE_SET_CONTROLLER_UNIX:
	case WIRE_SET_RESOLVER:
	case WIRE_SETTINGS:
		break;
	}
}

static void on_record(void *ctx, const struct wire_record *r)
{
	struct check *c = ctx;

	if (r->type == WIRE_SETTING)
		take_setting(c, r->u.setting.key, r->u.setting.value);
	else if (r->type == WIRE_SUMMARY)
		c->whole = true;
	else if (r->type == WIRE_NOTE)
		snprintf(c->note, sizeof(c->note), "%s", r->u.note.text);
}

static void listener_or_patch(struct check *c)
{
	struct err e = ERR_INIT;

	if (c->has_listener || c->setup->settings->tproxy.mode != MODE_TPROXY)
		return;
	if (c->may_append && append_listener(c, &e) == 0)
		return;
	c->facts.patch_port = true;
	snprintf(c->facts.warning, sizeof(c->facts.warning),
		 "the config has no tproxy-port and no listener could be added (%.120s): asking Mihomo's API for it",
		 e.code		 ? e.msg
		 : c->why_not[0] ? c->why_not
				 : "it could not be inspected");
}

static void on_inspected(void *ctx, enum helper_end end, const char *why)
{
	struct check *c = ctx;

	c->helper = NULL;
	if (end != HELPER_OK || !c->whole) {
		/* A fault in the YAML is Mihomo's to name, with its line; anything else must not keep it from starting.
		 */
		log_warn(LOG_CLASH, "cannot inspect %s (%s%s%s): going on with defaults", c->setup->config, why,
			 c->note[0] ? ", " : "", c->note);
		c->may_append = false;
	}
	if (c->refusal[0]) {
		finish(c, c->refusal);
		return;
	}
	listener_or_patch(c);
	io_close(&c->copy_fd);
	test_copy(c);
}

/* ---- the run ---- */

void check_cancel(struct check *c)
{
	helper_abandon(c->helper);
	job_abandon(c->job);
	c->helper = NULL;
	c->job = NULL;
	io_close(&c->copy_fd);
}

static void reset(struct check *c)
{
	config_facts_free(&c->facts);
	c->facts.port = c->setup->settings->tproxy.port;
	c->whole = c->has_listener = c->may_append = false;
	c->why_not[0] = c->refusal[0] = c->note[0] = '\0';
}

void check_start(struct check *c)
{
	static const struct helper_ops ops = { on_record, on_inspected };
	const struct check_setup *s = c->setup;
	const char *const args[] = { c->copy, s->home, NULL };
	struct helper_spec spec = { .role = "inspect",
				    .args = args,
				    .exec_fd = s->helper_fd,
				    .path = s->helper_path,
				    .ids = s->ids,
				    .caps = inspect_caps,
				    .deadline_ms = CHECK_INSPECT_MS };
	struct err e = ERR_INIT;

	check_cancel(c);
	reset(c);
	if (copy_config(c, &e) < 0) {
		finish(c, e.msg);
		return;
	}
	if (helper_start(&c->helper, s->reaper, &spec, &ops, c, &e) < 0) {
		c->helper = NULL;
		on_inspected(c, HELPER_FAILED, e.msg);
	}
}

int check_new(struct check **out, const struct check_setup *setup, check_done_fn done, void *ctx, struct err *e)
{
	struct check *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_set(e, ENOMEM, "out of memory");
	c->setup = setup;
	c->copy_fd = -1;
	c->done = done;
	c->ctx = ctx;
	r = io_path(c->copy, sizeof(c->copy), e, "%s/config.yaml.new", setup->run_dir);
	if (r == 0)
		r = io_path(c->final, sizeof(c->final), e, "%s/config.yaml", setup->run_dir);
	if (r < 0) {
		free(c);
		return r;
	}
	*out = c;
	return 0;
}

void check_free(struct check *c)
{
	if (!c)
		return;
	check_cancel(c);
	config_facts_free(&c->facts);
	free(c);
}
