"""Certificates of the control channel: a development one made on the first run, and whom a client trusts.

====================  ===============================================================================
the client was given  it accepts
====================  ===============================================================================
``sha256:HEX``        exactly the certificate with this digest (of its DER form), whatever its names
a PEM file            the very certificate in the file, or, if the file holds only authorities (CA),
                      any certificate that they vouch for and that names the host
nothing, on loopback  any Holdfast development certificate (whatever the data folder), or a real one
nothing, elsewhere    a real certificate: vouched for by the system's authorities, naming the host
====================  ===============================================================================

A development certificate is known by its marker alone, so on loopback it proves nothing about the server, and
it need not: whoever can listen there is on this machine. Anywhere else the marker means nothing.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import ipaddress
import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from netcode.errors import NetcodeError

MARKER = "Holdfast development certificate"
"""The organisation name in the subject of every development certificate."""
VALID_DAYS = 825
RENEW_DAYS = 30
"""A development certificate is made anew when it has fewer days left."""


class CertificateNotTrusted(NetcodeError):
    """The server's certificate is none that this client was told to trust; the message says what to do."""


class CertificateUnusable(NetcodeError):
    """A certificate, key or trust file of ours cannot be used; the message names it and says what to do."""


def development_certificate(data: Path) -> tuple[Path, Path]:
    """The development certificate and key in `data`/tls, made if there is none or it is about to expire.

    Any number of processes may call this at once: a file lock lets one of them make the pair, the others find
    it. Raises `OSError` when the folder cannot be written, `CertificateUnusable` when ``dev.pem`` is somebody
    else's.
    """
    folder = data / "tls"
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "dev.pem", folder / "dev-key.pem"
    with _locked(folder / ".lock"):
        if not _usable(certificate, key):
            certificate_pem, key_pem = _make_pair()
            _replace(key, key_pem, 0o600)
            _replace(certificate, certificate_pem, 0o644)
    return certificate, key


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's TLS 1.2+ context for a PEM certificate (chain) and its key; raises `CertificateUnusable`.

    Session tickets are off: our connections are long, and a client resumes its session, not its TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateUnusable(
            f"cannot use certificate {certificate} with key {key} ({error}): give a PEM pair that fits"
        ) from error
    return context


@attrs.frozen
class ClientTrust:
    """Which servers a client talks to: the TLS context to connect with, and a check after the handshake."""

    host: str
    """The host as the user named it."""
    context: ssl.SSLContext = attrs.field(repr=False)
    """Either verifies by itself, or leaves it all to `verify`."""
    pins: frozenset[bytes] = frozenset()
    """SHA-256 digests of the only certificates accepted; empty = by other rules."""
    development: bool = False
    """Accept development certificates only; for any other certificate connect again with `strict`."""

    def verify(self, der: bytes) -> None:
        """Check the peer's certificate (DER) after the handshake; raises `CertificateNotTrusted`."""
        if self.pins and hashlib.sha256(der).digest() not in self.pins:
            raise CertificateNotTrusted(
                f"{self.host} has another certificate than the trusted one: ask its operator, and if it is"
                f" right give --trust sha256:{hashlib.sha256(der).hexdigest()}"
            )
        if self.development and not is_development(der):
            raise CertificateNotTrusted(_remedy(self.host, "not a development certificate"))

    @property
    def strict(self) -> ClientTrust | None:
        """What a server on loopback without a development certificate is judged by; None elsewhere."""
        if not self.development:
            return None
        return attrs.evolve(self, context=_verifying_context(None), development=False)

    def refusal(self, error: ssl.SSLCertVerificationError) -> CertificateNotTrusted:
        """What to raise when the handshake itself found the certificate bad."""
        return CertificateNotTrusted(_remedy(self.host, error.verify_message))


@functools.lru_cache(maxsize=64)
def client_trust(host: str, rule: str | None = None) -> ClientTrust:
    """The trust for `host` under `rule`: None, a PEM file's path, or ``sha256:HEX`` (see the table above).

    Cached, so that thousands of connections share one TLS context. Raises `CertificateUnusable` for a bad
    rule.
    """
    if rule is None:
        if is_loopback(host):
            return ClientTrust(host, _trusting_context(), development=True)
        return ClientTrust(host, _verifying_context(None))
    if rule.lower().startswith("sha256:"):
        digits = rule[7:].replace(":", "")
        if not re.fullmatch("[0-9A-Fa-f]{64}", digits):
            raise CertificateUnusable(f"{rule} is no digest: sha256: and 64 hexadecimal digits are needed")
        return ClientTrust(host, _trusting_context(), pins=frozenset((bytes.fromhex(digits),)))
    try:
        certificates = x509.load_pem_x509_certificates(Path(rule).read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateUnusable(f"cannot trust {rule} ({error}): give a PEM certificate or sha256:HEX") from error
    pins = frozenset(one.fingerprint(hashes.SHA256()) for one in certificates if not _is_authority(one))
    return ClientTrust(host, _trusting_context() if pins else _verifying_context(rule), pins=pins)


@functools.lru_cache(maxsize=4096)
def is_loopback(host: str) -> bool:
    """Whether a host as the user named it is this machine: localhost, 127.0.0.0/8 or ::1. Resolves no
    names."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_development(der: bytes) -> bool:
    """Whether a certificate bears the development marker."""
    try:
        subject = x509.load_der_x509_certificate(der).subject
    except ValueError:
        return False
    return any(name.value == MARKER for name in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))


def _remedy(host: str, why: str) -> str:
    return f"the certificate of {host} is not trusted ({why}): give its file or sha256:HEX with --trust"


@functools.cache
def _trusting_context() -> ssl.SSLContext:
    """Encrypts but believes anything: only for a `ClientTrust` whose `verify` decides."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _verifying_context(authorities: str | None) -> ssl.SSLContext:
    """Verifies chain and host name, by the authorities in a file or by the system's."""
    context = ssl.create_default_context(cafile=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file's kernel lock, which ends with the process at the latest; no lock where there is no
    `fcntl`."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _usable(certificate: Path, key: Path) -> bool:
    """Whether there is a development pair that fits together and lasts; refuses to touch a foreign
    certificate."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (FileNotFoundError, ValueError, TypeError):
        return False
    if not is_development(loaded.public_bytes(serialization.Encoding.DER)):
        raise CertificateUnusable(
            f"{certificate} is not a development certificate of ours: move it away, or serve it as a real one"
        )
    days_left = (loaded.not_valid_after_utc - datetime.datetime.now(datetime.UTC)) / datetime.timedelta(days=1)
    return private.public_key() == loaded.public_key() and days_left > RENEW_DAYS


def _make_pair() -> tuple[bytes, bytes]:
    """A self-signed ECDSA P-256 certificate for this machine's loopback names, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "holdfast development"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, MARKER),
        ]
    )
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # for a client whose clock is behind
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file at once: nobody sees half of it, nor a key that others may read."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    new.replace(path)
