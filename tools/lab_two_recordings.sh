#!/bin/sh
# Record `smoke` twice with one seed on a lab of its own, verify both (their balances too), and compare them.
#   tools/lab_two_recordings.sh FOLDER [SEED]        (root; FOLDER is emptied)
set -eu
[ $# -ge 1 ] || { echo "usage: tools/lab_two_recordings.sh FOLDER [SEED]" >&2; exit 2; }
folder=$1 seed=${2:-7}
rm -rf "$folder"
mkdir -p "$folder"
loomidi-lab down --name rec
loomidi-lab up --name rec
trap 'loomidi-lab down --name rec' EXIT
for one in first second; do
    loomidi-lab record --name rec --plan smoke --seed "$seed" --out "$folder/$one"
    loomidi-lab verify "$folder/$one"
    echo "$one recording verified"
done
loomidi-lab compare "$folder/first" "$folder/second"
echo "the two differ in measured values only"
