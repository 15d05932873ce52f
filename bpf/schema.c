/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The fields of a flow as an Arrow schema. Called by export.c. The consumer releases it. */
#include <errno.h>
#include <stdlib.h>

#include "fields.h"
#include "meter.h"

static void lm_schema_release(struct ArrowSchema *s)
{
	for (int64_t i = 0; i < s->n_children; i++) {
		if (s->children[i]->release)
			s->children[i]->release(s->children[i]);
		free(s->children[i]);
	}
	free(s->children);
	s->release = NULL;
}

static int lm_schema_init(struct ArrowSchema *s, const char *format, const char *name, int nullable, size_t children)
{
	*s = (struct ArrowSchema){.format = format, .name = name, .flags = nullable ? ARROW_FLAG_NULLABLE : 0};
	s->release = lm_schema_release;
	if (!children)
		return 0;
	s->children = calloc(children, sizeof(struct ArrowSchema *));
	for (size_t i = 0; s->children && i < children; i++) {
		s->children[i] = calloc(1, sizeof(struct ArrowSchema));
		if (!s->children[i])
			return ENOMEM;
		s->n_children++;
	}
	return s->children ? 0 : ENOMEM;
}

int lm_columns_schema(struct ArrowSchema *out)
{
	int status = lm_schema_init(out, "+s", "", 0, LM_FIELDS);

	for (size_t i = 0; !status && i < LM_FIELDS; i++) {
		const struct lm_field *f = &lm_fields[i];

		status = lm_schema_init(out->children[i], f->format, f->name, f->nullable, f->item ? 1 : 0);
		if (!status && f->item)
			status = lm_schema_init(out->children[i]->children[0], f->item, "item", 0, 0);
	}
	if (status)
		out->release(out);
	return status;
}
