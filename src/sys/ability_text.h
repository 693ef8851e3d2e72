/*
 * ability_text: what ability asks: the features that the plan is made of, as
 * text of each backend, and the sentence for each that is lacking. Pure.
 */
#ifndef SYS_ABILITY_TEXT_H
#define SYS_ABILITY_TEXT_H

#include <stddef.h>

#include "clashsup/choice.h"

#define ABILITY_TEXT_MAX 4096

/* What a text asks for: everything at once, no feature at all, or the feature of this number (0 and up). */
#define ABILITY_WHOLE (-2)
#define ABILITY_BASE (-1)

/* The number after the last feature. */
int ability_features(enum fw_backend b);

/* The flag of a feature, 0 for one that the backend cannot do without. */
unsigned ability_lack(enum fw_backend b, int feature);

/* Text for iptables-restore --noflush or nft -c -f -, without features of `skip`. Returns its length or -ENOSPC. */
int ability_text(enum fw_backend b, enum ip_family family, unsigned skip, int what, char buf[ABILITY_TEXT_MAX]);

/* Why a feature is lacking, given what the tool has printed: "the kernel has no TPROXY target (…)". */
void ability_feature_why(enum fw_backend b, int feature, const char *output, char why[ABILITY_WHY]);

/* A few words for it: "socket match". */
const char *ability_feature_name(enum fw_backend b, int feature);

#endif
