"""The tests mirror the folders: `netcode/seal.py` is tested by `tests/netcode/test_seal.py`. Not installed."""
