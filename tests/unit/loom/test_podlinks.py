"""A pod's UID in the cgroup of its processes, however kubelet and kernel write it."""

import pytest

from loomidi.loom.capture.podlinks import uid_in

UID = "0a1b2c3d-4e5f-4678-9abc-0123456789ab"
LOW = UID.replace("-", "_")


@pytest.mark.parametrize(
    "text",
    [
        f"0::/kubepods/burstable/pod{UID}/8f2c\n",
        f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{LOW}.slice/cri-containerd-8f2c.scope\n",
        f"0::/../../kubepods-besteffort-pod{LOW}.slice/crio-8f2c.scope\n",  # from a cgroup namespace of our own
        f"0::/kubelet/kubepods/pod{UID}\n",
        f"12:pids:/lab/n1/kubepods/besteffort/pod{UID}/8f2c\n11:cpu:/lab/n1/kubepods/besteffort/pod{UID}/8f2c\n",
        f"0::/docker/77aa/kubelet.slice/kubelet-kubepods-pod{LOW}.slice/docker-8f2c.scope\n",
    ],
)
def test_it_is_found(text: str) -> None:
    assert uid_in(text) == UID


def test_a_static_pod_has_a_hash_instead() -> None:
    assert uid_in("0::/kubepods/burstable/pod0123456789abcdef0123456789abcdef/8f2c\n") == "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0::/\n",
        "0::/user.slice/user-0.slice\n",
        f"0::/mypod{UID}/x\n",
        f"0::/pod{UID}more/x\n",
        "0::/kubepods/pod1/x\n",
    ],
)
def test_what_is_of_no_pod_has_none(text: str) -> None:
    assert uid_in(text) == ""
