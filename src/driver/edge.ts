// How this driver reaches the kernel: the device that it inherited, or a mount of its own through fuse-native.
import { AssertionError, assert } from '../base/assert.ts';
import { LIMITS } from '../base/limits.ts';
import { invalidateInodeNotification } from '../fuse/notifications.ts';
import { FuseSession } from '../fuse/session.ts';
import type { DirectEdge, DriverStart } from '../ipc/process-messages.ts';
import { FuseDevice } from '../kernel/device.ts';
import { WakeLatency } from '../kernel/wake-latency.ts';
import type { LockEngine } from '../locks/lock-engine.ts';
import { ERRNO } from '../os/libc.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import type { Orphans } from '../vfs/orphans.ts';
import type { DriverCallbacks } from './driver.ts';
import { mountNative } from './native-edge.ts';
import type { RequestsInWork } from './stuck.ts';

export interface Served {
  readonly fs: FileSystem;
  readonly orphans: Orphans;
  /** Absent: the kernel keeps locks. */
  readonly locks: LockEngine | undefined;
}

export interface DriverEdge extends RequestsInWork {
  /** No more requests are taken. */
  stop(): void;
}

/** Serves the file system, and tells when the mount is usable. UserError where it cannot be. */
export async function openEdge({ fs, ...rest }: Omit<Served, 'fs'> & { readonly fs: FileSystem | undefined }, start: DriverStart, callbacks: DriverCallbacks): Promise<DriverEdge> {
  const onDefect = (error: unknown): void => {
    if (error instanceof AssertionError) callbacks.onDefect(error);
  };
  const { edge } = start;
  if (edge.kind === 'offline') {
    callbacks.tell({ type: 'ready' });
    return { waitingCount: 0, stop: () => {} };
  }
  assert(fs !== undefined, 'a mount has a file system');
  const served = { ...rest, fs };
  if (edge.kind === 'fuse-native') return mountNative(served.fs, start, edge, { ...callbacks, onDefect });
  return serveDevice(served, start, edge, { ...callbacks, onDefect });
}

/** As the driver's, with a defect of any kind. */
export type EdgeCallbacks = Omit<DriverCallbacks, 'onDefect'> & { readonly onDefect: (error: unknown) => void };

function serveDevice({ fs, orphans, locks }: Served, start: DriverStart, { fd }: DirectEdge, { logger, tell, onEnd, onDefect }: EdgeCallbacks): DriverEdge {
  const session = new FuseSession(fs, {
    logger,
    resume: start.session,
    features: { posixAcl: start.posixAcl },
    locks,
    onNegotiated: () => {
      tell({ type: 'session', session: session.export() as string });
      tell({ type: 'ready' });
    },
    onDefect,
  }, { reply: (head, headBytes, pieces) => device.reply(head, headBytes, pieces) });
  const device = new FuseDevice(fd, { onRequest: (bytes) => session.handle(bytes), onEnd }, { logger, wakeLatency: new WakeLatency() });
  let orphanTimer: NodeJS.Timeout | undefined;
  orphans.consult({
    drainCount: () => device.drainCount,
    knows: async (inode) => (await device.notify(invalidateInodeNotification(inode, 'attributes'))) !== ERRNO.ENOENT,
  });
  device.start();
  // Always: even the INIT of a first driver may have been read by one that died before it answered.
  if (!device.notifyResend() && start.session !== undefined) {
    logger.error('the kernel cannot send unanswered requests again (before Linux 6.9); programs that wait for one go on when the mount ends');
  }
  if (start.session !== undefined) {
    tell({ type: 'ready' });
    orphanTimer = setTimeout(() => orphans.askAboutAll(), LIMITS.orphansAfterTakeoverMs).unref();
  }
  return {
    get waitingCount() {
      return session.waitingCount;
    },
    get oldest() {
      return session.oldest;
    },
    stop() {
      clearTimeout(orphanTimer);
      device.stop();
    },
  };
}
