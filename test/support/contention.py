# Many processes on the same files and directories; what each of them checks, and what must hold in the end, as one JSON object of faults.
#
#   contention.py WORK DIRECTORY PROCESSES SECONDS SEED
import fcntl, json, mmap, os, random, signal, struct, sys, time, zlib

WORK, DIRECTORY, PROCESSES, SECONDS, SEED = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
PAGE = 4096


def record(writer, count, bytes):
    """A line that says who wrote it, and fits its checksum."""
    body = b'%d %d ' % (writer, count) + bytes_of(writer, count, bytes)
    return b'%08x %s\n' % (zlib.crc32(body), body)


def bytes_of(writer, count, bytes):
    return (b'%d.%d.' % (writer, count) * (bytes // 4 + 1))[:bytes]


def append(number, chance, until):
    """Appends with O_APPEND, of sizes below and above what one request or one block takes."""
    fd = os.open('log', os.O_WRONLY | os.O_APPEND | (os.O_SYNC if number % 4 == 0 else 0))
    count = 0
    while time.monotonic() < until:
        line = record(number, count, chance.choice([1, 30, 300, 5000, 17000, 70000]))
        if os.write(fd, line) != len(line):
            return 'a short write'
        count += 1
    open('counts/%d' % number, 'w').write(str(count))


def check_append():
    wanted = {int(name): int(open('counts/' + name).read()) for name in os.listdir('counts')}
    found = dict.fromkeys(wanted, 0)
    for line in open('log', 'rb').read().split(b'\n')[:-1]:
        sum, body = line[:8], line[9:]
        if int(sum, 16) != zlib.crc32(body):
            return 'a record is torn'
        writer, count = (int(word) for word in body.split(b' ', 2)[:2])
        if found[writer] != count:
            return 'writer %d: record %d where %d was due' % (writer, count, found[writer])
        found[writer] += 1
    if found != wanted:
        return 'records are missing: %r of %r' % (found, wanted)


def blocks(number, chance, until):
    """Half of them write pages, each with one write; the others read them, through the cache and around it."""
    pages, whole = 64, mmap.mmap(-1, PAGE)
    direct = os.open('pages', os.O_RDWR | os.O_DIRECT)
    fd = os.open('pages', os.O_RDWR)
    count = 0
    while time.monotonic() < until:
        at = chance.randrange(pages) * PAGE
        if number % 2 == 0:
            count += 1
            word = struct.pack('<II', number, count)
            whole[:] = word * (PAGE // len(word))
            os.pwritev(direct if chance.random() < 0.3 else fd, [whole], at)
        else:
            if chance.random() < 0.3:
                os.preadv(direct, [whole], at)
                seen = whole[:]
            else:
                seen = os.pread(fd, PAGE, at)
            if seen != seen[:8] * (PAGE // 8):
                return 'a torn page at %d' % at


def names(number, chance, until):
    """Renames, links and removals over a few names: of those who try the same one wins, and nothing is lost."""
    own = 'names/own%d' % number
    wins = 0
    while time.monotonic() < until:
        name = 'names/%d' % chance.randrange(8)
        what = chance.randrange(6)
        try:
            if what == 0:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                wins += 1
            elif what == 1:
                os.unlink(name)
                wins -= 1
            elif what == 2:
                # The target goes, or is another name of the same file: then neither does.
                os.close(os.open(own, os.O_CREAT | os.O_WRONLY))
                os.link(own, name)
                wins += 1
            elif what == 3:
                other = 'other/%d.%d' % (number, chance.randrange(1 << 30))
                os.rename(name, other)
                os.unlink(other)
                wins -= 1
            elif what == 4:
                os.mkdir('tree/d%d' % chance.randrange(4))
            else:
                one, two = ('tree/d%d' % chance.randrange(4) for _ in range(2))
                # Directories into each other: never a circle.
                os.rename(one, two + '/d%d' % chance.randrange(4)) if chance.random() < 0.5 else os.rmdir(one)
        except FileExistsError:
            pass
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (22, 39, 40, 20):  # EINVAL into itself, ENOTEMPTY, ELOOP, ENOTDIR
                raise
        if os.path.exists(own):
            os.unlink(own)
    open('wins/%d' % number, 'w').write(str(wins))


def check_names():
    wins = sum(int(open('wins/' + name).read()) for name in os.listdir('wins'))
    there = [name for name in os.listdir('names')]
    if len(there) != wins:
        return '%d names are there, and %d were made and not removed' % (len(there), wins)
    for name in there:
        if os.stat('names/' + name).st_nlink != 1:
            return '%s has %d links' % (name, os.stat('names/' + name).st_nlink)
    if os.listdir('other'):
        return 'left over: %r' % os.listdir('other')
    for root, directories, _files in os.walk('tree'):
        if os.stat(root).st_nlink != 2 + len(directories):
            return '%s: link count' % root


def counter(number, chance, until):
    """Read, add, write, under locks of both kinds; and the same by a rename that replaces the file whole."""
    fd = os.open('counter', os.O_RDWR)
    lock = os.open('lock', os.O_RDWR | os.O_CREAT)
    added = 0
    while time.monotonic() < until:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        fcntl.flock(fd, fcntl.LOCK_EX)
        value = int(os.pread(fd, 20, 0)) + 1
        os.pwrite(fd, b'%020d' % value, 0)
        if int(open('replaced').read()) != value - 1:
            return 'the file that is replaced says %s, the counter said %d' % (open('replaced').read(), value - 1)
        with open('replaced.%d' % number, 'w') as file:
            file.write(str(value))
        os.rename('replaced.%d' % number, 'replaced')
        added += 1
        fcntl.flock(fd, fcntl.LOCK_UN)
        fcntl.lockf(lock, fcntl.LOCK_UN)
    open('added/%d' % number, 'w').write(str(added))


def check_counter():
    added = sum(int(open('added/' + name).read()) for name in os.listdir('added'))
    if added != int(open('counter').read()) or added != int(open('replaced').read()):
        return 'updates are lost: %d were made, %s and %s are there' % (added, open('counter').read(), open('replaced').read())


PREPARE = {
    'append': lambda: (os.mkdir('counts'), os.close(os.open('log', os.O_CREAT))),
    'blocks': lambda: open('pages', 'wb').write(bytes(64 * PAGE)),
    'names': lambda: [os.mkdir(name) for name in ('names', 'other', 'wins', 'tree')],
    'counter': lambda: (os.mkdir('added'), open('counter', 'w').write('0' * 20), open('replaced', 'w').write('0')),
}
CHECK = {'append': check_append, 'blocks': lambda: None, 'names': check_names, 'counter': check_counter}
DO = {'append': append, 'blocks': blocks, 'names': names, 'counter': counter}


def child(number, until, out):
    try:
        fault = DO[WORK](number, random.Random(SEED * 1000 + number), until)
    except BaseException as error:
        fault = repr(error)
    os.write(out, (fault or '').encode() + b'\n')
    os._exit(0)


os.mkdir(DIRECTORY)
os.chdir(DIRECTORY)
PREPARE[WORK]()
come, out = os.pipe()
until = time.monotonic() + SECONDS
for number in range(PROCESSES):
    if os.fork() == 0:
        child(number, until, out)
os.close(out)
# A deadlock is the one fault that nobody comes back from to tell.
signal.alarm(int(SECONDS) + 60)
faults = [line for line in open(come).read().split('\n') if line]
fault = CHECK[WORK]()
print(json.dumps(faults + ([fault] if fault else [])))
