/*
 * Preloaded into a server: notes, in order, what it does to the files below one folder, and makes that disk fail on demand.
 *
 *   DISK_ROOT   the folder; files are left alone without it
 *   DISK_LOG    where records are appended, one write each, so that several processes share one order
 *   DISK_FAULT  a file whose first letter is the fault: "f", the disk is full (nothing grows, nothing is made); "s", what is
 *               written cannot be synced; anything else, none
 *   DISK_REPLIES  when set, HTTP replies are noted too, before they are sent
 *
 * A write is noted after it was done, a sync by its begin and its end: what was noted before the begin is on the disk once
 * the end is noted. What stdio writes does not pass through here, so such a file is noted whole when it is synced or closed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { CREATE = 1, OPEN, TRUNCATE, WRITE, SYNC_BEGIN, SYNC_END, RENAME, UNLINK, REPLY, CONTENT };

struct header {
  uint32_t size, kind, pid, path_size;
  uint64_t nanos, file, at;
};

enum { MAX_FD = 4096, REPLY_BYTES = 1024 };
enum { UNTRACKED, TRACKED, STDIO };

static char root[PATH_MAX], fault_file[PATH_MAX];
static size_t root_size;
static int log_fd = -1, replies;
static unsigned char tracked[MAX_FD];
static _Atomic uint32_t syncs;

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static void give_up(const char *why) {
  dprintf(2, "disk recorder: %s: %s\n", why, strerror(errno));
  abort();
}

__attribute__((constructor)) static void begin(void) {
  const char *dir = getenv("DISK_ROOT"), *log = getenv("DISK_LOG"), *fault = getenv("DISK_FAULT");
  if (dir && !realpath(dir, root)) give_up("DISK_ROOT");
  root_size = strlen(root);
  if (fault) strncpy(fault_file, fault, sizeof fault_file - 1);
  replies = getenv("DISK_REPLIES") != NULL;
  if (!log) return;
  int (*real_open)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
  log_fd = real_open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (log_fd < 0) give_up("DISK_LOG");
}

static char fault(void) {
  if (!fault_file[0]) return 0;
  int saved = errno;
  int (*real_open)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
  char letter = 0;
  int fd = real_open(fault_file, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    if (read(fd, &letter, 1) != 1) letter = 0;
    int (*real_close)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");
    real_close(fd);
  }
  errno = saved;
  return letter;
}

static void note(enum kind kind, uint64_t file, uint64_t at, const char *path, const struct iovec *parts, int count, size_t size) {
  if (log_fd < 0) return;
  int saved = errno;
  REAL(writev);
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  struct iovec all[66];
  if (count > 64) give_up("too many parts");
  struct header header = {.kind = kind, .pid = (uint32_t)getpid(), .file = file, .at = at};
  header.nanos = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
  header.path_size = path ? (uint32_t)strlen(path) : 0;
  header.size = (uint32_t)(sizeof header + header.path_size + size);
  all[0] = (struct iovec){&header, sizeof header};
  all[1] = (struct iovec){(void *)(path ? path : ""), header.path_size};
  int used = 2;
  for (int i = 0; i < count && size > 0; i++) {
    size_t part = parts[i].iov_len < size ? parts[i].iov_len : size;
    all[used++] = (struct iovec){parts[i].iov_base, part};
    size -= part;
  }
  if (real(log_fd, all, used) != (ssize_t)header.size) give_up("a record could not be written");
  errno = saved;
}

/* The path below the root, or NULL. */
static const char *below(const char *path) {
  if (!root_size || strncmp(path, root, root_size) != 0) return NULL;
  if (path[root_size] == 0) return "";
  return path[root_size] == '/' ? path + root_size + 1 : NULL;
}

static const char *below_of_fd(int fd, char *buffer) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, buffer, PATH_MAX - 1);
  if (size < 0) return NULL;
  buffer[size] = 0;
  return below(buffer);
}

/* The same for a path as a program names it; its folder must be there. */
static const char *below_of_path(const char *path, char *buffer) {
  char copy[PATH_MAX], folder[PATH_MAX];
  strncpy(copy, path, sizeof copy - 1);
  copy[sizeof copy - 1] = 0;
  char *slash = strrchr(copy, '/');
  const char *name = slash ? slash + 1 : copy;
  if (slash) *slash = 0;
  if (!realpath(slash ? (copy[0] ? copy : "/") : ".", folder)) return NULL;
  if (snprintf(buffer, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX) return NULL;
  return below(buffer);
}

static int is_tracked(int fd) { return fd >= 0 && fd < MAX_FD && tracked[fd]; }

static uint64_t inode(int fd) {
  struct stat stat;
  if (fstat(fd, &stat) != 0) give_up("fstat");
  return stat.st_ino;
}

static off_t length(int fd) {
  struct stat stat;
  return fstat(fd, &stat) == 0 ? stat.st_size : 0;
}

static void opened(int fd, int existed, int truncated, int how) {
  char buffer[PATH_MAX];
  const char *path = fd < 0 || !root_size ? NULL : below_of_fd(fd, buffer);
  if (!path) return;
  if (fd >= MAX_FD) give_up("too many files");
  tracked[fd] = (unsigned char)how;
  note(existed ? OPEN : CREATE, inode(fd), 0, path, NULL, 0, 0);
  if (existed && truncated) note(TRUNCATE, inode(fd), 0, NULL, NULL, 0, 0);
}

static int refuses_to_make(const char *path) {
  char buffer[PATH_MAX];
  if (!root_size || !below_of_path(path, buffer) || access(path, F_OK) == 0 || fault() != 'f') return 0;
  errno = ENOSPC;
  return 1;
}

static int may_write(int flags) { return (flags & O_ACCMODE) != O_RDONLY; }

#define OPEN_BODY(name, ...)                                                     \
  REAL(name);                                                                    \
  mode_t mode = 0;                                                               \
  if (flags & (O_CREAT | O_TMPFILE)) {                                           \
    va_list list;                                                                \
    va_start(list, flags);                                                       \
    mode = va_arg(list, mode_t);                                                 \
    va_end(list);                                                                \
  }                                                                              \
  int existed = !(flags & O_CREAT) || !root_size || access(path, F_OK) == 0;     \
  if (!existed && refuses_to_make(path)) return -1;                              \
  int fd = real(__VA_ARGS__ path, flags, mode);                                  \
  if (may_write(flags) || (root_size && fd >= 0)) opened(fd, existed, (flags & O_TRUNC) != 0, TRACKED); \
  return fd

int open(const char *path, int flags, ...) { OPEN_BODY(open, ); }
int open64(const char *path, int flags, ...) { OPEN_BODY(open64, ); }
int openat(int at, const char *path, int flags, ...) { OPEN_BODY(openat, at, ); }
int openat64(int at, const char *path, int flags, ...) { OPEN_BODY(openat64, at, ); }

#define FOPEN_BODY(name)                                                         \
  REAL(name);                                                                    \
  int existed = !root_size || mode[0] == 'r' || access(path, F_OK) == 0;         \
  if (!existed && refuses_to_make(path)) return NULL;                            \
  FILE *stream = real(path, mode);                                               \
  if (stream) opened(fileno(stream), existed, mode[0] == 'w', mode[0] == 'r' && !strchr(mode, '+') ? TRACKED : STDIO); \
  return stream

FILE *fopen(const char *path, const char *mode) { FOPEN_BODY(fopen); }
FILE *fopen64(const char *path, const char *mode) { FOPEN_BODY(fopen64); }

/* Notes all that a file holds, for writes that were not seen. */
static void note_content(int fd) {
  if (!is_tracked(fd) || tracked[fd] != STDIO || log_fd < 0) return;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  int (*real_open)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
  int (*real_close)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");
  int again = real_open(link, O_RDONLY | O_CLOEXEC);
  if (again < 0) give_up("a file could not be read");
  size_t size = (size_t)length(again);
  char *content = malloc(size + 1);
  if (!content || pread(again, content, size, 0) != (ssize_t)size) give_up("a file could not be read");
  real_close(again);
  struct iovec part = {content, size};
  note(CONTENT, inode(fd), 0, NULL, &part, 1, size);
  free(content);
}

int close(int fd) {
  REAL(close);
  if (is_tracked(fd)) tracked[fd] = UNTRACKED;
  return real(fd);
}

int fclose(FILE *stream) {
  REAL(fclose);
  int fd = fileno(stream);
  if (is_tracked(fd)) {
    fflush(stream);
    note_content(fd);
    tracked[fd] = UNTRACKED;
  }
  return real(stream);
}

static size_t total(const struct iovec *parts, int count) {
  size_t size = 0;
  for (int i = 0; i < count; i++) size += parts[i].iov_len;
  return size;
}

/* Whether the disk is full and a write to `end` would have the file grow. */
static int refuses_to_grow(int fd, off_t end) {
  if (!is_tracked(fd) || end <= length(fd) || fault() != 'f') return 0;
  errno = ENOSPC;
  return 1;
}

static off_t place(int fd) {
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_APPEND) ? length(fd) : lseek(fd, 0, SEEK_CUR);
}

static void before_send(int fd, const struct iovec *parts, int count) {
  if (!replies || is_tracked(fd) || count < 1 || parts[0].iov_len < 9) return;
  if (memcmp(parts[0].iov_base, "HTTP/1.1 ", 9) != 0) return;
  size_t size = total(parts, count);
  note(REPLY, 0, 0, NULL, parts, count, size < REPLY_BYTES ? size : REPLY_BYTES);
}

static void wrote(int fd, const struct iovec *parts, int count, ssize_t done, off_t at) {
  if (done > 0 && is_tracked(fd)) note(WRITE, inode(fd), (uint64_t)at, NULL, parts, count, (size_t)done);
}

ssize_t write(int fd, const void *data, size_t size) {
  REAL(write);
  struct iovec part = {(void *)data, size};
  before_send(fd, &part, 1);
  off_t at = is_tracked(fd) ? place(fd) : 0;
  if (refuses_to_grow(fd, at + (off_t)size)) return -1;
  ssize_t done = real(fd, data, size);
  wrote(fd, &part, 1, done, at);
  return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(writev);
  before_send(fd, parts, count);
  off_t at = is_tracked(fd) ? place(fd) : 0;
  if (refuses_to_grow(fd, at + (off_t)total(parts, count))) return -1;
  ssize_t done = real(fd, parts, count);
  wrote(fd, parts, count, done, at);
  return done;
}

#define PWRITE_BODY(name)                                                        \
  REAL(name);                                                                    \
  struct iovec part = {(void *)data, size};                                      \
  if (refuses_to_grow(fd, at + (off_t)size)) return -1;                          \
  ssize_t done = real(fd, data, size, at);                                       \
  wrote(fd, &part, 1, done, at);                                                 \
  return done

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { PWRITE_BODY(pwrite); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { PWRITE_BODY(pwrite64); }

#define PWRITEV_BODY(name)                                                       \
  REAL(name);                                                                    \
  if (refuses_to_grow(fd, at + (off_t)total(parts, count))) return -1;           \
  ssize_t done = real(fd, parts, count, at);                                     \
  wrote(fd, parts, count, done, at);                                             \
  return done

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { PWRITEV_BODY(pwritev); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) { PWRITEV_BODY(pwritev64); }

#define SYNC_BODY(name)                                                          \
  REAL(name);                                                                    \
  if (!is_tracked(fd)) return real(fd);                                          \
  if (fault() == 's') {                                                          \
    errno = EIO;                                                                 \
    return -1;                                                                   \
  }                                                                              \
  note_content(fd);                                                              \
  char buffer[PATH_MAX];                                                         \
  const char *path = below_of_fd(fd, buffer);                                    \
  uint64_t file = inode(fd), id = ((uint64_t)getpid() << 32) | atomic_fetch_add(&syncs, 1); \
  note(SYNC_BEGIN, file, id, path, NULL, 0, 0);                                  \
  int done = real(fd);                                                           \
  if (done == 0) note(SYNC_END, file, id, path, NULL, 0, 0);                     \
  return done

int fsync(int fd) { SYNC_BODY(fsync); }
int fdatasync(int fd) { SYNC_BODY(fdatasync); }

#define TRUNCATE_BODY(name)                                                      \
  REAL(name);                                                                    \
  if (refuses_to_grow(fd, size)) return -1;                                      \
  int done = real(fd, size);                                                     \
  if (done == 0 && is_tracked(fd)) note(TRUNCATE, inode(fd), (uint64_t)size, NULL, NULL, 0, 0); \
  return done

int ftruncate(int fd, off_t size) { TRUNCATE_BODY(ftruncate); }
int ftruncate64(int fd, off64_t size) { TRUNCATE_BODY(ftruncate64); }

int rename(const char *from, const char *to) {
  REAL(rename);
  char from_buffer[PATH_MAX], to_buffer[PATH_MAX];
  const char *source = root_size ? below_of_path(from, from_buffer) : NULL;
  const char *target = root_size ? below_of_path(to, to_buffer) : NULL;
  if (!source != !target) give_up("a file was moved into or out of DISK_ROOT");
  int done = real(from, to);
  if (done != 0 || !source) return done;
  struct iovec part = {(void *)target, strlen(target)};
  note(RENAME, 0, 0, source, &part, 1, part.iov_len);
  return done;
}

int unlink(const char *path) {
  REAL(unlink);
  char buffer[PATH_MAX];
  const char *name = root_size ? below_of_path(path, buffer) : NULL;
  int done = real(path);
  if (done == 0 && name) note(UNLINK, 0, 0, name, NULL, 0, 0);
  return done;
}
