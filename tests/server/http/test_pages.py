"""Pages: the files that are there under their names, and nothing else."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from server.http.pages import PACKED_BYTES_MAX, WEB, Page, Pages
from tests.server.http.asking import serving_web


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    web = tmp_path / "web"
    (web / "game").mkdir(parents=True)
    (web / "index.html").write_text("<p>home")
    (web / "game" / "index.html").write_text("<p>game")
    (web / "game" / "main.js").write_text("1")
    (web / "game" / "main.py").write_text("secret")
    (web / ".hidden.js").write_text("secret")
    (tmp_path / "secret.js").write_text("secret")
    (web / "link.js").symlink_to(tmp_path / "secret.js")
    return web


async def test_files_are_found_under_their_names_alone(folder: Path) -> None:
    pages = Pages(folder)
    for path, text in (("/", "<p>home"), ("/index.html", "<p>home"), ("/game/", "<p>game"), ("/game/main.js", "1")):
        found = pages.find(path)
        assert isinstance(found, Page)
        assert found.body.decode() == text
    assert pages.find("/game") == "/game/"
    outside = ["/../secret.js", "/game/../../secret.js", "//secret.js", "/.hidden.js", "/link.js", "/game/main.py"]
    nothing = [*outside, "/game//main.js", "/game/.", "", "x", "/index.html/", "/INDEX.HTML", "/game/main.js\0"]
    assert [path for path in nothing if pages.find(path) is not None] == []


async def test_a_changed_file_has_another_tag_and_one_that_went_is_not_there(folder: Path) -> None:
    pages = Pages(folder)
    before = pages.find("/game/main.js")
    (folder / "game" / "main.js").write_text("12")
    after = pages.find("/game/main.js")
    assert isinstance(before, Page)
    assert isinstance(after, Page)
    assert (before.tag != after.tag, after.body) == (True, b"12")
    (folder / "game" / "main.js").unlink()
    assert pages.find("/game/main.js") is None


async def test_over_a_socket(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web:
        answer = await web.get("/dashboard/", token=None)
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert answer.body == (WEB / "dashboard" / "index.html").read_bytes()
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        same = await web.get("/dashboard/", token=None, headers={"If-None-Match": answer.headers["etag"]})
        assert (same.status, same.body) == (304, b"")
        assert (await web.ask("HEAD", "/dashboard/", token=None)).body == b""
        moved = await web.get("/dashboard", token=None)
        assert (moved.status, moved.headers["location"]) == (308, "/dashboard/")
        script = await web.get("/dashboard/main.js", token=None)
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/%2e%2e/pyproject.toml",
        "/dashboard/..%2f..%2fpyproject.toml",
        "/dashboard/%2e%2e/%2e%2e/server/node.py",
        "//etc/passwd",
        "/dashboard/../../../../etc/passwd",
        "/dashboard/main.js%00",
        "/__init__.py",
        "/dashboard/nothing.js",
        "/%ff%fe",
        "/api/v1/nothing",
    ],
)
async def test_no_path_leads_elsewhere(tmp_path: Path, path: str) -> None:
    async with serving_web(tmp_path) as web:
        answer = await web.get(path)
        assert (answer.status, answer.error) == (404, "not_found")


async def test_who_takes_gzip_gets_it_and_nobody_else(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web:
        path, plain = "/dashboard/main.js", (WEB / "dashboard" / "main.js").read_bytes()
        packed = await web.get(path, token=None, headers={"Accept-Encoding": "br;q=1.0, gzip;q=0.8, *;q=0.1"})
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain
        assert len(packed.body) == int(packed.headers["content-length"]) < len(plain) / 2
        for accepts in ("", "identity", "gzip;q=0", "br"):
            same = await web.get(path, token=None, headers={"Accept-Encoding": accepts})
            assert (same.body, "content-encoding" in same.headers) == (plain, False)
            assert same.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
            assert same.headers["etag"] != packed.headers["etag"], "a cache must not take the one for the other"
        again = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["etag"]}
        known = await web.get(path, token=None, headers=again)
        assert (known.status, known.body) == (304, b"")
        figures = await web.get("/metrics", headers={"Accept-Encoding": "gzip"})
        assert (figures.status, "content-encoding" in figures.headers) == (200, False)


async def test_a_large_file_is_sent_as_it_is(folder: Path) -> None:
    (folder / "large.js").write_bytes(b" " * (PACKED_BYTES_MAX + 1))
    (folder / "small.js").write_bytes(b" " * PACKED_BYTES_MAX)
    (folder / "tiny.js").write_bytes(b"1")
    pages = Pages(folder)
    found = {name: pages.find(f"/{name}.js") for name in ("large", "small", "tiny")}
    packed = {name: page.packed for name, page in found.items() if isinstance(page, Page)}
    assert (packed["large"], packed["tiny"]) == (b"", b"")
    assert 0 < len(packed["small"]) < 100


async def test_pages_take_no_other_method(tmp_path: Path) -> None:
    async with serving_web(tmp_path) as web:
        answer = await web.post("/dashboard/", {})
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_the_dashboard_is_light() -> None:
    assert sum(file.stat().st_size for file in (WEB / "dashboard").iterdir()) <= 60_000
