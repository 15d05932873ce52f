"""The servers that are attacked, as real programs: web, names, secure shell, measurement, a tunnel's end.

Called by `grounds` (web, names, echo: always there) and `carrying` (those that a row asks for). In: a network and a
folder of the run. Out: processes inside the rooms that listen. Their settings are written into the folder; nothing of
the machine's own servers is touched.
"""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from loomidi.contracts.errors import EnvironmentLacks
from loomidi.services.demo.testbed import LOGIN, WEB, Network
from loomidi_lab.redteam.crowd import ECHO_PORT, MARK, NAME_PORT, WEB_PORT

Process = subprocess.Popen[str]
PYTHON = sys.executable
_READY_S = 10.0
_LARGE = 2_000_000  # octets of the page that is read slowly
_SSH_PORT, _IPERF_PORT, _TUNNEL_PORT = 22, 5201, 5353  # of the rooms: no port of the machine
_SSHD = """Port {port}
ListenAddress {address}
HostKey {folder}/host_key
PidFile none
UsePAM no
PasswordAuthentication yes
KbdInteractiveAuthentication no
StrictModes no
MaxStartups 200:30:400
"""
_LIGHTTPD = """server.document-root = "{folder}/pages"
server.port = {port}
server.bind = "0.0.0.0"
server.errorlog = "{folder}/lighttpd.log"
server.max-connections = 2048
index-file.names = ( "index.html" )
server.modules = ( "mod_cgi" )
cgi.assign = ( ".cgi" => "/bin/cat" )
$SERVER["socket"] == "[::]:{port}" {{ }}
"""


def found(program: str) -> str:
    """Where a program is, also outside of a user's PATH; "" when it is nowhere."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin") or ""


def missing(programs: Sequence[str]) -> list[str]:
    """Those that are not installed here."""
    return [program for program in programs if not found(program)]


def basics(network: Network, folder: Path) -> list[str]:
    """Start what honest clients use; returns what serves: `web`, `names`, `held`."""
    pages = folder / "pages"
    pages.mkdir()
    (pages / "index.html").write_bytes(MARK + b" page of the catalogue\n" * 64)
    (pages / "large").write_bytes(b"L" * _LARGE)
    (pages / "form.cgi").write_bytes(b"Status: 200\n\nthanks\n")  # takes a body, which the server waits for
    start(network, "web", (PYTHON, "-m", "loomidi_lab.redteam.crowd", "serve"), ECHO_PORT)
    if found("lighttpd"):
        settings = folder / "lighttpd.conf"
        settings.write_text(_LIGHTTPD.format(folder=folder, port=WEB_PORT))
        start(network, "web", (found("lighttpd"), "-D", "-f", str(settings)), WEB_PORT)
    else:
        start(network, "web", (PYTHON, "-m", "loomidi.services.demo.benign", "serve"), WEB_PORT)
    if not found("dnsmasq"):
        return ["web", "held"]
    words = ("--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file", "--user=root")
    names = (f"--server=/t.example/127.0.0.1#{_TUNNEL_PORT}", f"--address=/example/{WEB}", f"--listen-address={WEB}")
    start(network, "web", (found("dnsmasq"), *words, "--bind-interfaces", *names), NAME_PORT)
    return ["web", "held", "names"]


def start(network: Network, room: str, command: Sequence[str], port: int = 0) -> Process:
    """A server in a room, once it accepts on a TCP port. Raises EnvironmentLacks when it does not."""
    process = network.spawn(room, command, quiet=True)
    address, until = WEB if room == "web" else LOGIN, time.monotonic() + _READY_S
    with network.inside(room):
        while port and not _accepts(address, port):
            if process.poll() is not None or time.monotonic() > until:
                raise EnvironmentLacks(f"{Path(command[0]).name} does not listen on port {port} of its room")
            time.sleep(0.05)
    return process


def stop(process: Process) -> None:
    """End a server of a row."""
    process.terminate()
    try:
        process.wait(2.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _sshd(network: Network, folder: Path) -> Process:
    """Asks for passwords, knows nobody: every login fails, as a guesser's do."""
    key, settings = folder / "host_key", folder / "sshd.conf"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd jails its unprivileged half; it insists
    settings.write_text(_SSHD.format(port=_SSH_PORT, address=LOGIN, folder=folder))
    (folder / "passwords").write_text("".join(f"secret-{number}\n" for number in range(400)))
    return start(network, "login", (found("sshd"), "-D", "-e", "-f", str(settings)), _SSH_PORT)


def _iperf(network: Network, _: Path) -> Process:
    return start(network, "web", (found("iperf3"), "-s", "-p", str(_IPERF_PORT)), 0)


def _tunnel(network: Network, _: Path) -> Process:
    words = ("-f", "-c", "-P", "secret", "-p", str(_TUNNEL_PORT), "-l", "127.0.0.1", "10.99.0.1/24", "t.example")
    return start(network, "web", (found("iodined"), *words), 0)


SERVERS: dict[str, Callable[[Network, Path], Process]] = {"sshd": _sshd, "iperf3": _iperf, "iodined": _tunnel}


def _accepts(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 0.2).close()
    except OSError:
        return False
    return True
