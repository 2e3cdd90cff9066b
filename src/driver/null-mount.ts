// Mounts the null file system in the foreground, to measure the kernel edge: `node null-mount.js MOUNTPOINT`.
import { spawn } from 'node:child_process';
import { constants, openSync } from 'node:fs';
import { createLogger } from '../base/log.ts';
import { FuseSession } from '../fuse/session.ts';
import { setReadAhead } from '../kernel/connection.ts';
import { FuseDevice } from '../kernel/device.ts';
import { WakeLatency } from '../kernel/wake-latency.ts';
import { mountFuse } from '../kernel/mount.ts';
import { parseMountOptions } from '../kernel/mount-options.ts';
import { findMount } from '../kernel/mount-table.ts';
import { NullFileSystem } from './null-filesystem.ts';

const READ_AHEAD_KIB = 1024;

/** Ends with code 0 when the mount is gone. SIGTERM and SIGINT take it away. */
function main(mountpoint: string | undefined, busyPollMs: number | undefined): void {
  if (mountpoint === undefined) {
    process.stderr.write('usage: null-mount.js MOUNTPOINT [BUSY_POLL_MS]\n');
    process.exit(2);
  }
  const logger = createLogger({ role: 'null-mount' });
  const fd = openSync('/dev/fuse', constants.O_RDWR | constants.O_NONBLOCK);
  const device = new FuseDevice(fd, {
    onRequest: (bytes) => session.handle(bytes),
    onEnd(end) {
      if (end.reason === 'failed') logger.error({ err: end.error }, 'the device failed');
      process.exit(end.reason === 'failed' ? 1 : 0);
    },
  }, { logger, wakeLatency: new WakeLatency(), ...(busyPollMs === undefined ? {} : { busyPollMs }) });
  const session = new FuseSession(new NullFileSystem(), { logger, onNegotiated: () => process.stdout.write('ready\n') }, device);
  mountFuse(fd, mountpoint, parseMountOptions('allow_other,fsname=null,subtype=sdfs-null'));
  const entry = findMount(mountpoint);
  if (entry !== undefined) setReadAhead(entry.minor, READ_AHEAD_KIB);
  device.start();
  // Another process does it: umount waits for what this one serves.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => spawn('umount', ['-l', mountpoint], { stdio: 'inherit' }));
}

main(process.argv[2], process.argv[3] === undefined ? undefined : Number(process.argv[3]));
