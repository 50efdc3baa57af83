/* htprobe tsc: prints the TSC's rate in Hz.
 * htprobe CORE: says how much of the physical core this vCPU has to itself.
 * Independent adds over dependent adds, in TSC ticks: about 1.4 when the sibling
 * hyperthread (another virtual machine's, so neither steal time nor load shows it)
 * is idle, 2 and more when it is busy.  Takes about 3 ms. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

static int cmp(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* TSC ticks in 200 ms of the kernel's clock. */
static double tsc_hz(void)
{
    struct timespec a, b, nap = { .tv_nsec = 200000000 };
    uint64_t t0, t1;

    clock_gettime(CLOCK_MONOTONIC_RAW, &a);
    t0 = __rdtsc();
    nanosleep(&nap, NULL);
    clock_gettime(CLOCK_MONOTONIC_RAW, &b);
    t1 = __rdtsc();
    return (t1 - t0) / ((b.tv_sec - a.tv_sec) + (b.tv_nsec - a.tv_nsec) / 1e9);
}

int main(int argc, char **argv)
{
    cpu_set_t s;
    struct sched_param p = { .sched_priority = 1 };
    uint64_t a = 1, b = 2, c = 3, d = 4, t0, t1, t2;
    double dep[9], ind[9];

    if (argc > 1 && strcmp(argv[1], "tsc") == 0) {
        printf("%.0f\n", tsc_hz());
        return 0;
    }
    CPU_ZERO(&s);
    CPU_SET(argc > 1 ? atoi(argv[1]) : 1, &s);
    sched_setaffinity(0, sizeof s, &s);
    sched_setscheduler(0, SCHED_FIFO, &p);
    for (int r = 0; r < 9; r++) {
        t0 = __rdtsc();
        for (int i = 0; i < 25000; i++)
            __asm__ volatile(".p2align 5\n\t.rept 16\n\tadd $1,%0\n\t.endr" : "+r"(a));
        t1 = __rdtsc();
        for (int i = 0; i < 75000; i++)
            __asm__ volatile(".p2align 5\n\t.rept 8\n\tadd $1,%0\n\tadd $1,%1\n\t"
                             "add $1,%2\n\tadd $1,%3\n\t.endr"
                             : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
        t2 = __rdtsc();
        dep[r] = (t1 - t0) / 4e5;
        ind[r] = (t2 - t1) / 6e5;
    }
    qsort(dep, 9, sizeof *dep, cmp);
    qsort(ind, 9, sizeof *ind, cmp);
    printf("%.2f %.3f\n", ind[4] / dep[2], 1 / dep[2]);   /* sharing, core clock / TSC */
    return 0;
}
