/* Faults below the program, which no public interface injects. Loaded before the C library's own functions.
 *
 * The folder $FAULTS_DIR steers it while the program runs: "clock" holds two 64-bit numbers, nanoseconds by
 * which the wall clock and the time since boot are off; whoever locks "device" holds the microphone alone; as
 * long as there is "resolver-hangs", names of hosts are asked for in vain.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile const long long *shift_ns;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

static int control_file(const char *name, int flags)
{
    char path[4096];
    const char *folder = getenv("FAULTS_DIR");
    if (folder == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return open(path, flags | O_CLOEXEC);
}

__attribute__((constructor)) static void load(void)
{
    int file = control_file("clock", O_RDONLY);
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (file < 0)
        return;
    void *map = mmap(NULL, 2 * sizeof *shift_ns, PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED)
        shift_ns = map;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    long long ns;
    int result;
    if (real_clock_gettime == NULL)
        real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    result = real_clock_gettime(clock, now);
    if (result != 0 || shift_ns == NULL)
        return result;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        ns = shift_ns[0];
    else if (clock == CLOCK_BOOTTIME)
        ns = shift_ns[1];
    else
        return result;
    ns += now->tv_nsec;
    now->tv_sec += ns / 1000000000;
    now->tv_nsec = ns % 1000000000;
    if (now->tv_nsec < 0) {
        now->tv_nsec += 1000000000;
        now->tv_sec -= 1;
    }
    return result;
}

/* As the kernel's driver answers when another program has the card. */
int snd_pcm_open(void **pcm, const char *name, int stream, int mode)
{
    int (*real_open)(void **, const char *, int, int);
    void *library;
    int device = control_file("device", O_RDWR);
    if (device >= 0 && stream == 1) { /* SND_PCM_STREAM_CAPTURE */
        int taken = flock(device, LOCK_EX | LOCK_NB);
        close(device);
        if (taken != 0)
            return -EBUSY;
    }
    library = dlopen("libasound.so.2", RTLD_LAZY | RTLD_NOLOAD);
    if (library == NULL)
        return -ENODEV;
    real_open = (int (*)(void **, const char *, int, int))dlsym(library, "snd_pcm_open");
    return real_open(pcm, name, stream, mode);
}

/* As a resolver whose server never answers. An address in digits asks nobody. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
    static int (*real_getaddrinfo)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    unsigned char address[sizeof(struct in6_addr)];
    if (real_getaddrinfo == NULL)
        real_getaddrinfo = (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(
            RTLD_NEXT, "getaddrinfo");
    if (node != NULL && inet_pton(AF_INET, node, address) != 1 && inet_pton(AF_INET6, node, address) != 1) {
        int waits;
        while ((waits = control_file("resolver-hangs", O_RDONLY)) >= 0) {
            close(waits);
            usleep(50000);
        }
    }
    return real_getaddrinfo(node, service, hints, result);
}
