// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * For the benches: a bare drop (what any XDP program costs before it does something), and a traffic generator that is
 * run by BPF_PROG_TEST_RUN with live frames, gives each frame a flow of its own turn and sends it into an interface.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>

char LICENSE[] SEC("license") = "GPL";

struct lm_generator {
	__u32 ifindex; /* where frames are sent */
	__u32 flows;   /* distinct source ports and addresses, a power of two */
};

const volatile struct lm_generator lm_generator = {.flows = 1};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lm_sent SEC(".maps");

SEC("xdp")
int lm_bare_drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}

/* What reading the clock costs: the floor of an exact time for each packet. */
SEC("xdp")
int lm_bare_clock(struct xdp_md *ctx)
{
	return bpf_ktime_get_ns() ? XDP_DROP : XDP_ABORTED;
}

/* The frame is UDP over IPv4 without a UDP checksum; source port and the last octets of the address follow the count. */
SEC("xdp")
int lm_generate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__u32 zero = 0, turn;
	__u64 *sent = bpf_map_lookup_elem(&lm_sent, &zero);

	if (!sent || (void *)(udp + 1) > end)
		return XDP_ABORTED;
	turn = (__u32)*sent & (lm_generator.flows - 1);
	(*sent)++;
	udp->source = bpf_htons(1024 + (turn & 0x3fff));
	ip->saddr = bpf_htonl(0x0a000000 | turn >> 14);
	return (int)bpf_redirect(lm_generator.ifindex, 0);
}
