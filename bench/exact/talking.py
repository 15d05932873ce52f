"""What the pods of `bench.fold_exact` run, and its two ends outside: serve, and ask again and again.

    pod TCP_PORT UDP_PORT EVERY_S ASKS     serve both, ask each [kind, name, port] of ASKS (JSON)
    serve ADDRESS FIRST_PORT COUNT         answer UDP on these ports
    ask SOURCE ADDRESS PORT EVERY_S        ask a UDP port

Needs nothing but Python. A question that is not answered is asked anew, from another port.
"""

import collections
import contextlib
import json
import random
import socket
import sys
import threading
import time

PATIENCE_S = 0.6
NAME = b"".join(bytes([len(part)]) + part for part in b"kubernetes.default.svc.cluster.local".split(b"."))
QUERY = b"\x12\x34\x01\x00\x00\x01" + bytes(6) + NAME + b"\x00\x00\x01\x00\x01"  # for its address (RFC 1035)

LATE = collections.deque(maxlen=128)  # sockets that asked lately: where an answer comes late, the kernel says no ICMP


def echo_udp(address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as me:
        me.bind((address, port))
        while True:
            word, who = me.recvfrom(512)
            with contextlib.suppress(OSError):
                me.sendto(word, who)


def serve_tcp(port):
    with socket.create_server(("", port), backlog=128) as me:
        while True:
            there, _ = me.accept()
            threading.Thread(target=echo_tcp, args=(there,), daemon=True).start()


def echo_tcp(there):
    with there, contextlib.suppress(OSError):
        there.settimeout(30)
        while word := there.recv(64):
            there.sendall(word)


def ask_udp(address, port, every_s, word=b"word", source=""):
    me = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    LATE.append(me)
    me.settimeout(PATIENCE_S)
    me.bind((source, 0))
    me.sendto(word, (address, port))
    me.recv(512)
    time.sleep(every_s * random.uniform(0.7, 1.3))


def ask_dns(address, port, every_s):
    ask_udp(address, port, every_s, QUERY)


def ask_tcp(address, port, every_s):
    with socket.create_connection((address, port), PATIENCE_S) as me:
        me.sendall(b"word")
        me.recv(64)
    time.sleep(every_s * random.uniform(0.7, 1.3))


def ask_line(address, port, every_s):
    """One connection for as long as it holds."""
    with socket.create_connection((address, port), PATIENCE_S) as me:
        while True:
            me.sendall(b"word")
            if not me.recv(64):
                return
            time.sleep(every_s * random.uniform(0.7, 1.3))


def for_ever(asking, *what):
    while True:
        try:
            asking(*what)
        except OSError:
            time.sleep(0.1)


def looked_up(name):
    while True:
        try:
            return socket.gethostbyname(name)
        except OSError:
            time.sleep(0.5)


def ask(kind, name, port, every_s):
    for_ever({"udp": ask_udp, "tcp": ask_tcp, "line": ask_line, "dns": ask_dns}[kind], looked_up(name), port, every_s)


def started(work, *what):
    threading.Thread(target=work, args=what, daemon=True).start()


def main(verb, *given):
    if verb == "pod":
        tcp, udp, every_s, asks = int(given[0]), int(given[1]), float(given[2]), json.loads(given[3])
        started(serve_tcp, tcp)
        started(echo_udp, "", udp)
        for kind, name, port in asks:
            started(ask, kind, name, port, every_s)
    elif verb == "serve":
        for port in range(int(given[1]), int(given[1]) + int(given[2])):
            started(echo_udp, given[0], port)
    else:
        source, address, port, every_s = given
        started(for_ever, ask_udp, address, int(port), float(every_s), b"word", source)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
