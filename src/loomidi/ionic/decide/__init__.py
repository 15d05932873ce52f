"""From a finding to an approved plan, or a refusal with its reason. Never imports `ionic.act`."""
