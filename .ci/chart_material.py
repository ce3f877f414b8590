"""What operators, cert-manager and the cluster would put into the Secrets and ConfigMaps that the chart mounts."""

import base64
import datetime
import functools
import os
import re

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PASSPHRASE = "a passphrase for tests"
CLIENT_SECRET = b"0123456789abcdef0123456789abcdef\n"
SYSTEM_USER_TOKEN = "Application Name-8k8Q7DmBgo"
PEM = serialization.Encoding.PEM
HOUR = datetime.timedelta(hours=1)


class Material:
    """One release's. One authority vouches for everybody in it."""

    def __init__(self) -> None:
        self.authority_key = ec.generate_private_key(ec.SECP256R1())
        self.authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.authority = self._certificate(self.authority_name, self.authority_key, is_authority=True)

    def secret(self, path: str, *, encrypted: bool) -> bytes:
        """A file of the volume with secrets, by the name that the chart gives it there."""
        if path == "signing-key-passphrase":
            return f"{PASSPHRASE}\n".encode()
        if path.startswith("signing-key-"):
            return signing_key_file(encrypted)
        if path.startswith("sealing-key-"):
            return base64.b64encode(os.urandom(32)) + b"\n"
        return {
            "audit-key": b"0123456789abcdef0123456789abcdef",
            "client-secret": CLIENT_SECRET,
            "database-password": b"nobody asks\n",
            "database-ca.pem": self.authority_pem,
        }[path]

    @property
    def authority_pem(self) -> bytes:
        return self.authority.public_bytes(PEM)

    def bundle(self, name: str) -> bytes:
        """A file of the ConfigMap with authorities."""
        return self.revocations() if name.endswith(".crl") else self.authority_pem

    def revocations(self) -> bytes:
        now = datetime.datetime.now(datetime.timezone.utc)
        made = x509.CertificateRevocationListBuilder().issuer_name(self.authority_name).last_update(now - HOUR).next_update(now + HOUR)
        made = made.add_extension(x509.CRLNumber(1), critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority_key.public_key())
        return made.add_extension(identifier, critical=False).sign(self.authority_key, hashes.SHA256()).public_bytes(PEM)

    def server(self, dns_names: list[str]) -> dict[str, bytes]:
        return self._pair([x509.DNSName(name) for name in ("localhost", *dns_names)], ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, uri: str) -> dict[str, bytes]:
        return self._pair([x509.UniformResourceIdentifier(uri)], ExtendedKeyUsageOID.CLIENT_AUTH)

    def _pair(self, names: list[x509.GeneralName], usage: x509.ObjectIdentifier) -> dict[str, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._certificate(x509.Name([]), key, names=names, usage=usage)
        form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return {"tls.crt": made.public_bytes(PEM), "tls.key": key.private_bytes(PEM, form, none), "ca.crt": self.authority_pem}

    def _certificate(self, name, key, *, is_authority=False, names=(), usage=None) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - HOUR)
            .not_valid_after(now + HOUR)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(key_usage(is_authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority_key.public_key()), critical=False)
        )
        if names:
            # Critical, as the subject is empty.
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=True)
            made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return made.sign(self.authority_key, hashes.SHA256())


def key_usage(is_authority: bool) -> x509.KeyUsage:
    others = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not is_authority, key_cert_sign=is_authority, crl_sign=is_authority, **others)


@functools.cache
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def signing_key_public_pem() -> bytes:
    return signing_key().public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def signing_key_file(encrypted: bool) -> bytes:
    if encrypted:
        encryption = serialization.BestAvailableEncryption(PASSPHRASE.encode())
        return signing_key().private_bytes(PEM, serialization.PrivateFormat.PKCS8, encryption)
    # The format that the Developer Portal hands out.
    numbers = signing_key().private_numbers()
    elements = {
        "Modulus": numbers.public_numbers.n, "Exponent": numbers.public_numbers.e, "P": numbers.p, "Q": numbers.q,
        "DP": numbers.dmp1, "DQ": numbers.dmq1, "InverseQ": numbers.iqmp, "D": numbers.d,
    }
    xml = "".join(f"<{name}>{in_base64(number)}</{name}>" for name, number in elements.items())
    return f"<RSAKeyValue>{xml}</RSAKeyValue>".encode()


def in_base64(number: int) -> str:
    return base64.b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).decode()


def inline(values: dict, material: Material) -> dict:
    """secrets.inline, with what can be used in the place of what only looks like it."""
    keys = values["secrets"].get("keys", {})
    paths = {keys.get("clientSecret", "client-secret"): "client-secret"}
    paths |= {key: "signing-key-0" for key in keys.get("signingKeys", ["private-key.xml"])}
    paths |= {key: "sealing-key-0" for key in keys.get("sealingKeys", ["sealing-key"])}
    return {key: material.secret(paths[key], encrypted=False).decode() for key in values["secrets"]["inline"]}


def names_below(directory: str, configuration: str) -> list[str]:
    """The files in a directory that ticketd.toml names."""
    return re.findall(re.escape(directory) + r'/([^"/]+)"', configuration)
