/* Sends captures at a given rate into a switch through two memif ports, and takes what comes out: how many, and how late.
 *
 * load EAL... -- RATE SECONDS CAPTURE|- CAPTURE|-   captures for port 0 and 1; RATE in packets a second, 0: as fast as it goes
 *
 * A frame's last eight bytes, which no switch looks at, have the TSC of when it was handed to the driver. Prints packets a second
 * sent and received, how many the ring had no room for, and the percentiles of the latency in nanoseconds. Packets that were on
 * their way while this program had lost its CPU say nothing: they are counted as skipped. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

enum { kPorts = 2, kBurst = 32, kRing = 1024, kMbufs = 16383, kStamp = 8, kSub = 5, kBuckets = 64 << kSub };

struct source {
    uint8_t *data;
    size_t size, at; /* records behind the file's header, and the next one */
    uint64_t sent, full;
};

static uint64_t buckets[kBuckets], skipped;
static uint64_t resumed; /* when the CPU was last had back */
static uint64_t away;    /* for how long it was not, since counting began */

static unsigned bucket_of(uint64_t v)
{
    unsigned width = v ? 64 - (unsigned)__builtin_clzll(v) : 0;
    return width <= kSub ? (unsigned)v : ((width - kSub) << kSub) + (unsigned)(v >> (width - 1 - kSub) & ((1u << kSub) - 1));
}

static double nanoseconds(unsigned bucket)
{
    unsigned width = (bucket >> kSub) + kSub;
    uint64_t v = width <= kSub ? bucket : ((uint64_t)(bucket & ((1u << kSub) - 1)) | 1u << kSub) << (width - 1 - kSub);
    return (double)v * 1e9 / (double)rte_get_tsc_hz();
}

static double percentile(uint64_t all, double share)
{
    uint64_t left = (uint64_t)((double)all * (1 - share));
    for (unsigned b = kBuckets; b-- > 0;) {
        if (buckets[b] > left) return nanoseconds(b);
        left -= buckets[b];
    }
    return 0;
}

static void read_capture(struct source *s, const char *path)
{
    FILE *f = strcmp(path, "-") ? fopen(path, "rb") : NULL;
    if (f == NULL) return;
    fseek(f, 0, SEEK_END);
    s->size = (size_t)ftell(f) - 24;
    fseek(f, 24, SEEK_SET);
    s->data = malloc(s->size);
    if (fread(s->data, 1, s->size, f) != s->size) rte_exit(1, "load: cannot read %s\n", path);
    fclose(f);
}

static void next_frame(struct source *s, struct rte_mbuf *m)
{
    uint32_t len;
    memcpy(&len, s->data + s->at + 8, 4);
    memcpy(rte_pktmbuf_append(m, (uint16_t)len), s->data + s->at + 16, len);
    s->at += 16 + len;
    if (s->at >= s->size) s->at = 0;
}

static void send_burst(uint16_t port, struct source *s, struct rte_mempool *pool, unsigned n)
{
    struct rte_mbuf *m[kBurst];
    if (rte_pktmbuf_alloc_bulk(pool, m, n) != 0) return;
    for (unsigned i = 0; i < n; ++i) next_frame(s, m[i]);
    uint64_t now = rte_rdtsc();
    for (unsigned i = 0; i < n; ++i) memcpy(rte_pktmbuf_mtod_offset(m[i], uint8_t *, m[i]->data_len - kStamp), &now, kStamp);
    uint16_t taken = rte_eth_tx_burst(port, 0, m, (uint16_t)n);
    if (taken < n) rte_pktmbuf_free_bulk(m + taken, n - taken);
    s->sent += taken;
    s->full += n - taken;
}

static uint64_t receive(uint16_t port, int counting)
{
    struct rte_mbuf *m[kBurst];
    uint16_t n = rte_eth_rx_burst(port, 0, m, kBurst);
    uint64_t now = rte_rdtsc(), then;
    for (uint16_t i = 0; i < n; ++i) {
        memcpy(&then, rte_pktmbuf_mtod_offset(m[i], uint8_t *, m[i]->data_len - kStamp), kStamp);
        if (!counting) continue;
        if (then < resumed)
            ++skipped;
        else if (then < now)
            ++buckets[bucket_of(now - then)];
    }
    if (n != 0) rte_pktmbuf_free_bulk(m, n);
    return n;
}

static void start(uint16_t port, struct rte_mempool *pool)
{
    struct rte_eth_conf conf = {0};
    struct rte_eth_link link;
    if (rte_eth_dev_configure(port, 1, 1, &conf) || rte_eth_rx_queue_setup(port, 0, kRing, SOCKET_ID_ANY, NULL, pool) ||
        rte_eth_tx_queue_setup(port, 0, kRing, SOCKET_ID_ANY, NULL) || rte_eth_dev_start(port))
        rte_exit(1, "load: cannot start port %u\n", port);
    for (int i = 0; i < 100; ++i, rte_delay_us_sleep(100000))
        if (rte_eth_link_get_nowait(port, &link) == 0 && link.link_status) return;
    rte_exit(1, "load: port %u is not connected\n", port);
}

int main(int argc, char **argv)
{
    int used = rte_eal_init(argc, argv);
    if (used < 0 || argc - used != 5) rte_exit(1, "usage: load EAL... -- RATE SECONDS CAPTURE|- CAPTURE|-\n");
    argv += used;
    double rate = atof(argv[1]), seconds = atof(argv[2]), hz = (double)rte_get_tsc_hz();
    struct rte_mempool *pool = rte_pktmbuf_pool_create("load", kMbufs, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    if (pool == NULL) rte_exit(1, "load: no memory\n");
    struct source sources[kPorts] = {{0}};
    int senders = 0;
    for (uint16_t p = 0; p < kPorts; ++p) {
        read_capture(&sources[p], argv[3 + p]);
        senders += sources[p].data != NULL;
        start(p, pool);
    }
    /* A tenth of the time to warm up. */
    uint64_t begin = rte_rdtsc(), counted = begin + (uint64_t)(seconds * hz / 10), end = counted + (uint64_t)(seconds * hz);
    uint64_t offered = 0, received = 0;
    int counting = 0;
    const uint64_t longest = (uint64_t)(hz / 20000); /* that a turn takes */
    for (uint64_t now, last = begin; (now = rte_rdtsc()) < end; last = now) {
        if (now - last > longest) {
            resumed = now;
            if (counting) away += now - last;
            begin += now - last; /* what would have been sent is not made up for */
        }
        if (!counting && now >= counted) {
            counting = 1;
            received = 0;
            for (int p = 0; p < kPorts; ++p) sources[p].sent = sources[p].full = 0;
        }
        uint64_t due = rate > 0 ? (uint64_t)((double)(now - begin) * rate / hz) - offered : kPorts * kBurst;
        for (uint16_t p = 0; p < kPorts; ++p) {
            unsigned n = sources[p].data ? (unsigned)RTE_MIN(due / (unsigned)senders, (uint64_t)kBurst) : 0;
            if (n != 0) send_burst(p, &sources[p], pool, n);
            offered += n;
            received += receive(p, counting);
        }
    }
    uint64_t all = 0;
    for (unsigned b = 0; b < kBuckets; ++b) all += buckets[b];
    printf("sent=%.0f received=%.0f full=%.0f skipped=%.0f away=%.6f p50=%.0f p90=%.0f p99=%.0f p99.9=%.0f max=%.0f\n", (double)(sources[0].sent + sources[1].sent) / seconds,
           (double)received / seconds, (double)(sources[0].full + sources[1].full) / seconds, (double)skipped / seconds, (double)away / hz / seconds, percentile(all, 0.5), percentile(all, 0.9), percentile(all, 0.99),
           percentile(all, 0.999), percentile(all, 1));
    return 0;
}
