/* LD_PRELOAD of ovs-vswitchd: mbuf pools of BENCH_MBUFS. Its own have 262,144 at most, too few for net_pcap to keep a capture of a
 * million packets in; everything else is as it comes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

typedef void *create(const char *name, unsigned n, unsigned cache_size, uint16_t priv_size, uint16_t data_room_size, int socket);

void *rte_pktmbuf_pool_create(const char *name, unsigned n, unsigned cache_size, uint16_t priv_size, uint16_t data_room_size, int socket)
{
    const char *wanted = getenv("BENCH_MBUFS");
    create *real = (create *)dlsym(RTLD_NEXT, "rte_pktmbuf_pool_create");
    unsigned least = wanted ? (unsigned)strtoul(wanted, NULL, 10) : 0;
    return real(name, n < least ? least : n, cache_size, priv_size, data_room_size, socket);
}
