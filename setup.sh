#!/bin/sh
# Makes the locked environment: setup.sh PYTHON VENV. Needs a Python 3.11 or 3.12 and a package registry.
set -eu
python=$1
venv=$2
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null || {
    echo "Bondhu needs Python 3.11 or 3.12; '$python' is not one: make PYTHON=/path/to/python3.11" >&2
    exit 1
}
log="$venv/setup.log"
rm -f "$venv"/.ready-* 2>/dev/null || true
"$python" -m venv --clear "$venv" || {
    echo "'$python -m venv' failed: on Debian install python3-venv" >&2
    exit 1
}
export PIP_DISABLE_PIP_VERSION_CHECK=1
echo "setting up $venv (10 s with uv, about 3 minutes where only pip reaches the registry)" >&2
"$venv/bin/pip" install --quiet --require-hashes -r bootstrap.lock >"$log" 2>&1 &&
    VIRTUAL_ENV="$venv" "$venv/bin/uv" pip sync --quiet --python "$venv/bin/python" --require-hashes requirements.lock bootstrap.lock >>"$log" 2>&1 ||
    # uv does not read pip's settings for mirrors; pip itself does.
    "$venv/bin/pip" install --quiet --no-deps --require-hashes -r requirements.lock >>"$log" 2>&1 || {
    cat "$log" >&2
    echo "the packages of requirements.lock could not be installed: is the package registry within reach?" >&2
    exit 1
}
"$venv/bin/pip" install --quiet --no-deps --no-build-isolation --editable . >>"$log" 2>&1 || {
    cat "$log" >&2
    echo "the project could not be installed into $venv" >&2
    exit 1
}
