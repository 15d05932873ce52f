"""Who ranks the folds that fit a finding. Read by settings, which must not load what ranks (numpy)."""

import enum


class How(enum.StrEnum):
    """Who ranks."""

    RULES = "rules"
    BANDIT = "bandit"
