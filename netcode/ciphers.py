"""Where the ciphers are that compiled code seals and opens with: in libsodium, which comes with PyNaCl.

Called from C, libsodium takes a third of the time of OpenSSL for a datagram whose key is another one than that before.
PyNaCl has no name for that, only a binding of its own for the same functions, which is asked for their addresses.
"""

from __future__ import annotations

from importlib import import_module

_BYTES, _SIZE = "unsigned char *", "unsigned long long"
_CALLED = {
    "encrypt": f"int(*)({_BYTES}, {_SIZE} *, {_BYTES}, {_SIZE}, {_BYTES}, {_SIZE}, {_BYTES}, {_BYTES}, {_BYTES})",
    "decrypt": f"int(*)({_BYTES}, {_SIZE} *, {_BYTES}, {_BYTES}, {_SIZE}, {_BYTES}, {_SIZE}, {_BYTES}, {_BYTES})",
}
"""How `_seals.c` calls them."""
_SUITES = ("aes256gcm", "chacha20poly1305_ietf")


def addresses() -> tuple[int, ...]:
    """Of what encrypts, then of what decrypts, each in the order of the suites (`_seals.c`).

    Raises ImportError where there is no such library, or where the processor has no instructions for AES.
    """
    binding = import_module("nacl._sodium")
    try:
        ffi, lib = binding.ffi, binding.lib
        if lib.sodium_init() < 0 or not lib.crypto_aead_aes256gcm_is_available():
            raise ImportError("libsodium has no AES-256-GCM on this processor")
        found = []
        for what, called in _CALLED.items():
            for suite in _SUITES:
                function = ffi.addressof(lib, f"crypto_aead_{suite}_{what}")
                if ffi.typeof(function) is not ffi.typeof(called):
                    raise ImportError(f"libsodium's {suite} is called in another way: {ffi.typeof(function)}")
                found.append(int(ffi.cast("uintptr_t", function)))
        return tuple(found)
    except (AttributeError, TypeError) as error:
        raise ImportError(f"PyNaCl has changed: {error}") from error
