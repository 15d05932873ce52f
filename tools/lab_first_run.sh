#!/bin/sh
# What a stranger does first with the lab: clone, build, up, run scan-services, down; and the host before and after.
#   tools/lab_first_run.sh FOLDER        (root; FOLDER is emptied)
set -eu
[ $# -eq 1 ] || { echo "usage: tools/lab_first_run.sh FOLDER" >&2; exit 2; }
tools/fresh_clone.sh "$1"
cd "$1"
make -s setup
tools/install_ebpf_deps.sh --lab
lab=.venv/bin/loomidi-lab
survey() { .venv/bin/python -c 'import json; from tests.integration.lab.cluster.surveying import survey; print(json.dumps(survey("first"), indent=1))'; }
$lab build 2>&1 | tail -3
$lab down --name first
survey >before.json
$lab up --name first
code=0
$lab run scan-services --name first 2>&1 || code=$?
$lab down --name first
survey >after.json
if diff before.json after.json; then echo "the host is as it was"; else code=1; fi
exit "$code"
