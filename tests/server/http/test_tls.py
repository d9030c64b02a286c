"""HTTP over TLS, with the certificate that players get, also from node to node."""

from __future__ import annotations

import json
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from tests.server.http.asking import Web, answer_of, ended, serving_web
from tests.server.processes import serving


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path, ssl.SSLContext]:
    """Certificate, key, and who trusts them."""
    authority, trust = trustme.CA(), ssl.create_default_context()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    authority.configure_trust(trust)
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    return certificate, key, trust


async def test_with_a_certificate_it_is_https(tmp_path: Path, pair: tuple[Path, Path, ssl.SSLContext]) -> None:
    certificate, key, trust = pair
    async with serving_web(tmp_path / "data", tls_cert=certificate, tls_key=key) as web:
        async with web.raw() as plain:
            stream = trio.SSLStream(plain, trust, server_hostname="localhost", https_compatible=True)
            said = f"GET /api/v1/node HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {web.token}\r\n"
            await stream.send_all(f"{said}Origin: https://localhost\r\n\r\n".encode())
            answer = await answer_of(stream)
        assert (answer.status, answer.told["state"]) == (200, "serving")
        assert "max-age" in answer.headers["strict-transport-security"]
        await hangs_up_on_plain(web)


async def hangs_up_on_plain(web: Web) -> None:
    """Plain HTTP ends its connection, and nothing else."""
    async with web.raw() as stream:
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" not in await ended(stream)
    assert not web.node.stopped.is_set()


def test_nodes_ask_each_other_over_tls(tmp_path: Path, pair: tuple[Path, Path, ssl.SSLContext]) -> None:
    certificate, key, trust = pair
    data, options = tmp_path / "data", ["--tls-cert", str(certificate), "--tls-key", str(key)]
    with serving(tmp_path, data, "a", "b", options=options) as (first, _):
        token = (data / "http.token").read_text().strip()

        def ask(path: str) -> Any:
            address = f"https://localhost:{first.started['http_port']}/api/v1/{path}"
            asked = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(asked, timeout=10, context=trust) as answer:
                return json.load(answer)

        while len(ask("nodes")) < 2:
            pass
        assert ask("nodes/b")["report"]["node"] == "b"
