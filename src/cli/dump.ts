// sdfs dump: writes the metadata of a volume as lines of JSON, mounted or not.
import { once } from 'node:events';
import { closeSync, createWriteStream, fsyncSync, openSync, renameSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import { verifyDump } from '../dump/dump-reader.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { withDriver } from './rescue.ts';
import type { Ask } from './rescue.ts';
import { warn } from './terminal.ts';

interface DumpOptions {
  readonly output: string;
  readonly forceDegraded?: boolean;
}

export function registerDump(program: Command): void {
  program
    .command('dump')
    .summary('write a backup of the metadata')
    .description('Write all metadata (names, attributes, and where the bytes of files lie, not the bytes themselves) as lines of JSON, as of one moment, while the volume is mounted or not. "sdfs load" makes it the metadata of the volume again. Keep it outside of the volume.')
    .argument('[target]', 'the mountpoint or the volume directory (default: the one that is mounted)')
    .option('-o, --output <file>', 'where to; compressed when it ends in .gz, and read back before it takes the place of what is there; "-" is stdout', '-')
    .option('--force-degraded', 'of a volume that is not mounted: disks that are missing are gone for good')
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (target: string | undefined, { output, forceDegraded }: DumpOptions, command: Command) => {
      const level = command.optsWithGlobals<{ logLevel: string }>().logLevel;
      await withDriver(target, { purpose: 'sdfs dump', level, forceDegraded: forceDegraded ?? false }, (ask) => (output === '-' ? toStdout(ask) : toFile(ask, resolve(output))));
    });
}

async function* portions(ask: Ask): AsyncGenerator<string> {
  const { ticket } = await ask({ ask: 'dump' });
  if (ticket === undefined) throw new UserError('the driver is of another version than this command', EXIT.unsupported);
  for (;;) {
    const { text, end } = await ask({ ask: 'dumpText', ticket });
    if (text !== undefined && text !== '') yield text;
    if (end === true) return;
  }
}

async function toStdout(ask: Ask): Promise<void> {
  for await (const text of portions(ask)) if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}

async function toFile(ask: Ask, file: string): Promise<void> {
  const unfinished = `${file}.new`;
  try {
    const stream = createWriteStream(unfinished, { mode: 0o600 });
    if (file.endsWith('.gz')) await pipeline(portions(ask), createGzip(), stream);
    else await pipeline(portions(ask), stream);
    const { trailer } = await verifyDump(unfinished);
    const fd = openSync(unfinished, 'r');
    fsyncSync(fd);
    closeSync(fd);
    renameSync(unfinished, file);
    warn(`${trailer.rows} rows written to ${file}, and verified`);
  } catch (error) {
    rmSync(unfinished, { force: true });
    throw error;
  }
}
