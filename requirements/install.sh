#!/bin/sh
# Installs into .venv what `pip install ARGUMENTS` would: by uv, which is ten times faster, or by pip itself where uv
# cannot (an index that asks for a log-in, a platform without uv). Both verify the same hashes of the same lock.
# pip's own settings (PIP_INDEX_URL, PIP_CERT, a pip.conf) hold for uv, too. Called by the Makefile only.
set -u
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

by_uv() {
    [ -x .venv/bin/uv ] || return 1
    index=${PIP_INDEX_URL:-$(pip config get global.index-url 2>/dev/null)}
    export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}" UV_HTTP_RETRIES="${UV_HTTP_RETRIES:-1}"
    [ -n "$UV_DEFAULT_INDEX" ] || unset UV_DEFAULT_INDEX
    [ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
    .venv/bin/uv pip install --quiet --python .venv/bin/python --compile-bytecode "$@"
}

by_uv "$@" || { echo "uv cannot install here: pip does it, which takes longer"; pip install --quiet "$@"; }
