"""Certificates say who is who; kubeconfigs carry everything that a client needs."""

import base64
import json
import stat
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from loomidi_lab.cluster import certificates
from loomidi_lab.cluster.api import Api


def test_a_certificate_is_signed_by_the_authority_and_names_user_and_group(tmp_path: Path) -> None:
    authority = certificates.authority(tmp_path)
    path, _ = authority.issue("n1", "system:node:n1", "system:nodes", hosts=("n1", "10.0.0.1"))
    issued = x509.load_pem_x509_certificate(path.read_bytes())
    issued.verify_directly_issued_by(authority.certificate)
    names = {each.oid: each.value for each in issued.subject}
    assert names == {NameOID.ORGANIZATION_NAME: "system:nodes", NameOID.COMMON_NAME: "system:node:n1"}
    alternative = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each.value) for each in alternative] == ["n1", "10.0.0.1"]


def test_a_client_certificate_cannot_serve(tmp_path: Path) -> None:
    path, _ = certificates.authority(tmp_path).issue("admin", "admin")
    usages = x509.load_pem_x509_certificate(path.read_bytes()).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(usages.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    certificates.authority(tmp_path).issue("admin", "admin")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.key")}
    assert set(modes.values()) == {0o600}


def test_a_kubeconfig_is_enough_for_a_client(tmp_path: Path) -> None:
    authority = certificates.authority(tmp_path)
    file = authority.kubeconfig(tmp_path / "admin.kubeconfig", "https://10.0.0.1:6443", "admin", "system:masters")
    cluster = json.loads(file.read_text())["clusters"][0]["cluster"]
    assert base64.b64decode(cluster["certificate-authority-data"]) == (tmp_path / "ca.crt").read_bytes()
    api = Api(file)
    assert api.server == "https://10.0.0.1:6443"
    api.close()
