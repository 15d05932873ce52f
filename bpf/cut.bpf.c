// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * A pod cut off on its own link: two tc programs on the node's end of it, one for what the pod sends and one for what
 * is sent to it, ahead of the network plugin's. The maps are one set for all links of a node; cut.h decides.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <loomidi/wire.h>

#define LM_LINEAR 128 /* octets wanted in one piece: headers up to QinQ, IPv6 with extensions, TCP */
#define LM_CUT_NEXT (-1)
#define LM_CUT_SHOT 2

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32); /* index of the link */
	__type(value, struct lm_cut);
} lm_cuts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct lm_prefix);
	__type(value, __u32);
} lm_cut_spared_set SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LM_CUT_REASONS);
	__type(key, __u32);
	__type(value, struct lm_count);
} lm_cut_counts SEC(".maps");

LM_INLINE void lm_atomic_add(__u64 *to, __u64 n)
{
	__sync_fetch_and_add(to, n);
}

LM_INLINE int lm_cut_spared(const struct lm_addr *address)
{
	struct lm_prefix prefix = {.length = 128, .address = *address};

	return bpf_map_lookup_elem(&lm_cut_spared_set, &prefix) != 0;
}

LM_INLINE void lm_cut_count(__u32 reason, __u32 octets)
{
	struct lm_count *count = bpf_map_lookup_elem(&lm_cut_counts, &reason);

	if (!count)
		return;
	count->packets++;
	count->octets += octets;
}

#include <loomidi/cut.h>

LM_INLINE int lm_cut_frame(struct __sk_buff *skb, int to_pod)
{
	struct lm_passage at = {.to_pod = to_pod, .local = to_pod && skb->sk != 0};
	int tagged = skb->vlan_present != 0, parsed;
	__u32 link = skb->ifindex;
	struct lm_cursor c;

	at.cut = bpf_map_lookup_elem(&lm_cuts, &link);
	if (at.cut)
		at.now_ns = bpf_ktime_get_ns();
	if (lm_cut_idle(&at)) {
		lm_cut_count(at.cut ? LM_CUT_ENDED : LM_CUT_NONE, skb->len + (tagged ? 4 : 0));
		return LM_CUT_NEXT;
	}
	if (skb->data_end - skb->data < LM_LINEAR && skb->len > skb->data_end - skb->data)
		bpf_skb_pull_data(skb, skb->len < LM_LINEAR ? skb->len : LM_LINEAR);
	c.at = (const __u8 *)(long)skb->data;
	c.from = c.at;
	c.end = (const __u8 *)(long)skb->data_end;
	at.packet.wire_octets = skb->len + (tagged ? 4 : 0); /* earlier, clang subtracts pointers in 32 bit */
	parsed = lm_parse_tagged(&c, &at.packet, tagged, 0);
	return lm_cut(&at, &c, parsed) ? LM_CUT_SHOT : LM_CUT_NEXT;
}

/* Ingress of the node's end. */
SEC("tc")
int lm_cut_from_pod(struct __sk_buff *skb)
{
	return lm_cut_frame(skb, 0);
}

/* Egress of the node's end. */
SEC("tc")
int lm_cut_to_pod(struct __sk_buff *skb)
{
	return lm_cut_frame(skb, 1);
}
