#!/bin/sh
# The operator's side of Loomidi.
PYTHONPATH=/opt/loomidi exec /usr/bin/python3 -c 'from loomidi.conductor.kubermidi import main; main()' "$@"
