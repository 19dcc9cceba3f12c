#!/usr/bin/env bash
# Run every benchmark; each writes a record into benchmarks/<room>/results.
set -euo pipefail
python=$1
for script in benchmarks/*/*.py; do
    echo "== $script"
    "$python" "$script"
done
