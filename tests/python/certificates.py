"""Certificates for hosts and clients, and what issues them."""

import datetime
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def _pem(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Authority:
    """Issues certificates that are good for a day."""

    def __init__(self, name: str):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        extension = x509.BasicConstraints(ca=True, path_length=0)
        certificate = self._builder(self._name, self._key).add_extension(extension, critical=True)
        self.pem = certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, common_name: str, *names: x509.GeneralName) -> tuple[bytes, bytes]:
        """A key and its certificate, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        builder = self._builder(subject, key)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return _pem(key), certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject: x509.Name, key) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )


def write_host_files(folder: pathlib.Path, authority: Authority) -> dict:
    """The host's certificate and key, and the keys of `[server]` that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    key, certificate = authority.issue("the host", x509.DNSName("localhost"))
    (folder / "host.pem").write_bytes(certificate)
    (folder / "host-key.pem").write_bytes(key)
    return {"tls_certificate": str(folder / "host.pem"), "tls_key": str(folder / "host-key.pem")}
