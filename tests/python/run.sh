#!/bin/sh
# Tests a built host and order plugin with a stock grpcio client.
#
#   MORTISE_BIN   the host                  (default: target/debug/mortise)
#   ORDER_WASM    the order component       (default: plugins/target/wasm32-wasip2/debug/order.wasm)
#   PYTHON_VENV   where to keep the client  (default: target/python-client)
#
# Arguments go to pytest: tests/python/run.sh -k listing
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

MORTISE_BIN=${MORTISE_BIN:-$root/target/debug/mortise}
ORDER_WASM=${ORDER_WASM:-$root/plugins/target/wasm32-wasip2/debug/order.wasm}
venv=${PYTHON_VENV:-$root/target/python-client}
for file in "$MORTISE_BIN" "$ORDER_WASM"; do
    if [ ! -f "$file" ]; then
        echo "run.sh: no such file: $file (build it first, or set MORTISE_BIN and ORDER_WASM)" >&2
        exit 2
    fi
done
# Hosts run in folders of their own.
MORTISE_BIN=$(realpath "$MORTISE_BIN")
ORDER_WASM=$(realpath "$ORDER_WASM")
export MORTISE_BIN ORDER_WASM PYTHONDONTWRITEBYTECODE=1

# The stamp holds the versions that were installed, so a second run starts at once.
if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv/installed.txt"
fi
exec "$venv/bin/python" -m pytest -p no:cacheprovider "$here" "$@"
