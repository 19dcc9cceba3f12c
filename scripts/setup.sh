#!/usr/bin/env bash
# Make the project's virtual environment: scripts/setup.sh PYTHON VENV EXTRA
set -euo pipefail
python=$1 venv=$2 extra=$3

"$python" - <<'PY' || exit 2
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f"clearsight needs Python 3.11, 3.12 or 3.13; this is {sys.version.split()[0]}. "
             "Name another: make PYTHON=python3.12 ...")
PY

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
echo "Installing clearsight[$extra] into $venv (the first time this takes a few minutes) ..."
start=$SECONDS
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
# uv is several times faster; pip follows where a mirror is configured for pip alone. Both compile
# bytecode now, or every start would pay for it wherever PYTHONDONTWRITEBYTECODE is set.
"$venv/bin/uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" -c constraints.txt -e ".[$extra]" ||
    "$venv/bin/python" -m pip install --quiet -c constraints.txt -e ".[$extra]"
"$venv/bin/python" -m compileall -q src
echo "Installed in $((SECONDS - start)) s."
