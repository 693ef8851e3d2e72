/* number: texts to numbers and back as Go's strconv does it, which Mihomo reads ports with. Pure. */
#ifndef FEED_NUMBER_H
#define FEED_NUMBER_H

#include <stdint.h>

/* ParseInt(text, 0, 64), '_' dropped wherever it stands: 0443 is 291, 0x1bb is 443. 0 or -EINVAL. */
int number_int(const char *text, int64_t *out);

/* Atoi(text): decimal whatever the digits are, with a sign perhaps. 0 or -EINVAL. */
int number_decimal(const char *text, int64_t *out);

#define NUMBER_TEXT_MAX 32

/* FormatFloat(f, 'E', -1, 64), which a number becomes where Mihomo wants text: 1.5 is "1.5E+00". */
const char *number_float_text(double f, char buf[NUMBER_TEXT_MAX]);

#endif
