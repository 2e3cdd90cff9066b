// Finds the store that a person means, and opens it for the time of a command: by its socket where a process has it open.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { RuntimeDirectory } from '../control/running-mounts.ts';
import type { RegisteredMount } from '../control/running-mounts.ts';
import { VOLUME_FILE, readVolume } from '../keeper/volume.ts';
import { StoreError } from '../keys/errors.ts';
import type { StoreErrorCode } from '../keys/errors.ts';
import { connectStore } from '../store/connect-store.ts';
import { openStore } from '../store/open-store.ts';
import type { Store } from '../store/store.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { OutputClosedError } from './kv-text.ts';
import { findMounts, locateMount, resolveVolume } from './locate.ts';

export interface StoreChoice {
  readonly store?: string;
  readonly mount?: string;
}

const DEFAULT_MOUNT = '/mnt/sdfs';
/** How often it is tried again to reach a store that another process is opening or closing just now. */
const RETRY_PAUSE_MS = 100;

/** A subcommand of `sdfs kv` on a store that is there. */
export function storeCommand(kv: Command, name: string, summary: string): Command {
  return kv.command(name).summary(summary)
    .option('--store <dir>', 'a store of its own, made by "sdfs kv init"; where another process has it open, that one is asked')
    .option('--mount <path>', `the keys of the volume that is mounted there (default: ${DEFAULT_MOUNT}, or the one that is mounted)`)
    .addHelpText('after', EXIT_CODES_HELP);
}

/** Closes it in the end, whatever happens. Errors of the store become those that a person is told. */
export async function withStore(choice: StoreChoice, command: Command, work: (store: Store) => Promise<void>): Promise<void> {
  try {
    await using store = await open(choice, command.optsWithGlobals<{ logLevel: string }>().logLevel);
    await work(store);
  } catch (error) {
    if (!(error instanceof OutputClosedError)) throw asUserError(error);
  }
}

async function open({ store, mount }: StoreChoice, logLevel: string): Promise<Store> {
  if (store !== undefined && mount !== undefined) throw new UserError('--store and --mount: give one of the two', EXIT.usage);
  if (store !== undefined) return openDirectory(resolveVolume(store), logLevel);
  const found = mount === undefined && findMounts(DEFAULT_MOUNT).length > 0 ? locateMount(DEFAULT_MOUNT) : locateMount(mount);
  return connectMount(found);
}

/** A driver that is being started again is waited for. */
async function connectMount({ directory, mountpoint }: RegisteredMount): Promise<Store> {
  const socket = join(directory, 'keys.sock');
  for (const deadline = performance.now() + LIMITS.controlCallMs; ;) {
    const connected = await connectStore({ socket }).catch((error: unknown) => notThere(error));
    if (connected !== undefined) return connected;
    if (performance.now() > deadline) throw new UserError(`the mount at ${mountpoint} serves no keys: it is mounted read-only, or its driver is of an older sdfs (then: sdfs upgrade ${mountpoint}), or cannot be started (see: sdfs status ${mountpoint})`, EXIT.unsupported);
    await pause(RETRY_PAUSE_MS);
  }
}

/** A typing error makes no store: it has to be there. */
async function openDirectory(directory: string, logLevel: string): Promise<Store> {
  if (!existsSync(join(directory, VOLUME_FILE))) throw new UserError(`there is no store at ${directory}: make one with: sdfs kv init ${directory}`, EXIT.notFound);
  const socket = new RuntimeDirectory(readVolume(directory).volume).keySocket;
  for (const deadline = performance.now() + LIMITS.controlCallMs; ;) {
    const connected = existsSync(socket) ? await connectStore({ socket }).catch((error: unknown) => notThere(error)) : undefined;
    if (connected !== undefined) return connected;
    try {
      return await openStore({ path: directory, create: false, logLevel });
    } catch (error) {
      // Somebody opened it meanwhile, or is closing it.
      if (!(error instanceof StoreError && error.code === 'BUSY') || performance.now() > deadline) throw error;
      await pause(RETRY_PAUSE_MS);
    }
  }
}

/** Nobody listens: a process that was killed left the socket. */
function notThere(error: unknown): undefined {
  if (error instanceof StoreError && (error.code === 'CLOSED' || error.code === 'UNAVAILABLE')) return undefined;
  throw error;
}

const EXITS: Readonly<Record<StoreErrorCode, ExitCode>> = {
  CONFLICT: EXIT.busy, INVALID: EXIT.usage, TOO_LARGE: EXIT.usage, CHANGED: EXIT.busy, DAMAGED: EXIT.damaged, FULL: EXIT.space, UNAVAILABLE: EXIT.incomplete,
  BUSY: EXIT.busy, TIMEOUT: EXIT.busy, CLOSED: EXIT.failure, FOREIGN: EXIT.foreign, DENIED: EXIT.denied,
};

export function asUserError(error: unknown): unknown {
  if (!(error instanceof StoreError)) return error;
  return new UserError(error.message, EXITS[error.code], { cause: error });
}
