# System calls on files, asked for line by line: {"call": name, ...} in, {"value": ...} or {"errno": name} out, as JSON.
import base64, ctypes, errno, json, mmap, os, sys

libc = ctypes.CDLL(None, use_errno=True)
NAMES = {**errno.errorcode, errno.EOPNOTSUPP: 'EOPNOTSUPP'}


def opened(path, flags=os.O_RDWR):
    return os.open(path, flags | os.O_NOFOLLOW)


def fallocate(path, mode, offset, bytes):
    fd = opened(path)
    try:
        if libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(bytes)) != 0:
            raise OSError(ctypes.get_errno(), 'fallocate')
    finally:
        os.close(fd)


def copy(source, target, sourceOffset, targetOffset, bytes):
    """Until all is copied that the source has now: a copy within a file may make it longer."""
    fds = [opened(source)]
    try:
        fds.append(opened(target))
        bytes = min(bytes, max(0, os.fstat(fds[0]).st_size - sourceOffset))
        done = 0
        while done < bytes:
            count = os.copy_file_range(fds[0], fds[1], bytes - done, sourceOffset + done, targetOffset + done)
            if count == 0:
                break
            done += count
        return done
    finally:
        for fd in fds:
            os.close(fd)


def map(path, offset, data, sync):
    """Writes through a shared mapping what fits in the file; returns how much."""
    fd = opened(path)
    try:
        size = os.fstat(fd).st_size
        data = base64.b64decode(data)[:max(0, size - offset)]
        if data:
            with mmap.mmap(fd, size) as mapping:
                mapping[offset:offset + len(data)] = data
                if sync:
                    mapping.flush()
        return len(data)
    finally:
        os.close(fd)


def direct(path, offset, data):
    fd = opened(path, os.O_RDWR | os.O_DIRECT)
    try:
        data = base64.b64decode(data)
        with mmap.mmap(-1, max(1, len(data))) as buffer:
            buffer[:len(data)] = data
            view = memoryview(buffer)
            part = view[:len(data)]
            done = os.pwritev(fd, [part], offset)
            part.release()
            view.release()
        return done
    finally:
        os.close(fd)


def appends(path, data, processes, count):
    """So many processes append the same bytes so often, all at once."""
    os.close(opened(path))
    data = base64.b64decode(data)
    children = []
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            fd = opened(path, os.O_WRONLY | os.O_APPEND)
            os._exit(0 if all(os.write(fd, data) == len(data) for _ in range(count)) else 1)
        children.append(pid)
    return sum(os.waitpid(pid, 0)[1] for pid in children)


CALLS = {'fallocate': fallocate, 'copy': copy, 'map': map, 'direct': direct, 'appends': appends}
for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {'value': CALLS[request.pop('call')](**request)}
    except OSError as error:
        answer = {'errno': NAMES[error.errno]}
    print(json.dumps(answer), flush=True)
