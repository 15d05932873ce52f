"""The records of `bpf/include/loomidi/wire.h` as ctypes structures, and the names that go with its enums.

Called by the kernel shield and the user-space twin. Field names, order and widths are the header's; a test compares
both through BTF. Leaves meaning (times of the epoch, text addresses) to `verdicts`.
"""

import ctypes
from ctypes import c_uint8 as u8
from ctypes import c_uint16 as u16
from ctypes import c_uint32 as u32
from ctypes import c_uint64 as u64
from enum import IntEnum, IntFlag

SKETCH_WORDS = 4
SKETCH_BITS = 64 * SKETCH_WORDS
SPLT = 16
CIDR_NESTED = 3  # wider prefixes that the data plane still looks at behind the longest one
FOREVER = 2**64 - 1


class Reason(IntEnum):
    """Where a packet ended; the names are the keys of `Shield.counters()`."""

    ACCOUNTED = 0
    OVERFLOWED = 1
    OVERFLOW_LOST = 2
    DROP_TUPLE = 3
    DROP_HOST = 4
    DROP_CIDR = 5
    DROP_RATE = 6
    UNPARSED_SHORT = 7
    UNPARSED_NOT_IP = 8
    UNPARSED_VLAN = 9
    UNPARSED_IP = 10
    UNPARSED_EXTENSIONS = 11
    UNPARSED_LINK = 12
    PASSED = 13


class CutReason(IntEnum):
    """Where a packet on a link that is cut off ended."""

    FROM = 0
    TO = 1
    ANSWER = 2
    LOCAL = 3
    ARP = 4
    ENDED = 5
    NONE = 6


class Action(IntEnum):
    """What a verdict entry does with a packet."""

    PASS = 0
    DROP = 1
    RATE = 2
    COUNT = 3


class Enabled(IntFlag):
    """Bits of `Control.enabled`: what the data plane looks at."""

    TUPLES = 1
    HOSTS = 2
    CIDRS = 4
    PROTECTED = 8
    ACCOUNTING = 16
    WATCHING = 32
    OWN_LIMITS = 64


class Cause(IntFlag):
    """Thresholds that a suspect crossed."""

    PACKETS = 1
    SYNS = 2
    PORTS = 4
    PEERS = 8
    OCTETS = 16


class WatchKind(IntEnum):
    """What short-window counters belong to."""

    SOURCE = 1
    SERVICE = 2


class Addr(ctypes.Structure):
    """16 octets in network order; the halves are never read as numbers here."""

    _fields_ = [("hi", u64), ("lo", u64)]


class Key(ctypes.Structure):
    """A conversation, whichever way its packets go."""

    _fields_ = [
        ("low", Addr),
        ("high", Addr),
        ("low_port", u16),
        ("high_port", u16),
        ("tunnel_id", u32),
        ("vlan", u16),
        ("vlan_inner", u16),
        ("protocol", u8),
        ("ip_version", u8),
        ("tunnel", u8),
        ("pad", u8),
    ]


class Stat(ctypes.Structure):
    """Count, sum, 128 bit sum of squares, extremes."""

    _fields_ = [(name, u64) for name in ("count", "sum", "square_lo", "square_hi", "min", "max")]


class Side(ctypes.Structure):
    """One direction of a flow."""

    _fields_ = [
        *((name, u64) for name in ("packets", "octets", "wire_octets", "payload_octets", "header_octets")),
        ("size_square", u64),
        ("first_ns", u64),
        ("last_ns", u64),
        ("gap", Stat),
        ("size_min", u32),
        ("size_max", u32),
        ("flags", u32 * 8),
        ("reordered", u32),
        ("fragments", u32),
        ("window", u16),
        ("window_seen", u8),
        ("pad", u8 * 5),
    ]


class Flow(ctypes.Structure):
    """State of one flow."""

    _fields_ = [
        ("side", Side * 2),
        ("gap", Stat),
        ("active", Stat),
        ("idle", Stat),
        ("first_ns", u64),
        ("last_ns", u64),
        ("active_from_ns", u64),
        ("splt_gap_ns", u64 * SPLT),
        ("splt_size", u16 * SPLT),
        ("splt_direction", u16),
        *((name, u8) for name in ("splt_count", "initiator_is_high", "closing", "icmp_type", "icmp_code")),
        ("end", u8),
        ("first_flags", u8),
        ("inherited", u8),
        ("uncharged", u16),
        ("uncharged_octets", u32),
    ]


class Count(ctypes.Structure):
    """One counter of one CPU."""

    _fields_ = [("packets", u64), ("octets", u64)]


class Verdict(ctypes.Structure):
    """One verdict entry."""

    _fields_ = [
        *((name, u64) for name in ("expires_ns", "generation", "first_hit_ns", "last_hit_ns")),
        *((name, u64) for name in ("dropped", "octets", "passed", "tokens", "refilled_ns")),
        ("rule_id", u32),
        ("rate_pps", u32),
        ("burst", u32),
        ("action", u8),
        ("prefix", u8),
        ("pad", u8 * 2),
    ]


class Tuple(ctypes.Structure):
    """Exact 5-tuple, directional."""

    _fields_ = [
        ("source", Addr),
        ("destination", Addr),
        ("source_port", u16),
        ("destination_port", u16),
        ("protocol", u8),
        ("pad", u8 * 3),
    ]


class Prefix(ctypes.Structure):
    """Key of the longest-prefix tables."""

    _pack_ = 1
    _fields_ = [("length", u32), ("address", Addr)]


class Limits(ctypes.Structure):
    """Thresholds of a short window as the data plane compares them."""

    _fields_ = [("packets", u32), ("syns", u32), ("ports", u32), ("peers", u32), ("octets", u64)]


class OwnLimits(ctypes.Structure):
    """Thresholds of one source or service, with their end."""

    _fields_ = [("expires_ns", u64), ("limits", Limits), ("rule_id", u32), ("pad", u32)]


class Settings(ctypes.Structure):
    """Timeouts of the flow table, ns."""

    _fields_ = [(name, u64) for name in ("idle_ns", "active_ns", "linger_ns", "activity_ns")]


class Control(ctypes.Structure):
    """The one control record."""

    _fields_ = [
        ("generation", u64),
        ("enabled", u32),
        ("table", u32),
        ("flow", Settings),
        ("window_ns", u64),
        ("source", Limits),
        ("service", Limits),
    ]


class Tunables(ctypes.Structure):
    """Constants set before load."""

    _fields_ = [("clock_from_meta", u32), ("frags", u32), ("cpus", u32), ("pad", u32), ("seed", u64)]


class WatchKey(ctypes.Structure):
    """Whose short-window counters."""

    _fields_ = [("address", Addr), ("port", u16), ("protocol", u8), ("kind", u8), ("pad", u32)]


class WatchState(ctypes.Structure):
    """Short-window counters."""

    _fields_ = [
        ("from_ns", u64),
        ("octets", u64),
        ("packets", u32),
        ("syns", u32),
        ("told", u32),
        ("ports_set", u16),
        ("peers_set", u16),
        ("ports", u64 * SKETCH_WORDS),
        ("peers", u64 * SKETCH_WORDS),
    ]


class Suspect(ctypes.Structure):
    """Event of the events ring."""

    _fields_ = [
        ("at_ns", u64),
        ("tuple", Tuple),
        ("causes", u32),
        ("kind", u32),
        ("seen", WatchState),
    ]


class Record(ctypes.Structure):
    """A flow with its key: in the kernel's flow tables and in the records ring."""

    _fields_ = [("key", Key), ("flow", Flow)]


class Meta(ctypes.Structure):
    """In front of a frame given to BPF_PROG_TEST_RUN."""

    _fields_ = [("at_ns", u64), ("wire_octets", u32), ("pad", u32)]


class Cut(ctypes.Structure):
    """A pod that is cut off, by one of its links."""

    _fields_ = [
        *((name, u64) for name in ("expires_ns", "token", "first_hit_ns", "last_hit_ns")),
        *((name, u64) for name in ("dropped_from", "dropped_to", "octets", "spared")),
        ("own", Addr),
        ("plan", ctypes.c_char * 96),
        ("pod", ctypes.c_char * 40),
    ]


STRUCTS: dict[str, type[ctypes.Structure]] = {
    "lm_addr": Addr,
    "lm_key": Key,
    "lm_stat": Stat,
    "lm_side": Side,
    "lm_flow": Flow,
    "lm_count": Count,
    "lm_verdict": Verdict,
    "lm_tuple": Tuple,
    "lm_prefix": Prefix,
    "lm_limits": Limits,
    "lm_own_limits": OwnLimits,
    "lm_settings": Settings,
    "lm_control": Control,
    "lm_tunables": Tunables,
    "lm_watch_key": WatchKey,
    "lm_watch_state": WatchState,
    "lm_suspect": Suspect,
    "lm_record": Record,
    "lm_meta": Meta,
    "lm_cut": Cut,
}

CONTROL = "lm_control"
COUNTERS = "lm_counters"
UNTOLD = len(Reason)  # index behind the reasons: suspects that found the ring full
FLOWS = "lm_flows"
TUPLES = "lm_tuples"
HOSTS = "lm_hosts"
CIDRS = "lm_cidrs"
PROTECTED = "lm_protected"
WATCH = "lm_watch"
OWN_LIMITS = "lm_own_limits"
EVENTS = "lm_events"
RECORDS = "lm_records"
SCRATCH = "lm_scratch"
MAPS = (CONTROL, COUNTERS, FLOWS, TUPLES, HOSTS, CIDRS, PROTECTED, WATCH, OWN_LIMITS, EVENTS, RECORDS, SCRATCH)

CUTS = "lm_cuts"
CUT_SPARED = "lm_cut_spared_set"
CUT_COUNTS = "lm_cut_counts"
CUT_MAPS = (CUTS, CUT_SPARED, CUT_COUNTS)
