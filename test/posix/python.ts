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
