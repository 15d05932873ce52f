#!/bin/sh
# Makes the difference between an image and its parent, in a mount and process namespace of its own: whatever happens
# here, nothing stays mounted or running. Run by roots.py, in the cache's folder.
#
#   inside.sh LOWER UPPER WORK ARCHIVES LOG BEFORE FILES APT_CONF USERS COMMANDS [PACKAGE...]
#     LOWER     folders of the parents, uppermost first, with colons between; UPPER, WORK  of the overlay
#     BEFORE    a folder whose files are there before packages are; FILES  one whose files come after them
#     USERS     lines `name number home`; COMMANDS  a shell script run inside
set -eu
lower=$1 upper=$2 work=$3 archives=$4 log=$5 before=$6 files=$7 apt_conf=$8 users=$9
shift 9
commands=$1
shift
root=$PWD/merged
# SOURCE_DATE_EPOCH comes in too: useradd writes it as the date of accounts.
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 022
exec >>"$log" 2>&1 </dev/null

# Without the features that leave one layer depending on another; volatile: no fsync reaches the disk, a crash loses all.
mkdir -p merged "$upper" "$work"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$work,volatile,redirect_dir=off,metacopy=off,index=off" merged
mkdir -p merged/var/cache/apt/archives
mount --bind "$archives" merged/var/cache/apt/archives
mount -t proc proc merged/proc
mount -t tmpfs tmpfs merged/run
mount -t tmpfs tmpfs merged/tmp

while read -r name number home; do
    chroot merged groupadd -g "$number" "$name"
    chroot merged useradd -u "$number" -g "$number" -d "$home" -M -s /usr/sbin/nologin -c "" "$name"
done <"$users"
cp -a "$before"/. merged/
if [ $# -gt 0 ]; then
    printf '#!/bin/sh\nexit 101\n' >merged/usr/sbin/policy-rc.d # no service starts while it is installed
    chmod 755 merged/usr/sbin/policy-rc.d
    apt-get -c "$apt_conf" -y -qq -o "Dir=$root" -o "Dir::State::status=$root/var/lib/dpkg/status" \
        -o "DPkg::Chroot-Directory=$root" install --no-install-recommends "$@"
    rm -f merged/usr/sbin/policy-rc.d
fi
cp -a "$files"/. merged/
chroot merged /bin/sh -eu <"$commands"

# What differs from run to run, or says something about this machine.
umount merged/var/cache/apt/archives
find merged/var/cache merged/var/log merged/var/lib/apt/lists -type f -delete
rm -f merged/var/lib/dpkg/*-old merged/etc/*- merged/etc/hostname merged/etc/resolv.conf merged/var/lib/dbus/machine-id
[ -e merged/etc/machine-id ] && [ ! -s merged/etc/machine-id ] || : >merged/etc/machine-id
chroot merged dpkg-query -W -f '${Package} ${Version}\n' >packages
umount merged/proc merged/run merged/tmp merged
