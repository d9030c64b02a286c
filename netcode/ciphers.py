"""Where the ciphers are that compiled code seals and opens with: in libsodium, which comes with PyNaCl.

Called from C, libsodium takes a third of the time of OpenSSL for a datagram whose key is another one than that before.
PyNaCl has no name for that, only a binding of its own for the same functions, which is asked for their addresses.
"""

from __future__ import annotations

from importlib import import_module

_FUNCTIONS = tuple(
    f"crypto_aead_{suite}_{what}" for what in ("encrypt", "decrypt") for suite in ("aes256gcm", "chacha20poly1305_ietf")
)


def addresses() -> tuple[int, ...]:
    """Of what encrypts, then of what decrypts, each in the order of the suites (`_seals.c`).

    Raises ImportError where there is no such library, or where the processor has no instructions for AES.
    """
    binding = import_module("nacl._sodium")
    ffi, lib = binding.ffi, binding.lib
    try:
        if lib.sodium_init() < 0 or not lib.crypto_aead_aes256gcm_is_available():
            raise ImportError("libsodium has no AES-256-GCM on this processor")
        return tuple(int(ffi.cast("uintptr_t", ffi.addressof(lib, name))) for name in _FUNCTIONS)
    except AttributeError as error:
        raise ImportError(f"PyNaCl has changed: {error}") from error
