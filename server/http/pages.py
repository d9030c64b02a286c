"""The pages: the files of `web/`, found by exact name in a list, so that no path leads anywhere else.

They are small, so each is kept in memory as long as its date and size stay, also as gzip has it: a third of the bytes,
made once, in less than a millisecond. Browsers may keep them and ask every time whether they are still good (`ETag`,
no-cache): a reload shows what is there now.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
from pathlib import Path

import attrs
import trio

LOOK_EVERY_S = 1.0
"""How often the folder is looked at for new files, at most."""
FILES_MAX = 500
FILE_BYTES_MAX = 1 << 20
PACKED_BYTES_MAX = 32 * 1024
"""Files beyond that are sent as they are: packing a larger one would hold up a tick by more than a millisecond."""
PACKED_TYPES = {".html", ".js", ".css", ".json", ".svg", ".webmanifest", ".txt"}
# fmt: off
TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".json": "application/json", ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json", ".woff2": "font/woff2", ".txt": "text/plain; charset=utf-8",
}
# fmt: on
"""What is served, and as what; other files are not there."""
WEB = Path(__file__).resolve().parents[2] / "web"


@attrs.frozen
class Page:
    """A file as it is now."""

    body: bytes
    type: str
    tag: str
    """Its ETag."""
    packed: bytes = b""
    """The body as gzip has it; empty where that is not made, or no smaller."""

    def sent(self, accepts: str) -> tuple[bytes, dict[str, str]]:
        """The body, and the headers that tell of it, for who says so in `Accept-Encoding`."""
        headers = {"ETag": self.tag, "Cache-Control": "no-cache"}
        if not self.packed:
            return self.body, headers
        headers["Vary"] = "Accept-Encoding"
        if not takes_gzip(accepts):
            return self.body, headers
        return self.packed, headers | {"ETag": f'{self.tag[:-1]}-gzip"', "Content-Encoding": "gzip"}


class Pages:
    """The files of a folder."""

    def __init__(self, folder: Path = WEB) -> None:
        self._folder = folder
        self._files: dict[str, Path] = {}
        self._kept: dict[str, tuple[tuple[int, int], Page]] = {}
        self._looked_at = float("-inf")

    def find(self, path: str) -> Page | str | None:
        """The file of a URL path; the path to go to instead, where a folder was named without its slash; None."""
        if path not in self._files and trio.current_time() - self._looked_at >= LOOK_EVERY_S:
            self._look()
        file = self._files.get(path)
        if file is None:
            return f"{path}/" if path and f"{path}/" in self._files else None
        try:
            status = file.stat()
            seen = status.st_mtime_ns, status.st_size
            if status.st_size > FILE_BYTES_MAX:
                return None
            kept = self._kept.get(path)
            if kept is None or kept[0] != seen:
                body = file.read_bytes()
                tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
                kept = self._kept[path] = seen, Page(body, TYPES[file.suffix], tag, _packed(body, file.suffix))
        except OSError:
            self._files.pop(path, None)
            return None
        return kept[1]

    def _look(self) -> None:
        self._looked_at = trio.current_time()
        found: dict[str, Path] = {}
        folders = [("/", str(self._folder))]
        while folders:
            path, folder = folders.pop()
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.is_symlink():
                        continue
                    if entry.is_dir():
                        folders.append((f"{path}{entry.name}/", entry.path))
                    elif os.path.splitext(entry.name)[1] in TYPES and len(found) < FILES_MAX:
                        found[path + entry.name] = Path(entry.path)
                        if entry.name == "index.html":
                            found[path] = Path(entry.path)
        self._files = found


def takes_gzip(accepts: str) -> bool:
    """Whether an `Accept-Encoding` names gzip, and not with a weight of 0 (RFC 9110, 12.5.3)."""
    for part in accepts.lower().split(","):
        coding, *parameters = (word.strip() for word in part.split(";"))
        if coding in ("gzip", "x-gzip"):
            weights = [text[2:] for text in parameters if text.startswith("q=")]
            return not weights or bool(weights[0].strip("0."))
    return False


def _packed(body: bytes, suffix: str) -> bytes:
    if suffix not in PACKED_TYPES or len(body) > PACKED_BYTES_MAX:
        return b""
    packed = gzip.compress(body, mtime=0)
    return packed if len(packed) < len(body) else b""
