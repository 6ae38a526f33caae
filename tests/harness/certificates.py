"""A certificate authority of a test, and certificates by it, so that https is verified as it is in the field."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Authority:
    """An authority that only those trust who are given `file`, a PEM."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name.from_rfc4514_string("CN=An authority of a test")
        builder = _builder(self._name, self._name, self._key.public_key(), days=1)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self._certificate = builder.sign(self._key, hashes.SHA256())
        self.file = folder / "authority.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def trusting(self) -> ssl.SSLContext:
        """For a client that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.file))

    def serving(self, name: str = "127.0.0.1", *, days: int = 1) -> ssl.SSLContext:
        """For a server of that name or address; with negative `days` its certificate has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(x509.Name.from_rfc4514_string(f"CN={name}"), self._name, key.public_key(), days=days)
        is_address = name.replace(".", "").isdigit()
        known: x509.GeneralName = x509.IPAddress(ip_address(name)) if is_address else x509.DNSName(name)
        builder = builder.add_extension(x509.SubjectAlternativeName([known]), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        file = self._folder / "server.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=10),
        not_valid_after=now + timedelta(days=days),
    )
