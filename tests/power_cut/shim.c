/*
 * Writes down what a server does to its files, so that `power-cut` can tell what a power cut would have left of them.
 *
 * Loaded with LD_PRELOAD. Of every file and folder under POWER_CUT_ROOT it appends to POWER_CUT_JOURNAL: openings,
 * writes with their bytes, changes of size, names that come and go, and where each flush began and ended. It judges
 * nothing: what is durable is decided by `model.rs`. The layout of a record is told in `journal.rs`.
 *
 * One lock is held from the record of an operation until the operation is done. So the order of the journal is the
 * order on disk, and when the process is killed, only the last record may be of something that did not happen. Flushes
 * run outside the lock between two records of their own. What this file cannot follow is written down too, and
 * `power-cut` then fails instead of guessing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind {
    START = 1, OPEN, WRITE, RESIZE, ALLOCATE, SYNC_BEGIN, SYNC_END, RENAME, LINK, UNLINK, MKDIR, RMDIR, MAP, FAILED, SHORT,
    UNKNOWN,
};

struct record {
    uint32_t kind, handle;
    uint64_t a, b;
    uint64_t length;
};

/* File descriptors above this are sockets in any sane server; a file up there is reported. */
#define DESCRIPTORS_MAX 65536
#define PARTS_MAX 64
#define APPENDS 1
#define DURABLE 2

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int journal = -1;
static char root[PATH_MAX];
static size_t root_length;
static _Atomic uint32_t handles[DESCRIPTORS_MAX];
static _Atomic uint8_t modes[DESCRIPTORS_MAX];
static uint32_t last_handle;
static _Atomic uint64_t last_token;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int real_open(const char *path, int flags, mode_t mode) {
    REAL(openat);
    return real(AT_FDCWD, path, flags, mode);
}

static void append(enum kind kind, uint32_t handle, uint64_t a, uint64_t b, const struct iovec *parts, int n) {
    REAL(writev);
    struct iovec all[PARTS_MAX + 1];
    struct record record = {kind, handle, a, b, 0};
    if (n > PARTS_MAX) abort();
    for (int i = 0; i < n; i++) {
        all[i + 1] = parts[i];
        record.length += parts[i].iov_len;
    }
    all[0] = (struct iovec){&record, sizeof record};
    /* A journal with a hole would prove anything. */
    if (real(journal, all, n + 1) != (ssize_t)(sizeof record + record.length)) abort();
}

static void append_text(enum kind kind, uint32_t handle, uint64_t a, const char *first, const char *second) {
    struct iovec parts[2] = {
        {(void *)first, strlen(first) + (second ? 1 : 0)},
        {(void *)second, second ? strlen(second) : 0},
    };
    append(kind, handle, a, 0, parts, second ? 2 : 1);
}

static void unknown(const char *what) {
    pthread_mutex_lock(&lock);
    append_text(UNKNOWN, 0, 0, what, NULL);
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("POWER_CUT_ROOT"), *file = getenv("POWER_CUT_JOURNAL");
    if (!folder || !file || !realpath(folder, root)) return;
    root_length = strlen(root);
    journal = real_open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) abort();
    /* A child of the server has a journal of its own or none. */
    unsetenv("LD_PRELOAD");
    append(START, 0, 1, 0, NULL, 0);
}

static uint32_t handle_of(int fd) {
    return fd >= 0 && fd < DESCRIPTORS_MAX ? handles[fd] : 0;
}

/* Whether a path lies under the root, and how it is called from there. The last name is followed only if asked. */
static int inside(int folder, const char *path, int follow, char *relative) {
    char joined[PATH_MAX], parent[PATH_MAX], whole[PATH_MAX];
    if (journal < 0 || !path) return 0;
    if (path[0] != '/' && folder != AT_FDCWD) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t n = readlink(link, parent, sizeof parent - 1);
        if (n < 0) return 0;
        parent[n] = 0;
        if ((size_t)snprintf(joined, sizeof joined, "%s/%s", parent, path) >= sizeof joined) return 0;
    } else if ((size_t)snprintf(joined, sizeof joined, "%s", path) >= sizeof joined) {
        return 0;
    }
    if (!follow || !realpath(joined, whole)) {
        size_t end = strlen(joined);
        while (end > 1 && joined[end - 1] == '/') joined[--end] = 0;
        char *slash = strrchr(joined, '/');
        const char *name = slash ? slash + 1 : joined;
        snprintf(whole, sizeof whole, "%s", name);
        if (slash == joined) slash[1] = 0;
        else if (slash) *slash = 0;
        if (!realpath(slash ? joined : ".", parent)) return 0;
        size_t length = strlen(parent);
        if (length + strlen(whole) + 2 > sizeof whole) return 0;
        memmove(whole + length + 1, whole, strlen(whole) + 1);
        memcpy(whole, parent, length);
        whole[length] = '/';
    }
    if (strncmp(whole, root, root_length) != 0) return 0;
    if (whole[root_length] != 0 && whole[root_length] != '/') return 0;
    strcpy(relative, whole + root_length + (whole[root_length] == '/'));
    return 1;
}

/* ---- opening and closing ---- */

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    REAL(openat);
    char relative[PATH_MAX];
    if ((flags & O_PATH) || !inside(folder, path, !(flags & O_NOFOLLOW), relative)) return real(folder, path, flags, mode);
    if ((flags & O_TMPFILE) == O_TMPFILE) unknown("O_TMPFILE");
    pthread_mutex_lock(&lock);
    uint32_t handle = ++last_handle;
    append_text(OPEN, handle, (flags & O_CREAT ? 1 : 0) | (flags & O_TRUNC ? 2 : 0), relative, NULL);
    int fd = real(folder, path, flags, mode), saved = errno;
    if (fd < 0) append(FAILED, handle, 0, 0, NULL, 0);
    else if (fd >= DESCRIPTORS_MAX) append_text(UNKNOWN, 0, 0, "a file with a very high descriptor", NULL);
    else {
        modes[fd] = (flags & O_APPEND ? APPENDS : 0) | (flags & (O_SYNC | O_DSYNC) ? DURABLE : 0);
        handles[fd] = handle;
    }
    pthread_mutex_unlock(&lock);
    errno = saved;
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list arguments; \
        va_start(arguments, flags); \
        mode = va_arg(arguments, mode_t); \
        va_end(arguments); \
    }

int open(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return open_at(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return open_at(folder, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd) {
    REAL(close);
    if (fd >= 0 && fd < DESCRIPTORS_MAX) handles[fd] = 0;
    return real(fd);
}

static int copied(int from, int to) {
    if (to >= 0 && to < DESCRIPTORS_MAX) {
        modes[to] = from >= 0 && from < DESCRIPTORS_MAX ? modes[from] : 0;
        handles[to] = handle_of(from);
    } else if (to >= 0 && handle_of(from)) {
        unknown("a file with a very high descriptor");
    }
    return to;
}

int dup(int fd) { REAL(dup); return copied(fd, real(fd)); }
int dup2(int fd, int to) { REAL(dup2); return copied(fd, real(fd, to)); }
int dup3(int fd, int to, int flags) { REAL(dup3); return copied(fd, real(fd, to, flags)); }

#define FCNTL(name) \
    int name(int fd, int command, ...) { \
        REAL(name); \
        va_list arguments; \
        va_start(arguments, command); \
        void *argument = va_arg(arguments, void *); \
        va_end(arguments); \
        int result = real(fd, command, argument); \
        return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? copied(fd, result) : result; \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

/* ---- bytes ---- */

/* Takes the lock and writes the intention down. */
static void intend_write(int fd, uint64_t at, const struct iovec *parts, int n, int durable) {
    append(WRITE, handle_of(fd), at, durable || (modes[fd] & DURABLE), parts, n);
}

static ssize_t wrote(int fd, ssize_t done, const struct iovec *parts, int n) {
    int saved = errno;
    size_t meant = 0;
    for (int i = 0; i < n; i++) meant += parts[i].iov_len;
    if (done < 0) append(FAILED, handle_of(fd), 0, 0, NULL, 0);
    else if ((size_t)done != meant) append(SHORT, handle_of(fd), done, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return done;
}

static uint64_t position(int fd) {
    struct stat file;
    if (modes[fd] & APPENDS) return fstat(fd, &file) == 0 ? file.st_size : 0;
    REAL(lseek64);
    return real(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(write);
    if (!handle_of(fd)) return real(fd, bytes, length);
    struct iovec part = {(void *)bytes, length};
    pthread_mutex_lock(&lock);
    intend_write(fd, position(fd), &part, 1, 0);
    return wrote(fd, real(fd, bytes, length), &part, 1);
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
    REAL(writev);
    if (!handle_of(fd)) return real(fd, parts, n);
    if (n > PARTS_MAX) n = PARTS_MAX;
    pthread_mutex_lock(&lock);
    intend_write(fd, position(fd), parts, n, 0);
    return wrote(fd, real(fd, parts, n), parts, n);
}

#define PWRITE(name, offset) \
    ssize_t name(int fd, const void *bytes, size_t length, offset at) { \
        REAL(name); \
        if (!handle_of(fd)) return real(fd, bytes, length, at); \
        struct iovec part = {(void *)bytes, length}; \
        pthread_mutex_lock(&lock); \
        intend_write(fd, at, &part, 1, 0); \
        return wrote(fd, real(fd, bytes, length, at), &part, 1); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define PWRITEV(name, offset) \
    ssize_t name(int fd, const struct iovec *parts, int n, offset at) { \
        REAL(name); \
        if (!handle_of(fd)) return real(fd, parts, n, at); \
        if (n > PARTS_MAX) n = PARTS_MAX; \
        pthread_mutex_lock(&lock); \
        intend_write(fd, at, parts, n, 0); \
        return wrote(fd, real(fd, parts, n, at), parts, n); \
    }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

#define PWRITEV2(name, offset) \
    ssize_t name(int fd, const struct iovec *parts, int n, offset at, int flags) { \
        REAL(name); \
        if (!handle_of(fd)) return real(fd, parts, n, at, flags); \
        if (n > PARTS_MAX) n = PARTS_MAX; \
        pthread_mutex_lock(&lock); \
        intend_write(fd, at == -1 ? position(fd) : (uint64_t)at, parts, n, flags & (RWF_DSYNC | RWF_SYNC)); \
        return wrote(fd, real(fd, parts, n, at, flags), parts, n); \
    }
PWRITEV2(pwritev2, off_t)
PWRITEV2(pwritev64v2, off64_t)

/* ---- sizes ---- */

static int resized(int fd, int result) {
    int saved = errno;
    if (result != 0) append(FAILED, handle_of(fd), 0, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}

#define FTRUNCATE(name, offset) \
    int name(int fd, offset length) { \
        REAL(name); \
        if (!handle_of(fd)) return real(fd, length); \
        pthread_mutex_lock(&lock); \
        append(RESIZE, handle_of(fd), length, 0, NULL, 0); \
        return resized(fd, real(fd, length)); \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

#define FALLOCATE(name, offset) \
    int name(int fd, int mode, offset at, offset length) { \
        REAL(name); \
        if (!handle_of(fd) || mode == FALLOC_FL_KEEP_SIZE) return real(fd, mode, at, length); \
        if (mode != 0) unknown(#name " that takes bytes away"); \
        pthread_mutex_lock(&lock); \
        append(ALLOCATE, handle_of(fd), at, length, NULL, 0); \
        return resized(fd, real(fd, mode, at, length)); \
    }
FALLOCATE(fallocate, off_t)
FALLOCATE(fallocate64, off64_t)

#define POSIX_FALLOCATE(name, offset) \
    int name(int fd, offset at, offset length) { \
        REAL(name); \
        if (!handle_of(fd)) return real(fd, at, length); \
        pthread_mutex_lock(&lock); \
        append(ALLOCATE, handle_of(fd), at, length, NULL, 0); \
        return resized(fd, real(fd, at, length)); \
    }
POSIX_FALLOCATE(posix_fallocate, off_t)
POSIX_FALLOCATE(posix_fallocate64, off64_t)

/* ---- flushes ---- */

static uint64_t sync_begins(int fd) {
    uint64_t token = ++last_token;
    pthread_mutex_lock(&lock);
    append(SYNC_BEGIN, handle_of(fd), token, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return token;
}

static int sync_ends(int fd, uint64_t token, int result) {
    int saved = errno;
    pthread_mutex_lock(&lock);
    append(SYNC_END, handle_of(fd), token, result != 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}

#define SYNC(name) \
    int name(int fd) { \
        REAL(name); \
        if (!handle_of(fd)) return real(fd); \
        uint64_t token = sync_begins(fd); \
        return sync_ends(fd, token, real(fd)); \
    }
SYNC(fsync)
SYNC(fdatasync)

/* ---- names ---- */

static int named(int result) {
    int saved = errno;
    if (result != 0) append(FAILED, 0, 0, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}

static int two_names(enum kind kind, int folder, const char *path, int folder2, const char *path2) {
    char from[PATH_MAX], to[PATH_MAX];
    int a = inside(folder, path, 0, from), b = inside(folder2, path2, 0, to);
    if (a != b) unknown("a name that crosses the root");
    if (!a || !b) return 0;
    pthread_mutex_lock(&lock);
    append_text(kind, 0, 0, from, to);
    return 1;
}

static int one_name(enum kind kind, int folder, const char *path) {
    char name[PATH_MAX];
    if (!inside(folder, path, 0, name)) return 0;
    pthread_mutex_lock(&lock);
    append_text(kind, 0, 0, name, NULL);
    return 1;
}

int renameat2(int folder, const char *path, int folder2, const char *path2, unsigned flags) {
    REAL(renameat2);
    if (flags & ~RENAME_NOREPLACE) unknown("an exchange of names");
    if (!two_names(RENAME, folder, path, folder2, path2)) return real(folder, path, folder2, path2, flags);
    return named(real(folder, path, folder2, path2, flags));
}

int renameat(int folder, const char *path, int folder2, const char *path2) {
    REAL(renameat);
    if (!two_names(RENAME, folder, path, folder2, path2)) return real(folder, path, folder2, path2);
    return named(real(folder, path, folder2, path2));
}

int rename(const char *path, const char *path2) { return renameat(AT_FDCWD, path, AT_FDCWD, path2); }

int linkat(int folder, const char *path, int folder2, const char *path2, int flags) {
    REAL(linkat);
    if (!two_names(LINK, folder, path, folder2, path2)) return real(folder, path, folder2, path2, flags);
    return named(real(folder, path, folder2, path2, flags));
}

int link(const char *path, const char *path2) { return linkat(AT_FDCWD, path, AT_FDCWD, path2, 0); }

int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat);
    if (!one_name(flags & AT_REMOVEDIR ? RMDIR : UNLINK, folder, path)) return real(folder, path, flags);
    return named(real(folder, path, flags));
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(mkdirat);
    if (!one_name(MKDIR, folder, path)) return real(folder, path, mode);
    return named(real(folder, path, mode));
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int symlinkat(const char *target, int folder, const char *path) {
    REAL(symlinkat);
    char name[PATH_MAX];
    if (inside(folder, path, 0, name)) unknown("a symbolic link");
    return real(target, folder, path);
}

int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

/* ---- memory ---- */

#define MMAP(name, offset) \
    void *name(void *address, size_t length, int protection, int flags, int fd, offset at) { \
        REAL(name); \
        uint32_t handle = flags & MAP_ANONYMOUS ? 0 : handle_of(fd); \
        if (handle && (flags & MAP_SHARED) && (protection & PROT_WRITE)) { \
            pthread_mutex_lock(&lock); \
            append(MAP, handle, length, at, NULL, 0); \
            pthread_mutex_unlock(&lock); \
        } \
        return real(address, length, protection, flags, fd, at); \
    }
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)
