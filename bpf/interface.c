/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Frames of an interface through a TPACKET_V3 ring of AF_PACKET (packet(7), Documentation/networking/packet_mmap.rst).
 * Called by meter.c. The kernel takes VLAN tags off; they are put back, so that the parser sees what was on the wire.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <arpa/inet.h>

#include "capture.h"
#include "linktype.h"
#include "meter.h"

#define LM_RING (32U << 20)
#define LM_BLOCK (1U << 20) /* at most; a small ring has smaller ones, so that some are free while one is read */
#define LM_LEAST_BLOCK (64U << 10)
#define LM_FEW_BLOCKS 16U
#define LM_RETIRE_MS 50U /* a block that is not full is handed over after this */
#define LM_TAP_FRAME 2048U
#define LM_TAGGED 192U /* octets of a frame kept when a tag has to be put back: all headers fit */

struct lm_tap {
	int fd;
	int loopback; /* every packet passes twice there, out and in: the way out is skipped, as tcpdump does */
	uint32_t link;
	int finishing; /* nothing new comes in: only what the ring holds is still handed out */
	uint32_t block_octets;
	uint32_t blocks;
	uint64_t twice; /* packets skipped since lm_tap_count */
	uint8_t *map;
	uint32_t block; /* the one being read */
	uint32_t left;	/* packets of it not yet handed out */
	const struct tpacket3_hdr *packet;
	uint8_t tagged[LM_TAGGED + 4];
};

/* The link type of a device, by its ARPHRD; tun and most tunnels are raw IP. */
static int lm_tap_link(struct lm_tap *r, const char *name)
{
	struct ifreq request;

	memset(&request, 0, sizeof(request));
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(r->fd, SIOCGIFHWADDR, &request))
		return -errno;
	r->loopback = request.ifr_hwaddr.sa_family == ARPHRD_LOOPBACK;
	switch (request.ifr_hwaddr.sa_family) {
	case ARPHRD_ETHER:
	case ARPHRD_LOOPBACK:
		r->link = LM_LINK_ETHERNET;
		return 0;
	case ARPHRD_NONE:
	case ARPHRD_PPP:
	case ARPHRD_TUNNEL:
	case ARPHRD_TUNNEL6:
	case ARPHRD_SIT:
	case ARPHRD_RAWIP:
		r->link = LM_LINK_RAW;
		return 0;
	default:
		return -EPROTONOSUPPORT;
	}
}

/* Keeps `octets` of each frame; 0 lets none in. */
static int lm_tap_filter(struct lm_tap *r, uint32_t octets)
{
	struct sock_filter keep = BPF_STMT(BPF_RET | BPF_K, octets);
	struct sock_fprog program = {.len = 1, .filter = &keep};

	return setsockopt(r->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) ? -errno : 0;
}

static int lm_tap_map(struct lm_tap *r, uint32_t ring)
{
	struct tpacket_req3 request = {.tp_frame_size = LM_TAP_FRAME, .tp_retire_blk_tov = LM_RETIRE_MS};
	int version = TPACKET_V3;

	r->block_octets = LM_BLOCK;
	while (r->block_octets > LM_LEAST_BLOCK && ring / r->block_octets < LM_FEW_BLOCKS)
		r->block_octets /= 2;
	r->blocks = ring / r->block_octets > 2 ? ring / r->block_octets : 2;
	request.tp_block_size = r->block_octets;
	request.tp_block_nr = r->blocks;
	request.tp_frame_nr = r->block_octets / LM_TAP_FRAME * r->blocks;
	if (setsockopt(r->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) ||
	    setsockopt(r->fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)))
		return -errno;
	r->map = mmap(NULL, (size_t)r->block_octets * r->blocks, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (r->map == MAP_FAILED) {
		r->map = NULL;
		return -errno;
	}
	return 0;
}

static int lm_tap_bind(struct lm_tap *r, unsigned int index)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct packet_mreq everything = {.mr_ifindex = (int)index, .mr_type = PACKET_MR_PROMISC};

	address.sll_ifindex = (int)index;
	if (bind(r->fd, (struct sockaddr *)&address, sizeof(address)))
		return -errno;
	/* Best effort: some devices have no promiscuous mode and are metered all the same. */
	(void)setsockopt(r->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &everything, sizeof(everything));
	return 0;
}

int lm_tap_open(const char *name, uint32_t ring, uint32_t snap, struct lm_tap **out)
{
	unsigned int index = if_nametoindex(name);
	struct lm_tap *r;
	int status;

	if (!index)
		return -ENODEV;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0); /* protocol 0: nothing arrives before the bind */
	status = r->fd < 0 ? -errno : lm_tap_link(r, name);
	if (!status && snap)
		status = lm_tap_filter(r, snap);
	if (!status)
		status = lm_tap_map(r, ring ? ring : LM_RING);
	if (!status)
		status = lm_tap_bind(r, index);
	if (status) {
		lm_tap_close(r);
		return status;
	}
	*out = r;
	return 0;
}

void lm_tap_close(struct lm_tap *r)
{
	if (r->map)
		munmap(r->map, (size_t)r->block_octets * r->blocks);
	if (r->fd >= 0)
		close(r->fd);
	free(r);
}

static struct tpacket_block_desc *lm_block_at(const struct lm_tap *r)
{
	return (struct tpacket_block_desc *)(r->map + (size_t)r->block * r->block_octets);
}

static int lm_block_ready(const struct lm_tap *r)
{
	return (__atomic_load_n(&lm_block_at(r)->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER) != 0;
}

/* While finishing, the socket may be in error and its poll at once over: the kernel's timer gives the last block. */
static int lm_tap_wait_last(const struct lm_tap *r, int wait_ms)
{
	struct timespec step = {.tv_nsec = 10000000};

	for (int waited = 0; !lm_block_ready(r); waited += 10) {
		if (waited >= wait_ms)
			return 0;
		(void)nanosleep(&step, NULL);
	}
	return 1;
}

/* 1: the block is ours to read. 0: nothing within wait_ms. */
static int lm_tap_wait(struct lm_tap *r, int wait_ms)
{
	struct pollfd wait = {.fd = r->fd, .events = POLLIN | POLLERR};

	for (int round = 0; round < 2; round++) {
		int error = 0, got;
		socklen_t octets = sizeof(error);

		if (lm_block_ready(r))
			return 1;
		if (round || !wait_ms)
			return 0;
		got = poll(&wait, 1, wait_ms);
		if (got < 0)
			return errno == EINTR ? 0 : -errno;
		if (got && wait.revents & POLLERR && !getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &error, &octets) && error)
			return -error;
	}
	return 0;
}

/* The frame with its tag put back behind the addresses. Headers are all that is kept of it. */
static void lm_tap_retag(struct lm_tap *r, const struct tpacket3_hdr *p, struct lm_frame *f)
{
	uint16_t type = p->tp_status & TP_STATUS_VLAN_TPID_VALID ? p->hv1.tp_vlan_tpid : ETH_P_8021Q;
	uint32_t octets = f->captured < LM_TAGGED ? f->captured : LM_TAGGED;

	if (octets < 12)
		return;
	memcpy(r->tagged, f->at, 12);
	r->tagged[12] = (uint8_t)(type >> 8);
	r->tagged[13] = (uint8_t)type;
	r->tagged[14] = (uint8_t)(p->hv1.tp_vlan_tci >> 8);
	r->tagged[15] = (uint8_t)p->hv1.tp_vlan_tci;
	memcpy(r->tagged + 16, f->at + 12, octets - 12);
	f->at = r->tagged;
	f->captured = octets + 4;
	f->wire += 4;
}

/* The next packet of the ring, whatever it is. 1, 0: none within wait_ms, -errno. */
static int lm_tap_step(struct lm_tap *r, int wait_ms)
{
	struct tpacket_block_desc *block = lm_block_at(r);
	int status;

	if (r->left) {
		r->packet = (const struct tpacket3_hdr *)((const uint8_t *)r->packet + r->packet->tp_next_offset);
		r->left--;
		return 1;
	}
	if (r->packet) { /* the block is read to its end: back to the kernel */
		__atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		r->block = (r->block + 1) % r->blocks;
		r->packet = NULL;
		block = lm_block_at(r);
	}
	status = r->finishing ? lm_tap_wait_last(r, wait_ms) : lm_tap_wait(r, wait_ms);
	if (status <= 0)
		return status;
	r->left = block->hdr.bh1.num_pkts;
	r->packet = (const struct tpacket3_hdr *)((uint8_t *)block + block->hdr.bh1.offset_to_first_pkt);
	if (!r->left)
		return 0;
	r->left--;
	return 1;
}

/* Whether it was seen on its way out of a loopback device; counted. */
static int lm_tap_twice(struct lm_tap *r)
{
	const struct sockaddr_ll *from =
		(const struct sockaddr_ll *)((const uint8_t *)r->packet + TPACKET_ALIGN(sizeof(*r->packet)));

	if (!r->loopback || from->sll_pkttype != PACKET_OUTGOING)
		return 0;
	r->twice++;
	return 1;
}

int lm_tap_next(struct lm_tap *r, struct lm_frame *f, int wait_ms)
{
	const struct tpacket3_hdr *p;

	do {
		int status = lm_tap_step(r, wait_ms);

		if (status <= 0)
			return status;
	} while (lm_tap_twice(r));
	p = r->packet;
	f->at = (const uint8_t *)p + p->tp_mac;
	f->captured = p->tp_snaplen;
	f->wire = p->tp_len;
	f->link = r->link;
	f->at_ns = (uint64_t)p->tp_sec * 1000000000ULL + p->tp_nsec;
	if (p->tp_status & TP_STATUS_VLAN_VALID && r->link == LM_LINK_ETHERNET)
		lm_tap_retag(r, p, f);
	return 1;
}

void lm_tap_finish(struct lm_tap *r)
{
	(void)lm_tap_filter(r, 0); /* when it fails, more may come in than is read: it stays counted as received */
	r->finishing = 1;
}

void lm_tap_count(struct lm_tap *r, struct lm_meter_state *state)
{
	struct tpacket_stats_v3 stats;
	socklen_t octets = sizeof(stats);

	state->twice += r->twice;
	r->twice = 0;
	if (getsockopt(r->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &octets))
		return;
	state->received += stats.tp_packets; /* with the drops among them */
	state->lost += stats.tp_drops;
}
