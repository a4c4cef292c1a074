/* unsynced.c - an LD_PRELOAD shim: keeps, beside a directory, what would be left of it after a power failure.
 *
 * Under UNSYNCED_ROOT every write, truncation, creation, rename, link and removal is noted. UNSYNCED_SHADOW holds the durable
 * view: fsync and fdatasync copy the written ranges of the file into its shadow, and an fsync of a directory makes the noted
 * changes of its entries. Whoever kills the process takes UNSYNCED_SHADOW/tree for the directory: everything that was not
 * synced, data and directory entries, is gone. POSIX promises no more than that, and file systems keep more only by luck.
 *
 * UNSYNCED_LEAK=N makes every N-th (at random) write or change of an entry durable at once, as a kernel may do at any time:
 * then later writes survive while earlier ones are lost.
 * UNSYNCED_FAULT names a file; while it exists, fsync and fdatasync under the root fail with EIO and sync nothing.
 *
 * Not followed: mmap of shared pages, stdio streams, io_uring. Files written so are as if never synced, or kept as they are
 * when only their creation was seen. Directories are made and removed in the shadow at once.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 65536
#define INODES 65536

struct range { off_t from, to; };

/* A regular file under the root; never freed, so that a table entry stays valid. */
struct file {
    ino_t ino;
    int alive;                  /* still has a name: its inode number is not used again */
    char shadow[PATH_MAX];
    int shadow_fd;
    struct range *dirty;
    size_t dirty_count, dirty_room;
    struct file *next;
    pthread_mutex_t lock;
};

enum kind { UNKNOWN, OUTSIDE, REGULAR, DIRECTORY };
struct slot { enum kind kind; struct file *file; char *dir; };

/* A change of entries that no fsync of its directory has made durable: `gone` and `made` happen together. */
struct change { char *gone, *made; char *shadow; int applied; struct change *next; };

static struct slot slots[FDS];
static struct file *files[INODES];
static struct change *first_change, **last_change = &first_change;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char root[PATH_MAX], tree[PATH_MAX], inodes[PATH_MAX];
static size_t root_length;
static unsigned long leak, made_count;
static unsigned seed;
static const char *fault;

#define REAL(type, name, ...) \
    static type (*real_##name)(__VA_ARGS__); \
    if (!real_##name) real_##name = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static void begin(void) {
    const char *from = getenv("UNSYNCED_ROOT"), *to = getenv("UNSYNCED_SHADOW"), *often = getenv("UNSYNCED_LEAK");
    fault = getenv("UNSYNCED_FAULT");
    leak = often ? strtoul(often, NULL, 10) : 0;
    seed = (unsigned)getpid();
    if (!from || !to) return;
    snprintf(root, sizeof root, "%s", from);
    root_length = strlen(root);
    snprintf(tree, sizeof tree, "%s/tree", to);
    snprintf(inodes, sizeof inodes, "%s/inodes", to);
}

static int is_active(void) { pthread_once(&once, begin); return root_length != 0; }

static int is_inside(const char *path) {
    return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

static int leaks(void) { return leak && (unsigned)rand_r(&seed) % leak == 0; }

/* Where `path` stands in the shadow. */
static void in_tree(char *out, const char *path) { snprintf(out, PATH_MAX, "%s%s", tree, path + root_length); }

/* The absolute path of `path` at `dirfd`, with its parent resolved; 0 when it is not under the root. */
static int locate(int dirfd, const char *path, char *out) {
    char joined[PATH_MAX], parent[PATH_MAX], *name;
    if (!is_active()) return 0;
    if (path[0] != '/' && dirfd != AT_FDCWD) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
        ssize_t n = readlink(link, parent, sizeof parent - 1);
        if (n < 0) return 0;
        parent[n] = 0;
        snprintf(joined, sizeof joined, "%s/%s", parent, path);
    } else {
        snprintf(joined, sizeof joined, "%s", path);
    }
    size_t n = strlen(joined);
    while (n > 1 && joined[n - 1] == '/') joined[--n] = 0;
    name = strrchr(joined, '/');
    if (!name) {
        if (!getcwd(parent, sizeof parent)) return 0;
        snprintf(out, PATH_MAX, "%s/%s", parent, joined);
        return is_inside(out);
    }
    *name++ = 0;
    if (!realpath(joined[0] ? joined : "/", parent)) return 0;
    snprintf(out, PATH_MAX, "%s/%s", parent, name);
    return is_inside(out);
}

/* --- under `lock` ------------------------------------------------------------------------------------------------------- */

static struct file *file_of(ino_t ino, int *is_new) {
    struct file **at = &files[ino % INODES];
    *is_new = 0;
    for (struct file *it = *at; it; it = it->next)
        if (it->ino == ino && it->alive) return it;
    struct file *it = calloc(1, sizeof *it);
    it->ino = ino;
    it->alive = 1;
    pthread_mutex_init(&it->lock, NULL);
    /* What was there before this process began has its shadow under its inode number. */
    snprintf(it->shadow, sizeof it->shadow, "%s/old-%lu", inodes, (unsigned long)ino);
    REAL(int, open, const char *, int, ...);
    it->shadow_fd = real_open(it->shadow, O_RDWR | O_CLOEXEC);
    if (it->shadow_fd < 0) {
        *is_new = 1;
        snprintf(it->shadow, sizeof it->shadow, "%s/new-%lu", inodes, made_count++);
        it->shadow_fd = real_open(it->shadow, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (it->shadow_fd < 0) abort();
    }
    it->next = *at;
    *at = it;
    return it;
}

static void forget_name(ino_t ino, nlink_t left) {
    char old[PATH_MAX];
    REAL(int, unlink, const char *);
    if (left) return;
    for (struct file *it = files[ino % INODES]; it; it = it->next)
        if (it->ino == ino) it->alive = 0;
    /* The number may come back for another file, which is not this one, whether or not it was ever opened. */
    snprintf(old, sizeof old, "%s/old-%lu", inodes, (unsigned long)ino);
    real_unlink(old);
}

static void apply(struct change *it) {
    if (it->applied) return;
    it->applied = 1;
    char path[PATH_MAX], fresh[PATH_MAX];
    REAL(int, unlink, const char *);
    REAL(int, link, const char *, const char *);
    REAL(int, rename, const char *, const char *);
    if (it->made) {
        in_tree(path, it->made);
        snprintf(fresh, sizeof fresh, "%s/fresh", inodes);
        real_unlink(fresh);
        if (real_link(it->shadow, fresh) == 0 && real_rename(fresh, path) == 0) real_unlink(fresh);
    }
    if (it->gone) {
        in_tree(path, it->gone);
        real_unlink(path);
    }
}

static void note(const char *gone, const char *made, const char *shadow) {
    struct change *it = calloc(1, sizeof *it);
    it->gone = gone ? strdup(gone) : NULL;
    it->made = made ? strdup(made) : NULL;
    it->shadow = shadow ? strdup(shadow) : NULL;
    *last_change = it;
    last_change = &it->next;
    if (leaks()) apply(it);
}

static int stands_in(const char *path, const char *dir) {
    size_t n = strlen(dir);
    return path && strncmp(path, dir, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/');
}

static void sync_directory(const char *dir) {
    struct change **at = &first_change;
    while (*at) {
        struct change *it = *at;
        if (stands_in(it->gone, dir) || stands_in(it->made, dir)) {
            apply(it);
            *at = it->next;
            free(it->gone); free(it->made); free(it->shadow); free(it);
        } else {
            at = &it->next;
        }
    }
    last_change = at;
}

/* What `fd` is; classified when first seen. */
static struct slot *slot_of(int fd) {
    if (fd < 0 || fd >= FDS || !is_active()) return NULL;
    struct slot *it = &slots[fd];
    if (__atomic_load_n(&it->kind, __ATOMIC_ACQUIRE) != UNKNOWN) return it;
    struct stat st;
    char link[64], path[PATH_MAX];
    enum kind kind = OUTSIDE;
    if (fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        if (n > 0) {
            path[n] = 0;
            if (is_inside(path)) {
                pthread_mutex_lock(&lock);
                if (S_ISDIR(st.st_mode)) {
                    kind = DIRECTORY;
                    it->dir = strdup(path);
                } else if (st.st_nlink) {
                    int is_new;
                    kind = REGULAR;
                    it->file = file_of(st.st_ino, &is_new);
                    if (is_new) note(NULL, path, it->file->shadow);
                }
                pthread_mutex_unlock(&lock);
            }
        }
    }
    __atomic_store_n(&it->kind, kind, __ATOMIC_RELEASE);
    return it;
}

/* --- files -------------------------------------------------------------------------------------------------------------- */

static void copy_range(int fd, struct file *file, off_t from, off_t to) {
    REAL(int, open, const char *, int, ...);
    REAL(int, close, int);
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    char path[64], buffer[65536];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int in = real_open(path, O_RDONLY | O_CLOEXEC);
    if (in < 0) return;
    while (from < to) {
        size_t want = (size_t)(to - from) < sizeof buffer ? (size_t)(to - from) : sizeof buffer;
        ssize_t n = pread(in, buffer, want, from);
        if (n <= 0) break;
        if (real_pwrite(file->shadow_fd, buffer, (size_t)n, from) != n) abort();
        from += n;
    }
    real_close(in);
}

static void wrote(int fd, struct file *file, off_t from, off_t to) {
    if (leaks()) {
        copy_range(fd, file, from, to);
        return;
    }
    pthread_mutex_lock(&file->lock);
    struct range *last = file->dirty_count ? &file->dirty[file->dirty_count - 1] : NULL;
    if (last && from >= last->from && from <= last->to) {
        if (to > last->to) last->to = to;
    } else {
        if (file->dirty_count == file->dirty_room) {
            file->dirty_room = file->dirty_room ? 2 * file->dirty_room : 16;
            file->dirty = realloc(file->dirty, file->dirty_room * sizeof *file->dirty);
        }
        file->dirty[file->dirty_count++] = (struct range){ from, to };
    }
    pthread_mutex_unlock(&file->lock);
}

static int sync_fd(int fd, int (*real)(int)) {
    struct slot *it = slot_of(fd);
    if (!it || it->kind == OUTSIDE) return real(fd);
    if (fault && access(fault, F_OK) == 0) { errno = EIO; return -1; }
    if (it->kind == DIRECTORY) {
        int result = real(fd);
        pthread_mutex_lock(&lock);
        if (result == 0) sync_directory(it->dir);
        pthread_mutex_unlock(&lock);
        return result;
    }
    struct file *file = it->file;
    /* What is written from here on is not promised by this sync. */
    pthread_mutex_lock(&file->lock);
    struct range *dirty = file->dirty;
    size_t count = file->dirty_count;
    file->dirty = NULL;
    file->dirty_count = file->dirty_room = 0;
    pthread_mutex_unlock(&file->lock);
    int result = real(fd);
    if (result == 0) {
        REAL(int, ftruncate, int, off_t);
        struct stat st, shadow;
        for (size_t i = 0; i < count; i++) copy_range(fd, file, dirty[i].from, dirty[i].to);
        if (fstat(fd, &st) == 0 && fstat(file->shadow_fd, &shadow) == 0 && shadow.st_size > st.st_size
            && real_ftruncate(file->shadow_fd, st.st_size) != 0) abort();
    }
    free(dirty);
    return result;
}

int fsync(int fd) { REAL(int, fsync, int); return sync_fd(fd, real_fsync); }
int fdatasync(int fd) { REAL(int, fdatasync, int); return sync_fd(fd, real_fdatasync); }

#define AFTER_WRITE(end_known) \
    do { \
        struct slot *it = slot_of(fd); \
        if (n > 0 && it && it->kind == REGULAR) { \
            off_t end = (end_known); \
            if (end >= n) wrote(fd, it->file, end - n, end); \
        } \
    } while (0)

ssize_t write(int fd, const void *data, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    ssize_t n = real_write(fd, data, count);
    int error = errno;
    AFTER_WRITE(lseek(fd, 0, SEEK_CUR));
    errno = error;
    return n;
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    ssize_t n = real_writev(fd, parts, count);
    int error = errno;
    AFTER_WRITE(lseek(fd, 0, SEEK_CUR));
    errno = error;
    return n;
}
ssize_t pwrite(int fd, const void *data, size_t count, off_t at) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    ssize_t n = real_pwrite(fd, data, count, at);
    AFTER_WRITE(at + n);
    return n;
}
ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at) { return pwrite(fd, data, count, at); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    REAL(ssize_t, pwritev, int, const struct iovec *, int, off_t);
    ssize_t n = real_pwritev(fd, parts, count, at);
    AFTER_WRITE(at + n);
    return n;
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) { return pwritev(fd, parts, count, at); }
ssize_t copy_file_range(int in, off64_t *from, int fd, off64_t *to, size_t count, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
    ssize_t n = real_copy_file_range(in, from, fd, to, count, flags);
    AFTER_WRITE(to ? *to : lseek(fd, 0, SEEK_CUR));
    return n;
}

/* Growing is like writing zeros; the next sync sees that a file became shorter. */
int ftruncate(int fd, off_t length) {
    REAL(int, ftruncate, int, off_t);
    struct stat before;
    struct slot *it = slot_of(fd);
    int is_known = it && it->kind == REGULAR && fstat(fd, &before) == 0;
    int result = real_ftruncate(fd, length);
    if (result == 0 && is_known && length > before.st_size) wrote(fd, it->file, before.st_size, length);
    return result;
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

int close(int fd) {
    REAL(int, close, int);
    if (fd >= 0 && fd < FDS) {
        struct slot *it = &slots[fd];
        if (it->kind == DIRECTORY) free(it->dir);
        it->dir = NULL;
        it->file = NULL;
        __atomic_store_n(&it->kind, UNKNOWN, __ATOMIC_RELEASE);
    }
    return real_close(fd);
}

static int opened(int fd) {
    if (fd >= 0 && fd < FDS) {
        int error = errno;
        __atomic_store_n(&slots[fd].kind, UNKNOWN, __ATOMIC_RELEASE);
        slot_of(fd);
        errno = error;
    }
    return fd;
}

static mode_t mode_of(int flags, va_list rest) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = mode_of(flags, rest); \
        va_end(rest); \
        REAL(int, name, const char *, int, ...); \
        return opened(real_##name(path, flags, mode)); \
    }
#define OPENAT(name) \
    int name(int dirfd, const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = mode_of(flags, rest); \
        va_end(rest); \
        REAL(int, name, int, const char *, int, ...); \
        return opened(real_##name(dirfd, path, flags, mode)); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* --- names -------------------------------------------------------------------------------------------------------------- */

/* A removal and its note are one step: an inode number that comes back is then known to be another file's. */
static int remove_file(int dirfd, const char *name, const char *path, const struct stat *before) {
    REAL(int, unlinkat, int, const char *, int);
    pthread_mutex_lock(&lock);
    int result = real_unlinkat(dirfd, name, 0);
    if (result == 0) {
        note(path, NULL, NULL);
        forget_name(before->st_ino, before->st_nlink - 1);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *name) {
    REAL(int, unlink, const char *);
    char path[PATH_MAX];
    struct stat before;
    int inside = locate(AT_FDCWD, name, path) && lstat(path, &before) == 0;
    return inside ? remove_file(AT_FDCWD, name, path, &before) : real_unlink(name);
}

int rmdir(const char *name) {
    REAL(int, rmdir, const char *);
    char path[PATH_MAX], shadow[PATH_MAX];
    int inside = locate(AT_FDCWD, name, path);
    int result = real_rmdir(name);
    if (result == 0 && inside) { 
        pthread_mutex_lock(&lock);
        sync_directory(path);
        pthread_mutex_unlock(&lock);
        in_tree(shadow, path);
        real_rmdir(shadow);
    }
    return result;
}

int unlinkat(int dirfd, const char *name, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    char path[PATH_MAX];
    struct stat before;
    int inside = locate(dirfd, name, path) && lstat(path, &before) == 0;
    if (inside && (flags & AT_REMOVEDIR)) return rmdir(path);
    return inside ? remove_file(dirfd, name, path, &before) : real_unlinkat(dirfd, name, flags);
}

struct move { int old_dir; const char *old; int new_dir; const char *new; };

static int move_file(const struct move *move, const char *from, const char *to) {
    REAL(int, renameat, int, const char *, int, const char *);
    REAL(int, rename, const char *, const char *);
    char shadow_from[PATH_MAX], shadow_to[PATH_MAX];
    struct stat replaced, st;
    pthread_mutex_lock(&lock);
    int was_there = lstat(to, &replaced) == 0;
    int result = real_renameat(move->old_dir, move->old, move->new_dir, move->new);
    if (result == 0 && lstat(to, &st) == 0) {
        if (S_ISDIR(st.st_mode)) {
            in_tree(shadow_from, from);
            in_tree(shadow_to, to);
            real_rename(shadow_from, shadow_to);
        } else {
            int is_new;
            struct file *file = file_of(st.st_ino, &is_new);
            if (was_there && replaced.st_ino != st.st_ino) forget_name(replaced.st_ino, replaced.st_nlink - 1);
            note(from, to, file->shadow);
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *old, const char *new) {
    REAL(int, rename, const char *, const char *);
    char from[PATH_MAX], to[PATH_MAX];
    int inside = locate(AT_FDCWD, old, from) & locate(AT_FDCWD, new, to);
    struct move move = { AT_FDCWD, old, AT_FDCWD, new };
    return inside ? move_file(&move, from, to) : real_rename(old, new);
}

int renameat(int old_dir, const char *old, int new_dir, const char *new) {
    REAL(int, renameat, int, const char *, int, const char *);
    char from[PATH_MAX], to[PATH_MAX];
    int inside = locate(old_dir, old, from) & locate(new_dir, new, to);
    struct move move = { old_dir, old, new_dir, new };
    return inside ? move_file(&move, from, to) : real_renameat(old_dir, old, new_dir, new);
}

static int linked(int result, const char *to) {
    struct stat st;
    if (result == 0 && lstat(to, &st) == 0 && S_ISREG(st.st_mode)) {
        int is_new;
        pthread_mutex_lock(&lock);
        note(NULL, to, file_of(st.st_ino, &is_new)->shadow);
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int link(const char *old, const char *new) {
    REAL(int, link, const char *, const char *);
    char to[PATH_MAX];
    int result = real_link(old, new);
    return locate(AT_FDCWD, new, to) ? linked(result, to) : result;
}

int linkat(int old_dir, const char *old, int new_dir, const char *new, int flags) {
    REAL(int, linkat, int, const char *, int, const char *, int);
    char to[PATH_MAX];
    int result = real_linkat(old_dir, old, new_dir, new, flags);
    return locate(new_dir, new, to) ? linked(result, to) : result;
}

int mkdir(const char *name, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    char path[PATH_MAX], shadow[PATH_MAX];
    int result = real_mkdir(name, mode);
    if (result == 0 && locate(AT_FDCWD, name, path)) {
        in_tree(shadow, path);
        real_mkdir(shadow, 0700);
    }
    return result;
}
