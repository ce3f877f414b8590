#!/usr/bin/env bash
# The chart without a cluster, by .ci/chart_check.py and the modules beside it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/tools.sh

PYTHONDONTWRITEBYTECODE=1 "$python_tools/python" .ci/chart_check.py --helm "$helm" --helm-before "$helm_before" \
  --validate "$python_tools/kubernetes-validate"
