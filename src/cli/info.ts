// sdfs info: where the bytes of one file lie, and how many good copies they have.
import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { DriverFileInfo } from '../control/api.ts';
import { ControlClient } from '../control/client.ts';
import type { RegisteredMount } from '../control/running-mounts.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { listMounts } from './locate.ts';
import { colour, formatBytes, formatTable, print } from './terminal.ts';

/** Run in a process of its own: a stat of a mount that hangs must not hang this one. */
const STAT_SCRIPT = "const s=require('fs').lstatSync(process.argv[1],{bigint:true});process.stdout.write(JSON.stringify({device:String(s.dev),inode:Number(s.ino)}))";

export function registerInfo(program: Command): void {
  program
    .command('info')
    .summary('show where a file lies')
    .description('Show which blocks hold a file, on which disks they are, and how many good copies each has.')
    .argument('<path>', 'a file or directory on a mount')
    .option('--json', 'print it as JSON (its shape: DriverFileInfo in src/ipc/process-messages.ts)')
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (path: string, options: { json?: boolean }) => {
      const { device, inode } = await statElsewhere(resolve(path));
      const mount = mountOfDevice(device);
      if (mount === undefined) throw new UserError(`${path} is not on an sdfs mount: give a path below one`, EXIT.usage);
      const client = new ControlClient(mount.controlSocket);
      const info = await client.info(inode);
      if (options.json) return print(JSON.stringify(info, null, 2));
      print(formatInfo(path, info, (await client.status()).volume.copies));
    });
}

function statElsewhere(path: string): Promise<{ device: bigint; inode: number }> {
  return new Promise((resolvePromise, reject) => {
    execFile(process.execPath, ['-e', STAT_SCRIPT, path], { timeout: LIMITS.controlCallMs, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      if (error === null) {
        const found = JSON.parse(stdout) as { device: string; inode: number };
        return resolvePromise({ device: BigInt(found.device), inode: found.inode });
      }
      if (error.killed) return reject(new UserError(`${path}: no answer within ${LIMITS.controlCallMs} ms; see "sdfs status"`, EXIT.failure, { cause: error }));
      const code = /\b(E[A-Z]+)\b/.exec(stderr)?.[1] ?? 'unknown error';
      const exitCode = code === 'ENOENT' || code === 'ENOTDIR' ? EXIT.notFound : code === 'EACCES' ? EXIT.denied : EXIT.failure;
      reject(new UserError(`cannot look at ${path}: ${code === 'ENOENT' ? 'there is no such file' : code}`, exitCode, { cause: error }));
    });
  });
}

/** FUSE mounts have major 0 and, as minor, the number of their connection; dev_t as in <sys/sysmacros.h>. */
function mountOfDevice(device: bigint): RegisteredMount | undefined {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn);
  return major === 0n ? listMounts().find((mount) => mount.connection !== null && BigInt(mount.connection) === minor) : undefined;
}

export function formatInfo(path: string, info: DriverFileInfo, copies: number): string {
  const head = `${path}: inode ${info.inode}, ${formatBytes(info.size)}, ${info.extents.length}${info.truncated ? '+' : ''} ${info.extents.length === 1 ? 'extent' : 'extents'}, ${copies} ${copies === 1 ? 'copy' : 'copies'} wanted`;
  if (info.extents.length === 0) return head;
  const rows = info.extents.map((extent) => {
    if (extent.block === undefined) return [String(extent.offset), String(extent.bytes), '-', '-', 'in the metadata log'];
    const good = extent.copies.filter((copy) => copy.state === 'good').length;
    const places = extent.copies.map((copy) => (copy.state === 'good' ? String(copy.worker) : `${copy.worker} (${copy.state})`));
    return [String(extent.offset), String(extent.bytes), extent.block, good >= copies ? colour.green(String(good)) : colour.red(String(good)), places.join(', ')];
  });
  const end = info.truncated ? '\n… and more' : '';
  return `${head}\n\n${formatTable(['OFFSET', 'BYTES', 'BLOCK', 'GOOD', 'DISKS'], rows)}${end}`;
}
