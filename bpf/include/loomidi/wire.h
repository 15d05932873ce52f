/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Every struct, enum and map name that the data plane and user space share. Nothing here has logic.
 *
 * Addresses are 16 octets in network order, IPv4 as v4-mapped IPv6 (RFC 4291 section 2.5.5.2). Ports, lengths and
 * times are in host order. Times are nanoseconds: of CLOCK_MONOTONIC in the kernel, of the epoch in user space.
 * src/loomidi/loom/capture/xdp reads these layouts from BTF and compares them with its own records in a test.
 */
#ifndef LOOMIDI_WIRE_H
#define LOOMIDI_WIRE_H

#include <linux/types.h>

#define LM_INLINE static inline __attribute__((always_inline))

/* clang unrolls on request; for gcc the loops are small enough to see for itself. */
#ifdef __clang__
#define LM_UNROLL _Pragma("unroll")
#else
#define LM_UNROLL
#endif

#define LM_SPLT 16U	  /* packets whose size, direction and gap are kept */
#define LM_SKETCH_WORDS 4 /* 64-bit words in a linear-counting bitmap */

struct lm_addr {
	__u64 hi; /* first eight octets as they are on the wire */
	__u64 lo;
};

enum lm_tunnel {
	LM_TUNNEL_NONE = 0,
	LM_TUNNEL_VXLAN = 1,
	LM_TUNNEL_GENEVE = 2,
};

/* A conversation, whichever way a packet of it goes. low < high as (address, port). */
struct lm_key {
	struct lm_addr low;
	struct lm_addr high;
	__u16 low_port; /* ICMP: the request's type * 256 + code, in both ports */
	__u16 high_port;
	__u32 tunnel_id; /* VNI of VXLAN or Geneve */
	__u16 vlan;	 /* outer (or only) VLAN id, 0 when untagged */
	__u16 vlan_inner;
	__u8 protocol;
	__u8 ip_version; /* 4 or 6 */
	__u8 tunnel;	 /* enum lm_tunnel */
	__u8 pad;
};

enum lm_fragment {
	LM_FRAGMENT_NONE = 0,
	LM_FRAGMENT_FIRST = 1, /* has the transport header */
	LM_FRAGMENT_LATER = 2, /* has none: ports are 0 */
};

/* One packet as the parser saw it. Never leaves the program that parsed it. */
struct lm_packet {
	struct lm_addr source;
	struct lm_addr destination;
	__u64 at_ns;
	__u32 wire_octets;    /* the whole frame */
	__u32 ip_octets;      /* the (inner) IP packet as its own header gives it */
	__u32 header_octets;  /* IP header, extension headers and transport header */
	__u32 payload_octets; /* ip_octets - header_octets, never below 0 */
	__u32 tunnel_id;
	__u16 source_port;
	__u16 destination_port;
	__u16 vlan;
	__u16 vlan_inner;
	__u16 window;
	__u8 protocol;
	__u8 ip_version;
	__u8 tcp_flags; /* FIN SYN RST PSH ACK URG ECE CWR, bit 0 first */
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 tunnel;
	__u8 fragment; /* enum lm_fragment */
	__u8 cut;      /* ends within the IP options: no ports */
	__u8 pad[2];
};

enum lm_tcp_flag {
	LM_FIN = 0x01,
	LM_SYN = 0x02,
	LM_RST = 0x04,
	LM_PSH = 0x08,
	LM_ACK = 0x10,
	LM_URG = 0x20,
	LM_ECE = 0x40,
	LM_CWR = 0x80,
};

/* count, sum, sum of squares (128 bit), extremes. Exact: no rounding before the export. */
struct lm_stat {
	__u64 count;
	__u64 sum;
	__u64 square_lo;
	__u64 square_hi;
	__u64 min;
	__u64 max;
};

/* One direction of a flow. Sizes are IP octets; packets and octets are their count and sum. */
struct lm_side {
	__u64 packets;
	__u64 octets;
	__u64 wire_octets;
	__u64 payload_octets;
	__u64 header_octets;
	__u64 size_square;
	__u64 first_ns; /* time of this direction's first packet as it came */
	__u64 last_ns;
	struct lm_stat gap; /* inter-arrival, ns; negative gaps are in `reordered` instead */
	__u32 size_min;
	__u32 size_max;
	__u32 flags[8]; /* packets with FIN SYN RST PSH ACK URG ECE CWR */
	__u32 reordered;
	__u32 fragments;
	__u16 window; /* of the first TCP segment of this direction */
	__u8 window_seen;
	__u8 pad[5];
};

/* Clients' ports begin here: Linux's net.ipv4.ip_local_port_range; RFC 6335 has 49152. */
#define LM_EPHEMERAL 32768

enum lm_end {
	LM_END_NONE = 0,
	LM_END_IDLE = 1, /* as IPFIX IE 136 where it has a value */
	LM_END_ACTIVE = 2,
	LM_END_FIN = 3,
	LM_END_FORCED = 4,
	LM_END_EVICTED = 5, /* IE 136: lack of resources */
	LM_END_RST = 6,	    /* IE 136: end of flow detected, told apart from FIN */
};

enum lm_closing {
	LM_CLOSING_FIN_INITIATOR = 1,
	LM_CLOSING_FIN_RESPONDER = 2,
	LM_CLOSING_RST = 4,
};

/* The state of one flow. side[0] is the initiator's. Also the partial state that the kernel hands over. */
struct lm_flow {
	struct lm_side side[2];
	struct lm_stat gap;    /* both directions together */
	struct lm_stat active; /* closed activity periods; the open one is [active_from_ns, last_ns] */
	struct lm_stat idle;   /* gaps longer than the activity timeout */
	__u64 first_ns;
	__u64 last_ns;
	__u64 active_from_ns;
	__u64 splt_gap_ns[LM_SPLT];
	__u16 splt_size[LM_SPLT];
	__u16 splt_direction; /* bit i: packet i came from the responder */
	__u8 splt_count;
	__u8 initiator_is_high; /* the initiator is key.high */
	__u8 closing;		/* enum lm_closing bits */
	__u8 icmp_type;		/* of the first packet */
	__u8 icmp_code;
	__u8 end;	  /* enum lm_end, set when the flow was split off */
	__u8 first_flags; /* TCP flags of the first packet */
	__u8 inherited;	  /* direction came from the flow before it (active timeout) */
	__u16 uncharged;  /* packets not yet charged to the source counters (kernel only) */
	__u32 uncharged_octets;
};

struct lm_settings {
	__u64 idle_ns;	   /* a gap longer than this ends the flow */
	__u64 active_ns;   /* a flow longer than this is cut, its direction kept */
	__u64 linger_ns;   /* packets this long after a FIN/FIN or RST still belong to it */
	__u64 activity_ns; /* a gap longer than this ends an activity period */
};

/* Where a packet ended. Every packet is counted in exactly one of these. */
enum lm_reason {
	LM_ACCOUNTED = 0,     /* passed, in the flow table */
	LM_OVERFLOWED = 1,    /* passed, table full, sent through the ring */
	LM_OVERFLOW_LOST = 2, /* passed, table and ring full: only this counter knows it */
	LM_DROP_TUPLE = 3,    /* dropped, counted in its entry */
	LM_DROP_HOST = 4,
	LM_DROP_CIDR = 5,
	LM_DROP_RATE = 6,	     /* over the rate of an entry */
	LM_UNPARSED_SHORT = 7,	     /* ends inside a header that is needed for the key */
	LM_UNPARSED_NOT_IP = 8,	     /* ARP, LLDP, ... */
	LM_UNPARSED_VLAN = 9,	     /* more VLAN tags or MPLS labels than the named limit */
	LM_UNPARSED_IP = 10,	     /* wrong version, header length or total length */
	LM_UNPARSED_EXTENSIONS = 11, /* more IPv6 extension headers than the named limit */
	LM_UNPARSED_LINK = 12,	     /* link type that the meter does not know (captures only) */
	LM_PASSED = 13,		     /* passed while accounting is off */
	LM_REASONS = 14,
	LM_UNTOLD = LM_REASONS, /* no packet: a suspect that found the ring full, kept beside the reasons */
	LM_COUNTERS,
};

struct lm_count {
	__u64 packets;
	__u64 octets; /* of the whole frame */
};

enum lm_action {
	LM_PASS = 0,
	LM_DROP = 1,
	LM_RATE = 2,
	LM_COUNT = 3,
};

/* One verdict entry: the lease of a block. Ignored once expired or of an older generation. */
struct lm_verdict {
	__u64 expires_ns;
	__u64 generation;
	__u64 first_hit_ns;
	__u64 last_hit_ns; /* coarse clock */
	__u64 dropped;	   /* packets; matched packets are dropped + passed */
	__u64 octets;	   /* of the whole frames of all matched packets */
	__u64 passed;	   /* matched and let through: within the rate, or only counted */
	__u64 tokens;	   /* of the bucket, in 1/10^9 packets */
	__u64 refilled_ns;
	__u32 rule_id;
	__u32 rate_pps;
	__u32 burst;
	__u8 action; /* enum lm_action */
	__u8 prefix; /* bits, of 128, of a CIDR's key; else 0 */
	__u8 pad[2];
};

/* Exact 5-tuple as the packet has it (directional). */
struct lm_tuple {
	struct lm_addr source;
	struct lm_addr destination;
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 pad[3];
};

struct lm_prefix {
	__u32 length; /* bits, of 128; IPv4 /n is 96 + n */
	struct lm_addr address;
} __attribute__((packed));

/* Thresholds per short window; 0 turns one off. ports and peers are bits set in the bitmap: m (1 - e^(-n / m)) for n. */
struct lm_limits {
	__u32 packets;
	__u32 syns;
	__u32 ports; /* distinct destination ports of a source */
	__u32 peers; /* distinct destinations of a source, or distinct sources of a service */
	__u64 octets;
};

/*
 * Thresholds of one source or service instead of those in lm_control: a lease, as a verdict is. Once it has ended, the
 * general ones count again, whatever has become of who wrote it.
 */
struct lm_own_limits {
	__u64 expires_ns;
	struct lm_limits limits;
	__u32 rule_id;
	__u32 pad;
};

enum lm_enabled {
	LM_HAVE_TUPLES = 1,
	LM_HAVE_HOSTS = 2,
	LM_HAVE_CIDRS = 4,
	LM_VERDICTS = LM_HAVE_TUPLES | LM_HAVE_HOSTS | LM_HAVE_CIDRS,
	LM_HAVE_PROTECTED = 8,
	LM_ACCOUNTING = 16,
	LM_WATCHING = 32, /* source and service counters */
	LM_HAVE_OWN_LIMITS = 64,
};

/*
 * The one control record, mapped into user space: a store there is seen by the next packet. `generation` is first:
 * writing those 8 octets turns every verdict entry off. What every packet reads is in the first cache line.
 */
struct lm_control {
	__u64 generation;
	__u32 enabled; /* enum lm_enabled bits */
	__u32 table;   /* which of the two sets of flow tables is being written: 0 or 1 */
	struct lm_settings flow;
	__u64 window_ns; /* of the short-window counters */
	struct lm_limits source;
	struct lm_limits service;
};

/* Set before load. */
struct lm_tunables {
	__u32 clock_from_meta; /* time and wire length come from struct lm_meta in front of the frame (tests) */
	__u32 frags;	       /* frames may be in several buffers: ask for the length */
	__u32 cpus;	       /* possible CPUs: table t of CPU c is in slot t * cpus + c */
	__u32 pad;
	__u64 seed; /* of the flow tables' keys: nobody outside can make them collide */
};

/* Short-window counters of one source address, or of one service (destination, port, protocol). */
struct lm_watch_key {
	struct lm_addr address;
	__u16 port;    /* 0 for a source */
	__u8 protocol; /* 0 for a source */
	__u8 kind;     /* enum lm_watch_kind */
	__u32 pad;
};

enum lm_watch_kind {
	LM_WATCH_SOURCE = 1,
	LM_WATCH_SERVICE = 2,
};

struct lm_watch_state {
	__u64 from_ns;
	__u64 octets;
	__u32 packets;
	__u32 syns;
	__u32 told;	 /* enum lm_cause bits already sent in this window */
	__u16 ports_set; /* bits set below */
	__u16 peers_set;
	__u64 ports[LM_SKETCH_WORDS];
	__u64 peers[LM_SKETCH_WORDS];
};

/* What one packet, or the last few of its flow, adds to short-window counters. Never leaves the program. */
struct lm_charge {
	__u64 at_ns;
	__u64 octets;
	__u32 packets;
	__u32 syns;
	struct lm_tuple tuple;
};

enum lm_cause {
	LM_CAUSE_PACKETS = 1,
	LM_CAUSE_SYNS = 2,
	LM_CAUSE_PORTS = 4,
	LM_CAUSE_PEERS = 8,
	LM_CAUSE_OCTETS = 16,
};

struct lm_suspect {
	__u64 at_ns;
	struct lm_tuple tuple; /* of the crossing packet */
	__u32 causes;	       /* enum lm_cause bits */
	__u32 kind;	       /* enum lm_watch_kind */
	struct lm_watch_state seen;
};

/* A flow with its key: what the kernel's flow tables hold and what the records ring carries. */
struct lm_record {
	struct lm_key key;
	struct lm_flow flow;
};

/* In front of a frame given to BPF_PROG_TEST_RUN when the object was loaded with lm_clock_from_meta. */
struct lm_meta {
	__u64 at_ns;
	__u32 wire_octets;
	__u32 pad;
};

/* Where a packet on the link of a pod that is cut off ended. Every packet is counted in exactly one of these. */
enum lm_cut_reason {
	LM_CUT_FROM = 0,   /* dropped: the pod sent it */
	LM_CUT_TO = 1,	   /* dropped: somebody sent it to the pod */
	LM_CUT_ANSWER = 2, /* passed: the pod answers its own node over TCP */
	LM_CUT_LOCAL = 3,  /* passed: a process of the pod's own node sent it (the kubelet's probes) */
	LM_CUT_ARP = 4,	   /* passed: between the pod under its own address and its node */
	LM_CUT_ENDED = 5,  /* passed: the cut's time is over */
	LM_CUT_NONE = 6,   /* passed: no cut is known for this link */
	LM_CUT_REASONS,
};

#define LM_CUT_PLAN 96 /* octets of a plan's id with its end */
#define LM_CUT_POD 40  /* octets of a pod's UID with its end */

/* A pod that is cut off, by one of its links: a lease, and the record of it. Nothing counts once it has expired. */
struct lm_cut {
	__u64 expires_ns;
	__u64 token; /* fencing token of who asked for it */
	__u64 first_hit_ns;
	__u64 last_hit_ns;
	__u64 dropped_from; /* packets that the pod sent */
	__u64 dropped_to;   /* packets that were sent to it */
	__u64 octets;	    /* of the whole frames of both */
	__u64 spared;	    /* packets let through for its node */
	struct lm_addr own; /* the pod's IPv4 address, for ARP; all zero: no ARP passes */
	char plan[LM_CUT_PLAN];
	char pod[LM_CUT_POD];
};

#define LM_MAP_CONTROL "lm_control"
#define LM_MAP_COUNTERS "lm_counters"
#define LM_MAP_FLOWS "lm_flows" /* map of hash maps, two for every CPU */
#define LM_MAP_TUPLES "lm_tuples"
#define LM_MAP_HOSTS "lm_hosts"
#define LM_MAP_CIDRS "lm_cidrs"
#define LM_MAP_PROTECTED "lm_protected"
#define LM_MAP_WATCH "lm_watch"
#define LM_MAP_EVENTS "lm_events"   /* ring: suspects, nothing else, so that no flood of records hides one */
#define LM_MAP_RECORDS "lm_records" /* ring: flows that were split off or did not fit */
#define LM_MAP_SCRATCH "lm_scratch" /* per CPU: a flow that is too big for the stack, a clock */
#define LM_MAP_CUTS "lm_cuts"	    /* by the index of the link */
#define LM_MAP_CUT_SPARED "lm_cut_spared_set"
#define LM_MAP_CUT_COUNTS "lm_cut_counts"

#endif
