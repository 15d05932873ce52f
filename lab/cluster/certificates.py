"""The lab's certificate authority, and the certificates and kubeconfigs that it hands out.

Called by `raising`. In: a folder, names and addresses. Out: PEM files with P-256 keys, valid for 30 days from an hour
ago; kubeconfigs with everything embedded. The keys never leave the lab's folder (mode 0700).
"""

import base64
import dataclasses
import datetime as dt
import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 30
_PEM = serialization.Encoding.PEM
_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclasses.dataclass(frozen=True, slots=True)
class Authority:
    """Signs; its certificate is `ca.crt` of the folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def issue(self, file: str, name: str, group: str = "", *, hosts: Sequence[str] = ()) -> tuple[Path, Path]:
        """Certificate and key files. Kubernetes reads user and group from common name and organization."""
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [_CLIENT, _SERVER] if hosts else [_CLIENT]
        builder = (
            _builder(_name(name, group), self.certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if hosts:
            names = [_alternative(host) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _written(self.folder, file, builder.sign(self.key, hashes.SHA256()), key)

    def kubeconfig(self, file: Path, server: str, name: str, group: str = "") -> Path:
        """A kubeconfig for a new certificate of that user."""
        certificate, key = self.issue(file.stem, name, group)
        cluster = {"server": server, "certificate-authority-data": _encoded(self.folder / "ca.crt")}
        user = {"client-certificate-data": _encoded(certificate), "client-key-data": _encoded(key)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
            "current-context": "lab",
        }
        file.write_text(json.dumps(document, indent=1))  # JSON is YAML
        file.chmod(0o600)
        return file


def authority(folder: Path) -> Authority:
    """A new authority in a folder, and the key pair that signs service account tokens (`sa.key`, `sa.pub`)."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("loomidi-lab-ca", "")
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    certificate = _builder(name, name, key).add_extension(constraints, critical=True).sign(key, hashes.SHA256())
    _written(folder, "ca", certificate, key)
    tokens = ec.generate_private_key(ec.SECP256R1())
    _private(folder / "sa.key", tokens)
    public = tokens.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "sa.pub").write_bytes(public)
    return Authority(folder, key, certificate)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=_DAYS))
    )


def _name(common: str, organization: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _written(
    folder: Path, file: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> tuple[Path, Path]:
    public, private = folder / f"{file}.crt", folder / f"{file}.key"
    public.write_bytes(certificate.public_bytes(_PEM))
    _private(private, key)
    return public, private


def _private(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    plain = serialization.NoEncryption()
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain))


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
