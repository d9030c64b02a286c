"""What both ends of many sealed channels do in columns: nonces, replay windows, and rows of bytes as bytes."""

from __future__ import annotations

import numpy as np

from netcode.seal import NONCE_SIZE


def nonces_of(sequences: np.ndarray) -> list[bytes]:
    """The nonces of whole sequences (n,) int64."""
    nonces = np.zeros((len(sequences), NONCE_SIZE), np.uint8)
    nonces[:, :8] = sequences.astype("<u8").view(np.uint8).reshape(-1, 8)
    return rows_of(nonces)


def rows_of(table: np.ndarray) -> list[bytes]:
    """The rows of a (n, size) uint8 array, each as bytes, zeros at its end included."""
    found: list[bytes] = table.view(f"V{table.shape[1]}")[:, 0].tolist()
    return found


def shifted(window: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """Replay windows (n, WORDS) uint64 after a datagram each that is so far ahead (1 to 63) of the newest."""
    by = ahead.astype(np.uint64)[:, None]
    moved: np.ndarray = window << by
    moved[:, 1:] |= window[:, :-1] >> (np.uint64(64) - by)
    moved[:, 0] |= np.uint64(1)
    return moved
