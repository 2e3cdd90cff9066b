// sdfs kv serve: serves a store to clients of the Redis protocol, until it is told to end.
import { existsSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import { VOLUME_FILE } from '../keeper/volume.ts';
import { describePlace } from '../backend/key-server.ts';
import { serveStore } from '../store/serve-store.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { asUserError } from './kv-open.ts';
import { resolveVolume } from './locate.ts';
import { print } from './terminal.ts';
import { parseCount, parseSize } from './values.ts';

interface ServeOptions {
  readonly store: string;
  readonly host: string;
  readonly port: number;
  readonly passwordFile?: string;
  readonly sync?: boolean;
  readonly clients?: number;
  readonly shards?: number;
  readonly copies?: number;
  readonly cache?: number;
}

/** Not an option: everybody who may list processes sees those. */
const PASSWORD_VARIABLE = 'SDFS_KV_PASSWORD';
const PORT_DEFAULT = 6379;
const PORT_MAX = 65_535;

export function registerKvServe(kv: Command): void {
  kv.command('serve').summary('serve a store to clients of Redis')
    .description(`Open a store and serve its keys by the Redis protocol (RESP2), to redis-cli and the client libraries of all languages, until SIGINT or SIGTERM. Commands on strings, numbers, expiry and SCAN; others are refused. A password is read from --password-file, or from the environment variable ${PASSWORD_VARIABLE}.`)
    .requiredOption('--store <dir>', 'a store, made by "sdfs kv init", or by this command where --copies or --shards says how')
    .option('--host <address>', 'the address to listen on; another than loopback wants a password', '127.0.0.1')
    .option('--port <n>', 'the port to listen on; 0: a free one, which is printed', parsePort, PORT_DEFAULT)
    .option('--password-file <file>', 'its first line is the password that clients have to give (AUTH)')
    .option('--sync', 'answer a write when it survives a power cut; else it does so within a second')
    .option('--cache <size>', 'memory for small values (a sixteenth of it, at most 1G)', parseSize)
    .option('--clients <n>', 'the most connections at a time (10000)', parseCount)
    .option('--copies <n>', 'where there is no store yet, make one that keeps everything on so many shards (default: 2, or 1 with one shard); one that is there must be such', parseCount)
    .option('--shards <n>', 'likewise, with so many shards in its directory (default: 4)', parseCount)
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (options: ServeOptions, command: Command) => {
      const password = passwordOf(options);
      if (password === undefined && !isLoopback(options.host)) throw new UserError(`everybody who reaches ${options.host} could read and write the store: give a password (--password-file), or listen on 127.0.0.1`, EXIT.usage);
      await run(options, { password, logLevel: command.optsWithGlobals<{ logLevel: string }>().logLevel });
    });
}

/** A typing error makes no store: without a word about how it is to be, it has to be there. */
async function run(options: ServeOptions, { password, logLevel }: { password: string | undefined; logLevel: string }): Promise<void> {
  const path = resolveVolume(options.store);
  const { shards, copies } = options;
  const create = shards !== undefined || copies !== undefined;
  if (!create && !existsSync(join(path, VOLUME_FILE))) throw new UserError(`there is no store at ${path}: make one with: sdfs kv init ${path}, or say here how many --copies it is to keep`, EXIT.notFound);
  try {
    const ended = untilSignal();
    await using served = await serveStore({ path, create, shards, copies, sync: options.sync, cacheBytes: options.cache, logLevel }, { place: { host: options.host, port: options.port }, password, clientsMax: options.clients });
    print(`serving ${path} at ${describePlace({ host: options.host, port: served.port })}`);
    await ended;
  } catch (error) {
    throw asUserError(error);
  }
}

/** Listens from the start: a signal that comes while the store is being opened ends it when it is open. */
function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => resolve());
  });
}

function parsePort(text: string): number {
  const port = parseCount(text);
  if (port > PORT_MAX) throw new UserError(`"${text}" is not a port: write a number from 0 to ${PORT_MAX}`, EXIT.usage);
  return port;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** An empty one is a mistake: it would let in everybody who gives none. */
function passwordOf({ passwordFile }: ServeOptions): string | undefined {
  let password: string | undefined;
  if (passwordFile === undefined) password = process.env[PASSWORD_VARIABLE];
  else {
    try {
      [password] = readFileSync(passwordFile, 'utf8').split(/\r?\n/, 1);
    } catch (cause) {
      throw new UserError(`cannot read the password: ${(cause as Error).message}`, EXIT.usage, { cause });
    }
  }
  if (password === '') throw new UserError(`the password in ${passwordFile ?? PASSWORD_VARIABLE} is empty`, EXIT.usage);
  return password;
}
