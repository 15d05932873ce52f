#!/bin/sh
# Clone what is committed here into a folder that is emptied first: what a stranger gets.   tools/fresh_clone.sh FOLDER
set -eu
[ $# -eq 1 ] || { echo "usage: tools/fresh_clone.sh FOLDER" >&2; exit 2; }
rm -rf "$1"
git clone -q . "$1"
