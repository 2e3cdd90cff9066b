// System calls that neither Node nor a shell makes, by python3: a few lines of it in a process of their own.
import { hasProgram } from '../support/programs.ts';
import type { PlaceUnderTest } from './where.ts';

/** What each piece of code finds: `attempt` gives a call's result or the name of its errno, `tell` is the answer. */
const PRELUDE = `
import ctypes, errno, fcntl, json, mmap, os, resource, signal, stat, struct, sys
KiB, MiB, GiB = 1024, 1024 ** 2, 1024 ** 3
ERRORS = {**errno.errorcode, errno.EOPNOTSUPP: 'EOPNOTSUPP'}
libc = ctypes.CDLL(None, use_errno=True)
KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE, UNSHARE_RANGE = 1, 2, 8, 16, 32, 64
def attempt(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return ERRORS[error.errno]
def checked(name, *arguments):
    ctypes.set_errno(0)
    result = getattr(libc, name)(*arguments)
    return ERRORS[ctypes.get_errno()] if result < 0 else result
def fallocate(fd, mode, offset, length):
    return checked('fallocate', fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length))
def made(name, data=b'', flags=0):
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC | flags, 0o644)
    for at in range(0, len(data), MiB):
        os.pwrite(fd, data[at:at + MiB], at)
    return fd
def contents(name):
    with open(name, 'rb') as file:
        return file.read()
def segments(fd):
    found, at = [], 0
    while True:
        start = attempt(os.lseek, fd, at, os.SEEK_DATA)
        if start == 'ENXIO':
            return found
        at = os.lseek(fd, start, os.SEEK_HOLE)
        found.append([start, at])
def allocated(name):
    return os.stat(name).st_blocks * 512
def text(length, first=1):
    return (bytes(range(251)) * (length // 251 + 2))[first:first + length]
def in_child(act):
    pid = os.fork()
    if pid == 0:
        try:
            act()
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(repr(error))
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
AT_FDCWD, AT_EMPTY_PATH, AT_SYMLINK_FOLLOW = -100, 0x1000, 0x400
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
def renameat2(old, new, flags):
    return checked('renameat2', AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)
def link_open_file(fd, name):
    return checked('linkat', AT_FDCWD, b'/proc/self/fd/%d' % fd, AT_FDCWD, os.fsencode(name), AT_SYMLINK_FOLLOW)
def utimensat(name, accessed, modified, flags=0):
    times = (ctypes.c_int64 * 4)(*accessed, *modified)
    return checked('utimensat', AT_FDCWD, os.fsencode(name), times, flags)
def birth(name):
    found = ctypes.create_string_buffer(256)
    assert checked('statx', AT_FDCWD, os.fsencode(name), 0x100, 0xfff, found) == 0
    seconds, nanoseconds = struct.unpack_from('<qI', found, 80)
    return seconds * 10 ** 9 + nanoseconds
def by_user(uid, act, gid=None, groups=()):
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(groups)
            os.setgid(uid if gid is None else gid)
            os.setuid(uid)
            told = act()
        except OSError as error:
            told = ERRORS[error.errno]
        except BaseException as error:
            told = repr(error)
        os.write(write_end, json.dumps(told).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as answer:
        told = json.loads(answer.read())
    os.waitpid(pid, 0)
    return told
def mode(name):
    return '%o' % stat.S_IMODE(os.lstat(name).st_mode)
def tell(value):
    print(json.dumps(value))
`;

export const localLacksPython = (): string | undefined => (hasProgram('python3') ? undefined : 'python3 is not installed');

/** Runs the code in the place's directory; resolves with what it told. Lines may be indented alike. */
export async function python(fs: PlaceUnderTest, code: string, { timeoutMs = 30_000 } = {}): Promise<unknown> {
  const lines = code.split('\n').filter((line) => line.trim() !== '');
  const indent = Math.min(...lines.map((line) => line.length - line.trimStart().length));
  const { code: status, stdout, stderr } = await fs.run('python3', ['-c', PRELUDE + lines.map((line) => line.slice(indent)).join('\n')], { timeoutMs });
  if (status !== 0) throw new Error(`python3 ended with ${status}: ${stderr}`);
  return JSON.parse(stdout) as unknown;
}
