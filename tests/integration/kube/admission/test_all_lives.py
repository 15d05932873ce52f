"""All that the operator's own tests ask of it, once more with the policies: crashes, replicas, orphans, people."""

from tests.integration.kube.operator import test_deaths, test_kinds, test_lives

SHARED = (test_deaths, test_kinds, test_lives)

for module in SHARED:
    globals().update({name: test for name, test in vars(module).items() if name.startswith("test_")})
