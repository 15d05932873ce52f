"""Whose approvals the operator counts, as it is told at its start."""

from pathlib import Path

import pytest

from loomidi.contracts import EnvironmentLacks, UsageError
from loomidi.crypt.keys import SigningKey
from loomidi.fold.operator import OwnKeys, SharedKey
from loomidi.fold.operator.errors import BadApprovers
from loomidi.ionic.approvals import Signer
from loomidi.services.folds.operating import OperatorSettings, _approvers, serve


def test_people_with_their_own_keys_or_one_key_of_all_and_never_both(tmp_path: Path) -> None:
    file, key = tmp_path / "approvers.yaml", tmp_path / "key"
    file.write_text(f"approvers: [{{name: alice, key: '{SigningKey.new().public.word}'}}]")
    assert isinstance(_approvers(OperatorSettings(approvers=file), Signer()), OwnKeys)
    assert isinstance(_approvers(OperatorSettings(approval_key=key), Signer()), SharedKey)
    with pytest.raises(UsageError, match="--approvers or --approval-key"):
        _approvers(OperatorSettings(approvers=file, approval_key=key), Signer())


def test_a_list_of_approvers_or_a_key_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadApprovers, match="No such file"):
        _approvers(OperatorSettings(approvers=tmp_path / "none"), Signer())
    with pytest.raises(EnvironmentLacks, match="name a file with the approval key"):
        serve(OperatorSettings(approval_key=tmp_path / "none"), {}, print)
