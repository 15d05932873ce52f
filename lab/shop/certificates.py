"""The shop's own certificate authority and payment's certificate, made at deploy time.

Called by `manifests` and by scenarios that let a certificate run out. In: names and times. Out: PEM.
"""

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 30


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: str
    key: str


def authority() -> Pair:
    """A new authority for one shop."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("shop-ca")
    now = datetime.datetime.now(datetime.UTC)
    usage = {**dict.fromkeys(_USAGES, False), "key_cert_sign": True, "crl_sign": True, "digital_signature": True}
    built = (
        _builder(name, name, key, (now - datetime.timedelta(days=1), now + datetime.timedelta(days=365)))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(built, key)


def issue(
    signer: Pair,
    service: str,
    namespace: str,
    *,
    not_after: datetime.datetime | None = None,
    hosts: tuple[str, ...] = (),
) -> Pair:
    """A server certificate of `service`, valid until `not_after` (30 days when not said; the past is allowed)."""
    ca = x509.load_pem_x509_certificate(signer.certificate.encode())
    ca_key = serialization.load_pem_private_key(signer.key.encode(), password=None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    end = not_after or datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=_DAYS)
    start = min(end, datetime.datetime.now(datetime.UTC)) - datetime.timedelta(days=1)
    base = f"{service}.{namespace}"
    names = [x509.DNSName(name) for name in (service, base, f"{base}.svc", f"{base}.svc.cluster.local", *hosts)]
    built = (
        _builder(_name(service), ca.subject, key, (start, end))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return _pair(built, key)


_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    valid: tuple[datetime.datetime, datetime.datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode())
