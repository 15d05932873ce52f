// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The shield as an XDP and as a tc program: fetch the frame, parse, let shield.h decide. Built twice, the second time
 * with LM_INNER (what is inside VXLAN and Geneve is judged and accounted instead of the tunnel).
 */
#include <loomidi/maps.h>
#include <loomidi/shield.h>

#define LM_LINEAR 128 /* octets that tc wants in one piece: headers up to QinQ, IPv6 with extensions, TCP */
#define LM_TC_NEXT (-1)
#define LM_TC_DROP 2

char LICENSE[] SEC("license") = "GPL";

/* Time and length as the test gives them. */
LM_INLINE int lm_meta_read(const __u8 *meta, const __u8 *data, struct lm_packet *p)
{
	const struct lm_meta *m = (const void *)meta;

	if (meta + sizeof(*m) > data)
		return -1;
	p->at_ns = m->at_ns;
	p->wire_octets = m->wire_octets;
	return 0;
}

SEC("xdp")
int lm_shield_xdp(struct xdp_md *ctx)
{
	struct lm_cursor c = {(const __u8 *)(long)ctx->data, (const __u8 *)(long)ctx->data_end};
	struct lm_packet p = {};
	int parsed;

	c.from = c.at;
	p.wire_octets = (__u32)(c.end - c.at);
	if (lm_tunables.frags)
		p.wire_octets = (__u32)bpf_xdp_get_buff_len(ctx);
	if (lm_tunables.clock_from_meta && lm_meta_read((const __u8 *)(long)ctx->data_meta, c.at, &p))
		return XDP_ABORTED;
	lm_stamp(0, &p);
	parsed = lm_parse_frame(&c, &p, LM_INNER);
	return lm_shield(0, &p, parsed) == LM_DROP ? XDP_DROP : XDP_PASS;
}

LM_INLINE int lm_shield_skb(struct __sk_buff *skb)
{
	struct lm_cursor c;
	struct lm_packet p = {};
	int tagged = skb->vlan_present != 0, parsed;

	if (skb->data_end - skb->data < LM_LINEAR && skb->len > skb->data_end - skb->data)
		bpf_skb_pull_data(skb, skb->len < LM_LINEAR ? skb->len : LM_LINEAR);
	c.at = (const __u8 *)(long)skb->data;
	c.from = c.at;
	c.end = (const __u8 *)(long)skb->data_end;
	p.wire_octets = skb->len + (tagged ? 4 : 0);
	if (tagged)
		p.vlan = skb->vlan_tci & 0x0fff;
	if (lm_tunables.clock_from_meta) {
		p.at_ns = skb->tstamp;
		p.wire_octets = skb->wire_len;
	}
	lm_stamp(0, &p);
	parsed = lm_parse_tagged(&c, &p, tagged, LM_INNER);
	return lm_shield(0, &p, parsed) == LM_DROP ? LM_TC_DROP : LM_TC_NEXT;
}

SEC("tc")
int lm_shield_tc(struct __sk_buff *skb)
{
	return lm_shield_skb(skb);
}

/* The same under another name: the node agent's entries on all uplinks of a node, beside a shield of one of them. */
SEC("tc")
int lm_uplink_tc(struct __sk_buff *skb)
{
	return lm_shield_skb(skb);
}
