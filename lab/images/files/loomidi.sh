#!/bin/sh
# Loomidi of /opt/loomidi, which stands before the system's own Python packages.
PYTHONPATH=/opt/loomidi exec /usr/bin/python3 -m loomidi "$@"
