// Tells who waits for an open file description lock from who waits for a POSIX one: FUSE has one request for both.
import { readFileSync } from 'node:fs';
import { arch } from 'node:process';

/** Number of fcntl(2) by processor: <asm/unistd.h>. */
const FCNTL: Partial<Record<typeof arch, string>> = { x64: '72', arm64: '25' };
/** F_OFD_SETLKW of <linux/fcntl.h>, as /proc shows arguments. */
const OFD_SETLKW = '0x26';
/** The thread has sent its request and is about to fall asleep; only then can its call be read. */
const TRIES = 50;

/**
 * Whether the thread sleeps in fcntl(F_OFD_SETLKW). Read from /proc/PID/syscall, proc(5): the number of the call and
 * its arguments. False where that cannot be read (another processor, a thread of another pid namespace).
 */
export function waitsForOpenFileLock(thread: number): boolean {
  for (let count = 0; count < TRIES; count++) {
    const call = readCall(thread);
    if (call !== 'running') return call.startsWith(`${FCNTL[arch]} `) && call.split(' ')[2] === OFD_SETLKW;
  }
  return false;
}

function readCall(thread: number): string {
  try {
    return readFileSync(`/proc/${thread}/syscall`, 'latin1').trim();
  } catch {
    return '';
  }
}
