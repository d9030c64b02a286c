"""Certificates: the development pair on disk, and which servers a client accepts under each rule."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from netcode import certificate
from netcode.certificate import (
    CertificateNotTrusted,
    CertificateUnusable,
    client_trust,
    development_certificate,
    is_development,
    is_loopback,
    server_context,
)


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def der_of(path: Path) -> bytes:
    return load(path).public_bytes(Encoding.DER)


def issue(folder: Path, *names: str) -> tuple[Path, Path, Path]:
    """A certificate from an authority of its own: paths of certificate, key and authority."""
    authority = trustme.CA()
    leaf = authority.issue_cert(*names)
    paths = folder / "leaf.pem", folder / "key.pem", folder / "authority.pem"
    leaf.cert_chain_pems[0].write_to_path(paths[0])
    leaf.private_key_pem.write_to_path(paths[1])
    authority.cert_pem.write_to_path(paths[2])
    return paths


def test_the_development_certificate_is_as_promised(tmp_path: Path) -> None:
    path, key = development_certificate(tmp_path / "data")
    assert (path, key) == (tmp_path / "data/tls/dev.pem", tmp_path / "data/tls/dev-key.pem")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    made = load(path)
    assert is_development(der_of(path))
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    valid = made.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert 824 <= valid.days <= 825
    server_context(path, key)


def test_it_is_made_once(tmp_path: Path) -> None:
    path, key = development_certificate(tmp_path)
    before = path.read_bytes(), key.read_bytes()
    assert development_certificate(tmp_path) == (path, key)
    assert (path.read_bytes(), key.read_bytes()) == before


def test_processes_that_start_at_once_share_one(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, hashlib; from netcode.certificate import *;"
        "pair = development_certificate(pathlib.Path(sys.argv[1])); server_context(*pair);"
        "print(hashlib.sha256(pair[0].read_bytes()).hexdigest())"
    )
    root = Path(certificate.__file__).parents[1]
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    digests = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(set(digests)) == 1
    assert sorted(path.name for path in (tmp_path / "tls").iterdir()) == [".lock", "dev-key.pem", "dev.pem"]


def test_it_is_made_anew_before_it_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(certificate, "VALID_DAYS", certificate.RENEW_DAYS - 1)
        old = der_of(development_certificate(tmp_path)[0])
    new = der_of(development_certificate(tmp_path)[0])
    assert new != old
    assert der_of(development_certificate(tmp_path)[0]) == new


@pytest.mark.parametrize("broken", ["dev.pem", "dev-key.pem"])
@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_broken_pair_is_made_anew(tmp_path: Path, broken: str, content: bytes | None) -> None:
    pair = development_certificate(tmp_path)
    file = tmp_path / "tls" / broken
    file.unlink() if content is None else file.write_bytes(content)
    server_context(*development_certificate(tmp_path))
    assert file in pair


def test_a_key_that_does_not_fit_is_made_anew(tmp_path: Path) -> None:
    key = development_certificate(tmp_path / "one")[1]
    other = development_certificate(tmp_path / "other")[1]
    key.write_bytes(other.read_bytes())
    server_context(*development_certificate(tmp_path / "one"))


def test_a_foreign_certificate_is_not_overwritten(tmp_path: Path) -> None:
    path, key = development_certificate(tmp_path)
    leaf, leaf_key, _ = issue(tmp_path, "example.org")
    path.write_bytes(leaf.read_bytes())
    key.write_bytes(leaf_key.read_bytes())
    with pytest.raises(CertificateUnusable, match="move it away"):
        development_certificate(tmp_path)
    assert path.read_bytes() == leaf.read_bytes()


def test_an_unusable_server_certificate_is_named(tmp_path: Path) -> None:
    _, key = development_certificate(tmp_path)
    with pytest.raises(CertificateUnusable, match=r"nothing\.pem"):
        server_context(tmp_path / "nothing.pem", key)
    with pytest.raises(CertificateUnusable, match="fits"):
        server_context(issue(tmp_path, "localhost")[0], key)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.8.7", "::1", "[::1]"])
def test_loopback_hosts(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "::", "0.0.0.0", "localhost.example.org", ""])
def test_other_hosts(host: str) -> None:
    assert not is_loopback(host)


def test_loopback_takes_development_certificates_only(tmp_path: Path) -> None:
    trust = client_trust("127.0.0.1")
    trust.verify(der_of(development_certificate(tmp_path)[0]))
    for der in (der_of(issue(tmp_path, "127.0.0.1")[0]), b"", b"garbage"):
        with pytest.raises(CertificateNotTrusted, match="--trust"):
            trust.verify(der)
    assert trust.strict is not None
    assert trust.strict.context.check_hostname


def test_elsewhere_the_marker_means_nothing() -> None:
    trust = client_trust("example.org")
    assert trust.context.check_hostname
    assert not trust.development
    assert trust.strict is None


def test_a_digest_pins_one_certificate(tmp_path: Path) -> None:
    der = der_of(development_certificate(tmp_path)[0])
    digest = hashlib.sha256(der).hexdigest()
    for rule in (f"sha256:{digest}", f"SHA256:{digest.upper()}"):
        trust = client_trust("example.org", rule)
        trust.verify(der)
        with pytest.raises(CertificateNotTrusted, match="sha256:"):
            trust.verify(der_of(development_certificate(tmp_path / "other")[0]))


@pytest.mark.parametrize("rule", ["sha256:", "sha256:12", "sha256:" + "x" * 64, "no-such-file.pem"])
def test_a_bad_rule_is_refused(rule: str) -> None:
    with pytest.raises(CertificateUnusable, match="sha256"):
        client_trust("example.org", rule)


def test_a_file_that_holds_the_certificate_pins_it(tmp_path: Path) -> None:
    path = development_certificate(tmp_path)[0]
    trust = client_trust("192.0.2.1", str(path))
    trust.verify(der_of(path))
    with pytest.raises(CertificateNotTrusted):
        trust.verify(der_of(development_certificate(tmp_path / "other")[0]))


def test_a_file_of_authorities_is_left_to_tls(tmp_path: Path) -> None:
    authority = issue(tmp_path, str(ipaddress.ip_address("192.0.2.1")))[2]
    trust = client_trust("192.0.2.1", str(authority))
    assert trust.context.check_hostname
    assert not trust.pins


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    with pytest.raises(CertificateUnusable, match=r"empty\.pem"):
        client_trust("example.org", str(empty))
