#!/bin/sh
# Install what Loomidi needs from Debian or Ubuntu to build and load its BPF programs. Safe to run again: what is there is left alone.
#
#   tools/install_ebpf_deps.sh           install what is missing (root)
#   tools/install_ebpf_deps.sh --check   print what is missing, one package a line; exit 1 when something required is
#   tools/install_ebpf_deps.sh --all     install the optional tools too (nmap, hping3: extra attacks for `loomidi demo`; clang-format for `make check`,
#                                        libclang-rt-dev for `make fuzz`; rsyslog and shellcheck, which tests call), and what the lab calls
#   tools/install_ebpf_deps.sh --lab     what is missing, and what `loomidi-lab` calls (Go is not among it: the lab needs 1.26)
#   tools/install_ebpf_deps.sh --cilium  as --lab, and what Cilium calls on the lab's nodes
#   tools/install_ebpf_deps.sh --redteam what is missing, and the attackers' tools and their targets for `loomidi-lab redteam`
set -eu

# package = what shows that it is there; a path, or a command on PATH
REQUIRED='
clang=clang
llvm=llvm-strip
make=make
gcc=cc
libc6-dev=/usr/include/stdlib.h
linux-libc-dev=/usr/include/linux/bpf.h
libbpf-dev=/usr/include/bpf/bpf_helpers.h
zlib1g-dev=/usr/include/zlib.h
iproute2=ip
python3=python3
'
# xdp-tools brings xdp-filter, the peer of the benchmarks; bpftool helps to look inside. The release works without both.
WANTED='
xdp-tools=xdp-filter
bpftool=bpftool
'
OPTIONAL='
nmap=nmap
hping3=hping3
clang-format=clang-format
libclang-rt-dev=/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a
rsyslog=rsyslogd
shellcheck=shellcheck
'

# What `loomidi-lab redteam` attacks with, and the real servers that are attacked (in namespaces, see the policy file below).
REDTEAM='
nmap=nmap
hping3=hping3
slowhttptest=slowhttptest
hydra=hydra
iodine=iodine
iperf3=iperf3
dsniff=arpspoof
thc-ipv6=atk6-thcsyn6
iputils-ping=ping
dnsmasq-base=dnsmasq
lighttpd=lighttpd
openssh-server=sshd
'
# What `loomidi-lab` calls: containers (runc), Services (nftables, conntrack), images (debootstrap), the rest by name.
LAB='
runc=runc
nftables=nft
iptables=iptables
conntrack=conntrack
procps=sysctl
util-linux=nsenter
debootstrap=debootstrap
debian-archive-keyring=/usr/share/keyrings/debian-archive-keyring.gpg
gpgv=gpgv
iputils-ping=ping
'
# What Cilium as the lab's network calls on each node.
CILIUM='
clang-19=clang-19
llvm-19=llc-19
ipset=ipset
'

present() {
    case $1 in
    /*)
        # shellcheck disable=SC2086
        set -- $1 # a pattern stands for the first file that fits
        [ -e "$1" ]
        ;;
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing() {
    set -f
    for line in $1; do
        set +f
        present "${line#*=}" || printf '%s\n' "${line%%=*}"
    done
}

missing_required() {
    missing "$REQUIRED"
    # The loader opens the run-time library by name; its package is libbpf1 on Debian 12, Ubuntu 22.10 and newer.
    found=
    for library in /usr/lib/libbpf.so.1 /usr/lib64/libbpf.so.1 /usr/lib/*/libbpf.so.1; do
        [ -e "$library" ] && found=yes
    done
    [ -n "$found" ] || printf 'libbpf1\n'
    python3 -c 'import ensurepip, venv' 2>/dev/null || printf 'python3-venv\n'
}

mode=${1:-}
case $mode in
'' | --all | --lab | --cilium | --redteam) ;;
--check)
    lacking=$(missing_required)
    [ -z "$lacking" ] && exit 0
    printf '%s\n' "$lacking"
    exit 1
    ;;
*)
    sed -n '2,10s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac

required=$(missing_required)
wanted=$(missing "$WANTED")
optional=
[ "$mode" = --all ] && optional=$(missing "$OPTIONAL")
[ "$mode" = --redteam ] && optional=$(missing "$REDTEAM")
case $mode in
--all | --lab | --cilium) required="$required $(missing "$LAB")" ;;
esac
[ "$mode" = --cilium ] && required="$required $(missing "$CILIUM")"
required=$(echo $required)
if [ -z "$required$wanted$optional" ]; then
    echo "install_ebpf_deps: nothing is missing"
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "install_ebpf_deps: no apt-get here; install by hand what these Debian packages hold: $(echo $required $wanted $optional)" >&2
    exit 2
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "install_ebpf_deps: needs root; run: sudo $0 $mode" >&2
    exit 2
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
if [ -n "$required" ]; then
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $required >/dev/null
fi
# lighttpd, sshd, iodined and rsyslog come with services that would listen on the machine itself; the catalogue and the
# tests start their own. Debian asks this file before it starts one; a file that is there already is somebody's own and stays.
policy=/usr/sbin/policy-rc.d
if [ -n "$optional" ] && [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
# One by one: a release without one of these (bpftool is linux-tools on Ubuntu) must not stop the others.
for package in $wanted $optional; do
    apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 ||
        echo "install_ebpf_deps: $package is not in this release; going on without it" >&2
done
lacking=$(missing_required)
if [ -n "$lacking" ]; then
    echo "install_ebpf_deps: still missing: $(echo $lacking)" >&2
    exit 1
fi
