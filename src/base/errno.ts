// Domain error codes to Linux errno numbers (asm-generic/errno*.h), for the edges: the only place that knows them.
import { assertNever } from './assert.ts';
import type { FsErrorCode } from './errors.ts';

/** The positive errno of a code. The compiler proves that none is forgotten. */
export function errnoOf(code: FsErrorCode): number {
  switch (code) {
    case 'EPERM': return 1;
    case 'ENOENT': return 2;
    case 'EINTR': return 4;
    case 'EIO': return 5;
    case 'ENXIO': return 6;
    case 'E2BIG': return 7;
    case 'EBADF': return 9;
    case 'EAGAIN': return 11;
    case 'ENOMEM': return 12;
    case 'EACCES': return 13;
    case 'EBUSY': return 16;
    case 'EEXIST': return 17;
    case 'EXDEV': return 18;
    case 'ENODEV': return 19;
    case 'ENOTDIR': return 20;
    case 'EISDIR': return 21;
    case 'EINVAL': return 22;
    case 'ENFILE': return 23;
    case 'ENOTTY': return 25;
    case 'ETXTBSY': return 26;
    case 'EFBIG': return 27;
    case 'ENOSPC': return 28;
    case 'ESPIPE': return 29;
    case 'EROFS': return 30;
    case 'EMLINK': return 31;
    case 'ERANGE': return 34;
    case 'EDEADLK': return 35;
    case 'ENOLCK': return 37;
    case 'ENAMETOOLONG': return 36;
    case 'ENOSYS': return 38;
    case 'ENOTEMPTY': return 39;
    case 'ELOOP': return 40;
    case 'ENODATA': return 61;
    case 'EOVERFLOW': return 75;
    case 'EOPNOTSUPP': return 95;
    case 'ETIMEDOUT': return 110;
    case 'ESTALE': return 116;
    case 'EDQUOT': return 122;
    default: return assertNever(code, 'errno of an error code');
  }
}
