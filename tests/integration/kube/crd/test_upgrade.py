"""Objects that were written under an older schema stay readable and can be changed under this one."""

import copy
import secrets
import string
import time
from collections.abc import Iterator

import pytest
import yaml

from loomidi_lab.cluster.api import ApiRefused, Object
from tests.integration.kube.crd.definitions import ALLOWED, DEFINITIONS, FOLDS, establish, fold, move, sample
from tests.integration.kube.crd.servers import Kube

LATER = ("undo", "verify", "policy")  # fields of the spec that the older schema does not have
SERVED_S = 30.0


class Upgrade:
    """A resource like Fold under a name of its own, on an API server that goes from an older schema to this one."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube
        self.name = "aged" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(6))
        self.path = FOLDS.replace("/folds", f"/{self.name}")
        self.current: Object = yaml.safe_load(next(path for path in DEFINITIONS if "folds" in path.name).read_text())
        self.current["metadata"]["name"] = f"{self.name}.loomidi.io"
        names = {"kind": self.name.title(), "listKind": f"{self.name.title()}List"}
        self.current["spec"]["names"] = names | {"plural": self.name, "singular": self.name}

    def begin(self) -> None:
        """Serve the schema as it was before some fields, a column and a default came."""
        older = copy.deepcopy(self.current)
        version = older["spec"]["versions"][0]
        fields = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        for name in LATER:
            del fields[name]
        del fields["mode"]["default"]
        version["selectableFields"] = [one for one in version["selectableFields"] if "policy" not in one["jsonPath"]]
        self._serve(older, new=False)

    def end(self) -> None:
        """Serve the schema as it is committed."""
        self._serve(self.current, new=True)

    def make(self, obj: Object, *phases: str) -> str:
        """Write a fold as this resource; its path."""
        path = f"{self.path}/{self.kube.api.post(self.path, self._own(obj))['metadata']['name']}"
        for phase in phases:
            move(self.kube, path, phase)
        return path

    def _own(self, obj: Object) -> Object:
        return obj | {"kind": self.name.title(), "metadata": obj["metadata"] | {"namespace": "default"}}

    def _serve(self, definition: Object, *, new: bool) -> None:
        establish(self.kube, definition)
        until = time.monotonic() + SERVED_S
        while self._keeps_what_came_later() is not new:
            assert time.monotonic() < until, f"the schema is not served after {SERVED_S:.0f} s"
            time.sleep(0.1)

    def _keeps_what_came_later(self) -> bool | None:
        try:
            return "undo" in self.kube.dry_run(self.path, self._own(fold(undo="by hand")))["spec"]
        except ApiRefused:
            return None


@pytest.fixture
def upgrade(kube: Kube) -> Iterator[Upgrade]:
    """At the older schema."""
    upgrade = Upgrade(kube)
    upgrade.begin()
    yield upgrade
    kube.api.delete(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{upgrade.name}.loomidi.io")


def test_an_open_object_of_the_older_schema_is_read_and_changed(kube: Kube, upgrade: Upgrade) -> None:
    obj = fold()
    path = upgrade.make(obj, "Proposed")
    upgrade.end()
    assert kube.api.get(path)["spec"] == obj["spec"]
    assert kube.api.patch(path, {"spec": {"undo": "by hand"}})["spec"]["undo"] == "by hand"


def test_an_approved_object_of_the_older_schema_goes_on_and_stays_fixed(kube: Kube, upgrade: Upgrade) -> None:
    path = upgrade.make(fold(), "Proposed", "Guarded", "Approved")
    upgrade.end()
    assert move(kube, path, "Applying")["status"]["phase"] == "Applying"
    with pytest.raises(ApiRefused, match="the spec of a Fold is fixed"):
        kube.api.patch(path, {"spec": {"undo": "by hand"}})


def test_a_default_that_came_later_is_read_and_fixes_nothing_wrongly(kube: Kube, upgrade: Upgrade) -> None:
    bare = fold()
    del bare["spec"]["mode"]
    path = upgrade.make(bare)
    upgrade.end()
    assert kube.api.get(path)["spec"]["mode"] == "shadow"
    for phase in ("Proposed", "Denied"):
        assert move(kube, path, phase)["status"]["phase"] == phase


def test_every_sample_written_under_the_older_schema_can_be_read_and_written(kube: Kube, upgrade: Upgrade) -> None:
    folds = [obj for obj in map(sample, ALLOWED) if obj["kind"] == "Fold"]
    paths = [upgrade.make(obj) for obj in folds]
    upgrade.end()
    for path, obj in zip(paths, folds, strict=True):
        read = kube.api.get(path)
        assert {**read["spec"], "mode": ""}.keys() == {**obj["spec"], "mode": ""}.keys() - set(LATER)
        assert kube.api.put(path, read | {"spec": read["spec"] | {"undo": "by hand"}})["spec"]["undo"] == "by hand"
