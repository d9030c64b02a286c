"""Where compiled code gets its ciphers, and what keeps it from them."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from netcode import ciphers


class Lib:
    """PyNaCl's binding, but for what a test takes away."""

    def __init__(self, lib: Any, **other: Any) -> None:
        self._lib, self._other = lib, other

    def __getattr__(self, name: str) -> Any:
        return self._other[name] if name in self._other else getattr(self._lib, name)


@pytest.fixture
def binding() -> Any:
    return importlib.import_module("nacl._sodium")


pytestmark = pytest.mark.skipif(
    not importlib.import_module("nacl._sodium").lib.crypto_aead_aes256gcm_is_available(),
    reason="the processor has no instructions for AES",
)


def test_there_are_four_different_ones() -> None:
    found = ciphers.addresses()
    assert len(set(found)) == 4
    assert all(found)


def test_what_is_missing_is_an_import_error(monkeypatch: pytest.MonkeyPatch, binding: Any) -> None:
    """Whatever it is: the portable way takes over then (`netcode.packed`)."""
    old = SimpleNamespace(ffi=binding.ffi, lib=Lib(binding.lib, crypto_aead_aes256gcm_is_available=lambda: 0))
    never = SimpleNamespace(ffi=binding.ffi, lib=Lib(binding.lib, sodium_init=lambda: -1))
    for there_is, why in [(old, "AES-256-GCM"), (never, "AES-256-GCM"), (SimpleNamespace(), "has changed")]:
        monkeypatch.setattr(ciphers, "import_module", lambda _, module=there_is: module)
        with pytest.raises(ImportError, match=why):
            ciphers.addresses()
    monkeypatch.undo()
    monkeypatch.setitem(ciphers._CALLED, "decrypt", ciphers._CALLED["encrypt"])
    with pytest.raises(ImportError, match="another way"):
        ciphers.addresses()
    monkeypatch.undo()
    monkeypatch.setattr(ciphers, "_SUITES", ("aes256gcm", "no_such_suite"))
    with pytest.raises(ImportError, match="no_such_suite"):
        ciphers.addresses()
