// What programs may expect of flock(2) and fcntl(2) locks: each scenario is run by name in a directory of its own.
//
//   locks SCENARIO FILE     exit code 0, or 1 and what was expected on stderr
//   locks hold FILE         takes an exclusive POSIX lock, says "held", keeps it until stdin ends
//   locks refused FILE      exit code 0 where both kinds of lock are held by others
//   locks queue FILE COUNT  COUNT processes wait for it; says "waiting", then "got COUNT" when all had it, in turn
//   locks churn FILE COUNT ROUNDS   COUNT processes take and leave it, ROUNDS times each
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *path;

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "%s:%d: expected %s (errno %d, %s)\n", __func__, __LINE__, #condition, errno, strerror(errno)); _exit(1); } } while (0)
#define FAILS(call, number) do { errno = 0; int failed_ = (call); CHECK(failed_ == -1); CHECK(errno == (number)); } while (0)

static int opened(void) {
  int fd = open(path, O_RDWR | O_CREAT, 0644);
  CHECK(fd >= 0);
  return fd;
}

static int posix(int fd, int command, short type, off_t start, off_t bytes) {
  struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = bytes };
  return fcntl(fd, command, &lock);
}

static struct flock asked(int fd, int command, short type, off_t start, off_t bytes) {
  struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = bytes };
  CHECK(fcntl(fd, command, &lock) == 0);
  return lock;
}

/** Runs `body` in a child; the child succeeds when it returns. */
#define CHILD(pid, body) pid_t pid = fork(); CHECK(pid >= 0); if (pid == 0) { alarm(60); body; _exit(0); }
#define JOIN(pid) do { int status_; CHECK(waitpid(pid, &status_, 0) == pid); CHECK(WIFEXITED(status_) && WEXITSTATUS(status_) == 0); } while (0)
#define IN_CHILD(body) do { CHILD(pid_, body) JOIN(pid_); } while (0)

/** Until the process sleeps in a call that waits for a lock. */
static void until_waiting(pid_t pid) {
  char name[64], call[64];
  snprintf(name, sizeof name, "/proc/%d/syscall", pid);
  for (int tries = 0; tries < 20000; tries++) {
    FILE *file = fopen(name, "r");
    long number = -1;
    if (file != NULL) {
      if (fgets(call, sizeof call, file) != NULL) number = strtol(call, NULL, 10);
      fclose(file);
    }
    if (number == SYS_fcntl || number == SYS_flock) return;
    usleep(1000);
  }
  CHECK(!"the process waits for a lock");
}

struct gate { int fds[2]; };
static struct gate gate(void) { struct gate made; CHECK(pipe(made.fds) == 0); return made; }
static void pass(struct gate *at) { CHECK(write(at->fds[1], "x", 1) == 1); }
static void await(struct gate *at) { char c; CHECK(read(at->fds[0], &c, 1) == 1); }

static void nothing(int number) { (void)number; }
static void on_alarm(int flags) {
  struct sigaction action = { .sa_handler = nothing, .sa_flags = flags };
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
}

static void conflict(void) {
  int fd = opened();
  CHECK(posix(fd, F_SETLK, F_WRLCK, 0, 10) == 0);
  IN_CHILD(int own = opened(); FAILS(posix(own, F_SETLK, F_WRLCK, 5, 10), EAGAIN); FAILS(posix(own, F_SETLK, F_RDLCK, 0, 1), EAGAIN);
    CHECK(posix(own, F_SETLK, F_WRLCK, 10, 10) == 0));
  CHECK(posix(fd, F_SETLK, F_RDLCK, 0, 10) == 0);
  IN_CHILD(int own = opened(); CHECK(posix(own, F_SETLK, F_RDLCK, 0, 10) == 0); FAILS(posix(own, F_SETLK, F_WRLCK, 9, 1), EAGAIN));
  CHECK(posix(fd, F_SETLK, F_UNLCK, 0, 0) == 0);
  IN_CHILD(int own = opened(); CHECK(posix(own, F_SETLK, F_WRLCK, 0, 0) == 0));
  int reader = open(path, O_RDONLY);
  FAILS(posix(reader, F_SETLK, F_WRLCK, 0, 1), EBADF);
}

static void ranges(void) {
  int fd = opened();
  pid_t parent = getpid();
  CHECK(posix(fd, F_SETLK, F_WRLCK, 0, 100) == 0);
  CHECK(posix(fd, F_SETLK, F_UNLCK, 40, 10) == 0);
  CHECK(posix(fd, F_SETLK, F_RDLCK, 60, 10) == 0);
  IN_CHILD(int own = opened();
    struct flock found = asked(own, F_GETLK, F_WRLCK, 0, 0);
    CHECK(found.l_type == F_WRLCK && found.l_start == 0 && found.l_len == 40 && found.l_pid == parent);
    found = asked(own, F_GETLK, F_WRLCK, 40, 10); CHECK(found.l_type == F_UNLCK);
    found = asked(own, F_GETLK, F_WRLCK, 45, 10); CHECK(found.l_type == F_WRLCK && found.l_start == 50 && found.l_len == 10);
    found = asked(own, F_GETLK, F_WRLCK, 60, 5); CHECK(found.l_type == F_RDLCK && found.l_start == 60 && found.l_len == 10);
    found = asked(own, F_GETLK, F_RDLCK, 60, 5); CHECK(found.l_type == F_UNLCK);
    CHECK(posix(own, F_SETLK, F_RDLCK, 60, 10) == 0));
  CHECK(posix(fd, F_SETLK, F_WRLCK, 40, 30) == 0);
  IN_CHILD(int own = opened(); struct flock found = asked(own, F_GETLK, F_RDLCK, 50, 1); CHECK(found.l_start == 0 && found.l_len == 100));
  CHECK(posix(fd, F_SETLK, F_WRLCK, 50, 0) == 0);
  IN_CHILD(int own = opened(); struct flock found = asked(own, F_GETLK, F_RDLCK, 1L << 62, 1); CHECK(found.l_start == 0 && found.l_len == 0));
}

static void far_away(void) {
  int fd = opened();
  const off_t far = (1L << 62) + 1;
  CHECK(posix(fd, F_SETLK, F_WRLCK, far, 1) == 0);
  IN_CHILD(int own = opened(); CHECK(posix(own, F_SETLK, F_WRLCK, far - 1, 1) == 0); CHECK(posix(own, F_SETLK, F_WRLCK, far + 1, 1) == 0);
    FAILS(posix(own, F_SETLK, F_WRLCK, far, 1), EAGAIN); struct flock found = asked(own, F_GETLK, F_WRLCK, 0, 0); CHECK(found.l_start == far && found.l_len == 1));
}

static void upgrade(void) {
  int fd = opened();
  struct gate ready = gate(), go = gate();
  CHECK(posix(fd, F_SETLK, F_RDLCK, 0, 10) == 0);
  CHILD(other, int own = opened(); CHECK(posix(own, F_SETLK, F_RDLCK, 0, 10) == 0); pass(&ready); await(&go));
  await(&ready);
  FAILS(posix(fd, F_SETLK, F_WRLCK, 0, 10), EAGAIN);
  IN_CHILD(int own = opened(); FAILS(posix(own, F_SETLK, F_WRLCK, 0, 10), EAGAIN); CHECK(posix(own, F_SETLK, F_RDLCK, 0, 10) == 0));
  pass(&go);
  CHECK(posix(fd, F_SETLKW, F_WRLCK, 0, 10) == 0);
  IN_CHILD(int own = opened(); FAILS(posix(own, F_SETLK, F_RDLCK, 0, 10), EAGAIN));
  JOIN(other);
}

static void deadlock(void) {
  int fd = opened();
  CHECK(posix(fd, F_SETLK, F_WRLCK, 0, 1) == 0);
  struct gate ready = gate();
  CHILD(second, int own = opened(); CHECK(posix(own, F_SETLK, F_WRLCK, 1, 1) == 0); pass(&ready); CHECK(posix(own, F_SETLKW, F_WRLCK, 0, 1) == 0));
  CHILD(third, int own = opened(); await(&ready); CHECK(posix(own, F_SETLK, F_WRLCK, 2, 1) == 0); pass(&ready); CHECK(posix(own, F_SETLKW, F_WRLCK, 1, 1) == 0));
  until_waiting(second);
  until_waiting(third);
  await(&ready);
  FAILS(posix(fd, F_SETLKW, F_WRLCK, 2, 1), EDEADLK);
  FAILS(posix(fd, F_SETLKW, F_WRLCK, 1, 1), EDEADLK);
  CHECK(posix(fd, F_SETLK, F_UNLCK, 0, 1) == 0);
  JOIN(second);
  JOIN(third);
}

static void interrupted(void) {
  int fd = opened();
  CHECK(posix(fd, F_SETLK, F_WRLCK, 0, 0) == 0);
  CHECK(flock(fd, LOCK_EX) == 0);
  CHILD(fcntl_waiter, on_alarm(0); FAILS(posix(opened(), F_SETLKW, F_WRLCK, 0, 1), EINTR));
  CHILD(flock_waiter, on_alarm(0); FAILS(flock(opened(), LOCK_SH), EINTR));
  CHILD(restarted, on_alarm(SA_RESTART); CHECK(posix(opened(), F_SETLKW, F_WRLCK, 5, 1) == 0));
  pid_t waiters[] = { fcntl_waiter, flock_waiter, restarted };
  for (int index = 0; index < 3; index++) { until_waiting(waiters[index]); CHECK(kill(waiters[index], SIGUSR1) == 0); }
  JOIN(fcntl_waiter);
  JOIN(flock_waiter);
  until_waiting(restarted);
  CHECK(posix(fd, F_SETLK, F_UNLCK, 0, 0) == 0);
  JOIN(restarted);
}

static void closed(void) {
  int fd = opened(), other = opened();
  CHECK(posix(fd, F_SETLK, F_WRLCK, 0, 10) == 0);
  CHECK(posix(other, F_SETLK, F_WRLCK, 20, 10) == 0);
  CHECK(close(other) == 0);
  IN_CHILD(CHECK(posix(opened(), F_SETLK, F_WRLCK, 0, 0) == 0));
  CHECK(posix(fd, F_SETLK, F_WRLCK, 0, 10) == 0);
  CHECK(close(dup(fd)) == 0);
  IN_CHILD(CHECK(posix(opened(), F_SETLK, F_WRLCK, 0, 0) == 0));
  CHECK(posix(fd, F_SETLK, F_WRLCK, 0, 10) == 0);
  IN_CHILD(close(fd));
  IN_CHILD(FAILS(posix(opened(), F_SETLK, F_WRLCK, 0, 0), EAGAIN));
}

static void killed(void) {
  struct gate ready = gate();
  CHILD(holder, int own = opened(); CHECK(posix(own, F_SETLK, F_WRLCK, 0, 0) == 0); CHECK(flock(own, LOCK_EX) == 0);
    int open_file = open(path, O_RDWR); (void)open_file; pass(&ready); pause());
  await(&ready);
  CHILD(fcntl_waiter, CHECK(posix(opened(), F_SETLKW, F_RDLCK, 3, 4) == 0));
  CHILD(flock_waiter, CHECK(flock(opened(), LOCK_EX) == 0));
  CHILD(victim, posix(opened(), F_SETLKW, F_WRLCK, 0, 0));
  until_waiting(fcntl_waiter);
  until_waiting(flock_waiter);
  until_waiting(victim);
  CHECK(kill(victim, SIGKILL) == 0);
  int status;
  CHECK(waitpid(victim, &status, 0) == victim && WIFSIGNALED(status));
  CHECK(kill(holder, SIGKILL) == 0);
  CHECK(waitpid(holder, &status, 0) == holder && WIFSIGNALED(status));
  JOIN(fcntl_waiter);
  JOIN(flock_waiter);
  int own = opened();
  CHECK(posix(own, F_SETLKW, F_WRLCK, 0, 0) == 0);
  CHECK(flock(own, LOCK_EX) == 0);
}

static void forked(void) {
  int fd = opened();
  CHECK(posix(fd, F_SETLK, F_WRLCK, 0, 10) == 0);
  IN_CHILD(FAILS(posix(fd, F_SETLK, F_WRLCK, 0, 10), EAGAIN));
  CHECK(posix(fd, F_SETLK, F_UNLCK, 0, 0) == 0);
  CHECK(flock(fd, LOCK_EX) == 0);
  IN_CHILD(CHECK(flock(fd, LOCK_EX | LOCK_NB) == 0); FAILS(flock(opened(), LOCK_SH | LOCK_NB), EWOULDBLOCK));
  IN_CHILD(close(fd));
  IN_CHILD(FAILS(flock(opened(), LOCK_SH | LOCK_NB), EWOULDBLOCK));
  IN_CHILD(CHECK(flock(fd, LOCK_UN) == 0));
  IN_CHILD(CHECK(flock(opened(), LOCK_EX | LOCK_NB) == 0));
}

static void executed(void) {
  int fd = opened();
  CHECK(posix(fd, F_SETLK, F_WRLCK, 0, 10) == 0);
  CHECK(flock(fd, LOCK_EX) == 0);
  execl("/proc/self/exe", "locks", "after-exec", path, NULL);
  CHECK(!"exec");
}

static void after_exec(void) {
  IN_CHILD(FAILS(posix(opened(), F_SETLK, F_WRLCK, 0, 10), EAGAIN); FAILS(flock(opened(), LOCK_SH | LOCK_NB), EWOULDBLOCK));
  CHECK(posix(opened(), F_SETLK, F_WRLCK, 5, 20) == 0);
}

static void whole_file(void) {
  int one = opened(), other = opened();
  CHECK(flock(one, LOCK_SH | LOCK_NB) == 0);
  CHECK(flock(other, LOCK_SH | LOCK_NB) == 0);
  FAILS(flock(one, LOCK_EX | LOCK_NB), EWOULDBLOCK);
  CHECK(flock(other, LOCK_EX | LOCK_NB) == 0);
  FAILS(flock(one, LOCK_SH | LOCK_NB), EWOULDBLOCK);
  CHILD(waiter, CHECK(flock(opened(), LOCK_SH) == 0));
  until_waiting(waiter);
  CHECK(flock(other, LOCK_SH) == 0);
  JOIN(waiter);
  int copy = dup(other);
  CHECK(flock(copy, LOCK_EX | LOCK_NB) == 0);
  CHECK(close(other) == 0);
  FAILS(flock(one, LOCK_SH | LOCK_NB), EWOULDBLOCK);
  CHECK(close(copy) == 0);
  CHECK(flock(one, LOCK_EX) == 0);
  CHECK(flock(one, LOCK_UN) == 0);
  CHECK(flock(opened(), LOCK_EX | LOCK_NB) == 0);
  int reader = open(path, O_RDONLY);
  FAILS(flock(reader, LOCK_EX | LOCK_NB), EWOULDBLOCK);
}

static void independent(void) {
  int fd = opened();
  CHECK(flock(fd, LOCK_EX) == 0);
  IN_CHILD(int own = opened(); CHECK(posix(own, F_SETLK, F_WRLCK, 0, 0) == 0); FAILS(flock(own, LOCK_EX | LOCK_NB), EWOULDBLOCK));
  CHECK(posix(fd, F_SETLK, F_WRLCK, 0, 0) == 0);
  CHECK(flock(fd, LOCK_UN) == 0);
  IN_CHILD(int own = opened(); CHECK(flock(own, LOCK_EX | LOCK_NB) == 0); FAILS(posix(own, F_SETLK, F_RDLCK, 0, 1), EAGAIN));
}

static void open_files(void) {
  int one = opened(), other = opened();
  CHECK(posix(one, F_OFD_SETLK, F_WRLCK, 0, 10) == 0);
  FAILS(posix(other, F_OFD_SETLK, F_WRLCK, 5, 10), EAGAIN);
  FAILS(posix(one, F_SETLK, F_WRLCK, 5, 10), EAGAIN);
  CHECK(posix(dup(one), F_OFD_SETLK, F_RDLCK, 0, 10) == 0);
  CHECK(posix(other, F_OFD_SETLK, F_RDLCK, 5, 10) == 0);
  struct flock found = asked(other, F_OFD_GETLK, F_WRLCK, 0, 0);
  CHECK(found.l_type == F_RDLCK && found.l_start == 0 && found.l_len == 10 && found.l_pid == -1);
  IN_CHILD(CHECK(posix(one, F_OFD_SETLK, F_RDLCK, 0, 10) == 0); close(one));
  CHECK(close(opened()) == 0);
  FAILS(posix(other, F_OFD_SETLK, F_WRLCK, 0, 1), EAGAIN);
  CHECK(posix(one, F_OFD_SETLK, F_UNLCK, 0, 0) == 0);
  CHECK(posix(other, F_OFD_SETLKW, F_WRLCK, 0, 0) == 0);
  CHECK(close(other) == 0);
  CHECK(posix(opened(), F_SETLKW, F_WRLCK, 0, 0) == 0);
}

static void open_files_wait_for_ever(void) {
  int one = opened();
  CHECK(posix(one, F_OFD_SETLK, F_WRLCK, 0, 1) == 0);
  struct gate ready = gate();
  CHILD(other, int own = opened(); CHECK(posix(own, F_OFD_SETLK, F_WRLCK, 1, 1) == 0); pass(&ready); CHECK(posix(own, F_OFD_SETLKW, F_WRLCK, 0, 1) == 0));
  await(&ready);
  until_waiting(other);
  CHILD(waker, sleep(1); CHECK(kill(getppid(), SIGUSR1) == 0));
  on_alarm(0);
  FAILS(posix(one, F_OFD_SETLKW, F_WRLCK, 1, 1), EINTR);
  CHECK(posix(one, F_OFD_SETLK, F_UNLCK, 0, 0) == 0);
  JOIN(waker);
  JOIN(other);
}

static void removed(void) {
  int fd = opened();
  CHECK(posix(fd, F_SETLK, F_WRLCK, 0, 10) == 0);
  CHECK(unlink(path) == 0);
  IN_CHILD(FAILS(posix(fd, F_SETLK, F_WRLCK, 0, 10), EAGAIN));
  IN_CHILD(CHECK(posix(opened(), F_SETLK, F_WRLCK, 0, 10) == 0));
}

static void refused(void) {
  int fd = opened();
  FAILS(posix(fd, F_SETLK, F_RDLCK, 0, 1), EAGAIN);
  FAILS(flock(fd, LOCK_SH | LOCK_NB), EWOULDBLOCK);
}

static void hold(void) {
  int fd = opened();
  CHECK(posix(fd, F_SETLKW, F_WRLCK, 0, 0) == 0);
  CHECK(flock(fd, LOCK_EX) == 0);
  puts("held");
  fflush(stdout);
  char c;
  while (read(0, &c, 1) > 0);
}

static void queue(int count) {
  int *inside = mmap(NULL, sizeof *inside * 2, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t *pids = calloc(count, sizeof *pids);
  for (int index = 0; index < count; index++) {
    CHILD(pid, alarm(300); int own = opened();
      if (index % 2 == 0) CHECK(posix(own, F_SETLKW, F_WRLCK, 0, 1) == 0); else CHECK(flock(own, LOCK_EX) == 0);
      CHECK(__sync_fetch_and_add(&inside[index % 2], 1) == 0);
      CHECK(__sync_sub_and_fetch(&inside[index % 2], 1) == 0));
    pids[index] = pid;
  }
  for (int index = 0; index < count; index++) until_waiting(pids[index]);
  puts("waiting");
  fflush(stdout);
  for (int index = 0; index < count; index++) JOIN(pids[index]);
  printf("got %d\n", count);
}

/** A lock of one kind or the other, held for a moment, given up in one way or the other: never by two at once. */
static void turn(int kind, int *inside) {
  int fd = opened();
  if (kind == 0) CHECK(posix(fd, F_SETLKW, F_WRLCK, 0, 1) == 0);
  else CHECK(flock(fd, LOCK_EX) == 0);
  CHECK(__sync_fetch_and_add(inside, 1) == 0);
  usleep(200);
  CHECK(__sync_sub_and_fetch(inside, 1) == 0);
  if (getpid() % 2 == 0) CHECK(kind == 0 ? posix(fd, F_SETLK, F_UNLCK, 0, 0) == 0 : flock(fd, LOCK_UN) == 0);
  CHECK(close(fd) == 0);
}

static void churn(int count, int rounds) {
  int *inside = mmap(NULL, sizeof *inside * 2, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t *pids = calloc(count, sizeof *pids);
  for (int index = 0; index < count; index++) {
    CHILD(pid, alarm(300); for (int round = 0; round < rounds; round++) turn(index % 2, &inside[index % 2]));
    pids[index] = pid;
  }
  for (int index = 0; index < count; index++) JOIN(pids[index]);
}

static const struct { const char *name; void (*run)(void); } SCENARIOS[] = {
  { "conflict", conflict }, { "ranges", ranges }, { "far-away", far_away }, { "upgrade", upgrade }, { "deadlock", deadlock },
  { "interrupted", interrupted }, { "closed", closed }, { "killed", killed }, { "forked", forked }, { "executed", executed },
  { "after-exec", after_exec }, { "whole-file", whole_file }, { "independent", independent }, { "open-files", open_files },
  { "open-files-wait-for-ever", open_files_wait_for_ever }, { "removed", removed }, { "hold", hold }, { "refused", refused },
};

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  path = argv[2];
  if (strcmp(argv[1], "queue") == 0) return queue(atoi(argv[3])), 0;
  if (strcmp(argv[1], "churn") == 0) return churn(atoi(argv[3]), atoi(argv[4])), 0;
  if (strcmp(argv[1], "hold") != 0) alarm(60);
  for (size_t index = 0; index < sizeof SCENARIOS / sizeof *SCENARIOS; index++) {
    if (strcmp(argv[1], SCENARIOS[index].name) == 0) return SCENARIOS[index].run(), 0;
  }
  fprintf(stderr, "no scenario %s\n", argv[1]);
  return 2;
}
