#include "parse/settings_lists.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clashsup/io.h"
#include "parse/list.h"

static struct list_into values_of(struct selection *s, enum settings_list which)
{
	switch (which) {
	case LIST_LAN_IFACES:
		return (struct list_into){ .ifaces = &s->lan_ifaces };
	case LIST_PROXY_CIDRS:
		return (struct list_into){ .nets = &s->want };
	case LIST_INCLUDE_SRC:
		return (struct list_into){ .nets = &s->only_src, .macs = &s->only_mac };
	case LIST_EXCLUDE_SRC:
		return (struct list_into){ .nets = &s->skip_src, .macs = &s->skip_mac };
	case LIST_EXCLUDE_IFACES:
		return (struct list_into){ .ifaces = &s->skip_ifaces };
	case LIST_EXCLUDE_IPS:
		return (struct list_into){ .nets = &s->skip_dst };
	case LIST_EXCLUDE_PORTS:
	case SETTINGS_LISTS:
		break;
	}
	return (struct list_into){ .ports = &s->skip_ports };
}

static bool empty_means_all(enum settings_list which)
{
	return which == LIST_LAN_IFACES || which == LIST_PROXY_CIDRS || which == LIST_INCLUDE_SRC;
}

/* One list being read. */
struct run {
	enum settings_list which;
	struct list_into into;
	const char *file; /* NULL: the value itself */
	unsigned bad;
	bool over; /* no memory, or no room: nothing more can be said */
	list_problem_fn problem;
	void *ctx;
};

static void tell(struct run *r, unsigned line, const char *sentence)
{
	if (r->bad++ < LIST_TOLD_MAX && r->problem)
		r->problem(r->ctx, r->file, line, sentence);
}

static bool is_word(const struct list_item *item, const char *word)
{
	return item->len == strlen(word) && memcmp(item->text, word, item->len) == 0;
}

static int add_item(struct run *r, const struct list_item *item, struct err *e)
{
	if (r->into.ifaces && is_word(item, "*"))
		return list_refuse(e, item,
				   r->which == LIST_LAN_IFACES ? "would be every interface: write lan_ifaces = all"
							       : "would be every interface: write mode = mixed");
	if (r->which == LIST_LAN_IFACES && is_word(item, "all"))
		return list_refuse(e, item, "stands alone or not at all");
	if (item->text[0] == '@')
		return list_refuse(e, item, "in a list's file: such a file cannot name another one");
	return list_add(&r->into, item, e);
}

/* The bytes of a list's file, to be freed on failure too. The error is a whole sentence, and none of EINVAL. */
static int read_list_file(const char *path, char **bytes, size_t *len, struct err *e)
{
	struct err why = ERR_INIT;
	int r;

	if (path[0] != '/')
		return err_set(e, ENOENT, "a list's file is named by an absolute path: @/etc/list.txt");
	r = io_slurp_path(path, SETTINGS_LIST_MAX, bytes, len, &why);
	if (r == -ENOMEM)
		return err_set(e, ENOMEM, "not enough memory");
	if (r < 0)
		return err_set(e, EIO, "cannot read %.240s; make it readable, or take it out of the list", why.msg);
	if (memchr(*bytes, '\0', *len)) {
		return err_set(e, EIO, "%.200s: a NUL byte: this is not a text file in UTF-8", path);
	}
	return 0;
}

static void read_items(struct run *r, struct list_reader *from);

static void read_file_items(struct run *r, const struct list_item *name)
{
	cleanup_free char *bytes = NULL, *path = strndup(name->text + 1, name->len - 1);
	struct list_reader reader;
	struct err e = ERR_INIT;
	size_t len = 0;

	if (!path)
		err_set(&e, ENOMEM, "not enough memory");
	else
		read_list_file(path, &bytes, &len, &e);
	if (e.code) {
		r->over = e.code == ENOMEM;
		tell(r, name->line, e.msg);
		return;
	}
	r->file = path;
	reader = list_file(bytes, len);
	read_items(r, &reader);
	r->file = NULL;
}

static void read_items(struct run *r, struct list_reader *from)
{
	struct list_item item;

	while (!r->over && list_next(from, &item)) {
		struct err e = ERR_INIT;

		if (item.text[0] == '@' && !r->file) {
			read_file_items(r, &item);
		} else if (add_item(r, &item, &e) < 0) {
			r->over = e.code != EINVAL;
			tell(r, item.line, e.msg);
		}
	}
}

static void tell_the_end(struct run *r, const char *text)
{
	char sentence[64];

	if (r->bad > LIST_TOLD_MAX && r->problem) {
		snprintf(sentence, sizeof(sentence), "%u more items are no good", r->bad - LIST_TOLD_MAX);
		r->problem(r->ctx, NULL, 0, sentence);
	}
	if (!r->bad && text[0] && list_count(&r->into) == 0 && empty_means_all(r->which))
		tell(r, 0, "there is no item in it, which would mean everything; leave the key out for that");
}

int settings_list_store(enum settings_list which, const char *text, struct settings *s, list_problem_fn problem,
			void *ctx)
{
	struct run r = { which, values_of(&s->tproxy.selection, which), NULL, 0, false, problem, ctx };
	struct list_reader reader = list_value(text);
	char **copy = &s->tproxy.list_text[which];

	list_free(&r.into);
	free(*copy);
	*copy = NULL;
	if (text[0] == '\0' || (which == LIST_LAN_IFACES && strcmp(text, "all") == 0))
		return 0;
	read_items(&r, &reader);
	tell_the_end(&r, text);
	*copy = r.bad ? NULL : strdup(text);
	if (!r.bad && !*copy)
		tell(&r, 0, "not enough memory");
	if (!r.bad)
		return 0;
	list_free(&r.into);
	return -EINVAL;
}

static bool same_bytes(const void *a, const void *b, size_t n, size_t other, size_t size)
{
	return n == other && (n == 0 || memcmp(a, b, n * size) == 0);
}

/* Elements are plain bytes without padding, as list_add fills them. */
static bool same_values(const struct list_into *a, const struct list_into *b)
{
	if (a->nets && !same_bytes(a->nets->nets, b->nets->nets, a->nets->n, b->nets->n, sizeof(*a->nets->nets)))
		return false;
	if (a->macs && !same_bytes(a->macs->macs, b->macs->macs, a->macs->n, b->macs->n, sizeof(*a->macs->macs)))
		return false;
	if (a->ports &&
	    !same_bytes(a->ports->ranges, b->ports->ranges, a->ports->n, b->ports->n, sizeof(*a->ports->ranges)))
		return false;
	return !a->ifaces ||
	       same_bytes(a->ifaces->ifaces, b->ifaces->ifaces, a->ifaces->n, b->ifaces->n, sizeof(*a->ifaces->ifaces));
}

bool settings_list_same(enum settings_list which, const struct settings *a, const struct settings *b)
{
	struct selection one = a->tproxy.selection, two = b->tproxy.selection;
	const struct list_into from = values_of(&one, which), with = values_of(&two, which);

	return same_values(&from, &with);
}

/* ---- arguments and environment of Mihomo ---- */

static void free_args(char **args)
{
	for (size_t i = 0; i < SETTINGS_ARGS_MAX; i++) {
		free(args[i]);
		args[i] = NULL;
	}
}

static int add_arg(char **args, size_t *n, const char *text, size_t len, struct err *e)
{
	if (*n == SETTINGS_ARGS_MAX)
		return err_set(e, EINVAL, "at most %d arguments", SETTINGS_ARGS_MAX);
	args[*n] = strndup(text, len);
	if (!args[*n])
		return err_set(e, ENOMEM, "not enough memory");
	(*n)++;
	return 0;
}

static int add_line_args(char **args, const char *path, struct err *e)
{
	cleanup_free char *bytes = NULL;
	char *rest, *line;
	size_t len, n = 0;
	int r = read_list_file(path, &bytes, &len, e);

	rest = bytes;
	while (r == 0 && (line = strsep(&rest, "\n"))) {
		line += strspn(line, " \t\r");
		for (len = strlen(line); len && strchr(" \t\r", line[len - 1]);)
			len--;
		if (len && line[0] != '#' && line[0] != ';')
			r = add_arg(args, &n, line, len, e);
	}
	return r;
}

static int add_items_args(char **args, const char *text, struct err *e)
{
	struct list_reader reader = list_value(text);
	struct list_item item;
	size_t n = 0;
	int r = 0;

	while (r == 0 && list_next(&reader, &item))
		r = item.text[0] == '@' ? err_set(e, EINVAL, "arguments, or one @FILE alone with an argument a line")
					: add_arg(args, &n, item.text, item.len, e);
	return r;
}

/* A name ends at the first '='; one that begins with a digit or has odd letters no shell could use. */
static int judge_env(char *const *items, struct err *e)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";

	for (; *items; items++) {
		size_t len = strspn(*items, letters);

		if (len == 0 || (*items)[len] != '=' || ((*items)[0] >= '0' && (*items)[0] <= '9'))
			return err_set(
				e, EINVAL,
				"NAME=VALUE, and again; or one @FILE alone with one a line, where values may have "
				"blanks and commas");
	}
	return 0;
}

/* Replaces an owned list and its text; `judge` may be NULL. */
static int store_args(char **list, char **list_text, const char *text, int (*judge)(char *const *, struct err *),
		      struct err *e)
{
	char *args[SETTINGS_ARGS_MAX + 1] = { NULL }, *copy = text[0] ? strdup(text) : NULL;
	int r;

	if (text[0] && !copy)
		r = err_set(e, ENOMEM, "not enough memory");
	else if (text[0] == '@')
		r = add_line_args(args, text + 1, e);
	else
		r = add_items_args(args, text, e);
	if (r == 0 && judge)
		r = judge(args, e);
	if (r < 0) {
		free_args(args);
		free(copy);
		return r;
	}
	free_args(list);
	free(*list_text);
	memcpy(list, args, sizeof(args));
	*list_text = copy;
	return 0;
}

int settings_args_store(const char *text, struct settings *s, struct err *e)
{
	return store_args(s->mihomo.args, &s->mihomo.args_text, text, NULL, e);
}

int settings_env_store(const char *text, struct settings *s, struct err *e)
{
	return store_args(s->mihomo.env, &s->mihomo.env_text, text, judge_env, e);
}

bool settings_args_same(char *const *a, char *const *b)
{
	while (*a && *b && strcmp(*a, *b) == 0) {
		a++;
		b++;
	}
	return !*a && !*b;
}

void settings_lists_free(struct settings *s)
{
	for (int which = 0; which < SETTINGS_LISTS; which++) {
		struct list_into into = values_of(&s->tproxy.selection, (enum settings_list)which);

		list_free(&into);
		free(s->tproxy.list_text[which]);
	}
	free_args(s->mihomo.args);
	free(s->mihomo.args_text);
	free_args(s->mihomo.env);
	free(s->mihomo.env_text);
}
