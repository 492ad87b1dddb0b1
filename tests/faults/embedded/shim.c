/* Preloaded into the process: makes what SQLite asks of the kernel fail, while a byte in a shared file says so.
 *
 * s: a sync fails (EIO)   e: a write fails (EIO)   n: no space is left (ENOSPC)   r: the file system is read-only
 * Only files with ".db" in their path are touched. While all is well it costs one look at a byte.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static volatile char *control;

__attribute__((constructor)) static void look(void)
{
    const char *path = getenv("FAULTS_CONTROL");
    int handle = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (handle < 0)
        return;
    void *page = mmap(NULL, 1, PROT_READ, MAP_SHARED, handle, 0);
    if (page != MAP_FAILED)
        control = page;
    close(handle);
}

static int is_database(int handle)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strstr(path, ".db") != NULL;
}

/* The error that this call has to end with, or 0. */
static int fault(int handle, const char *modes)
{
    char mode = control ? *control : 0;
    if (!mode || !strchr(modes, mode) || !is_database(handle))
        return 0;
    return mode == 'n' ? ENOSPC : mode == 'r' ? EROFS : EIO;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_OR(modes, call)              \
    do {                                  \
        int error = fault(handle, modes); \
        if (error) {                      \
            errno = error;                \
            return -1;                    \
        }                                 \
        return call;                      \
    } while (0)

ssize_t write(int handle, const void *bytes, size_t count) { FAIL_OR("enr", NEXT(write)(handle, bytes, count)); }
ssize_t pwrite(int handle, const void *bytes, size_t count, off_t at) { FAIL_OR("enr", NEXT(pwrite)(handle, bytes, count, at)); }
ssize_t pwrite64(int handle, const void *bytes, size_t count, off64_t at) { FAIL_OR("enr", NEXT(pwrite64)(handle, bytes, count, at)); }
int fsync(int handle) { FAIL_OR("sr", NEXT(fsync)(handle)); }
int fdatasync(int handle) { FAIL_OR("sr", NEXT(fdatasync)(handle)); }
int ftruncate(int handle, off_t length) { FAIL_OR("r", NEXT(ftruncate)(handle, length)); }
int ftruncate64(int handle, off64_t length) { FAIL_OR("r", NEXT(ftruncate64)(handle, length)); }

static int may_open(const char *path, int flags)
{
    if (control && *control == 'r' && strstr(path, ".db") && (flags & (O_WRONLY | O_RDWR | O_CREAT))) {
        errno = EROFS;
        return 0;
    }
    return 1;
}

#define OPEN(name)                                                  \
    int name(const char *path, int flags, ...)                      \
    {                                                               \
        va_list more;                                               \
        va_start(more, flags);                                      \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;   \
        va_end(more);                                               \
        return may_open(path, flags) ? NEXT(name)(path, flags, mode) : -1; \
    }

OPEN(open)
OPEN(open64)
