#!/bin/sh
# OpenSSH in the foreground with new host keys at each start. More arguments go to sshd, as in `-o MaxAuthTries=3`.
#   SSH_USERS=name:password,name:password   accounts made at start; a password may hold colons but no comma
#   SSH_PORT=22
set -eu
IFS=,
for pair in ${SSH_USERS:-}; do
    name=${pair%%:*} password=${pair#*:}
    if [ -z "$name" ] || [ "$name" = "$pair" ] || [ -z "$password" ]; then
        echo "run-sshd: SSH_USERS holds '$name' without a password; write name:password,name:password" >&2
        exit 2
    fi
    [ "$name" = root ] || id "$name" >/dev/null 2>&1 || useradd -m -s /bin/bash -- "$name"
    printf '%s:%s\n' "$name" "$password" | chpasswd -c SHA256 -s 5000 # fast: a lab wants many attempts a second
done
unset IFS SSH_USERS
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key <<'YES' >/dev/null
y
YES
mkdir -p /run/sshd
exec /usr/sbin/sshd -D -e -p "${SSH_PORT:-22}" -h /etc/ssh/ssh_host_ed25519_key \
    -o UsePAM=no -o UseDNS=no -o PasswordAuthentication=yes -o PermitRootLogin=yes -o MaxStartups=100:30:200 \
    -o MaxAuthTries=6 -o LogLevel=VERBOSE -o PrintMotd=no "$@"
