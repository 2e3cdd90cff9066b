// The package fuse-native, as far as this room uses it, and what to say where it or what it stands on is missing.
import { accessSync, constants } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';
import { EXIT, UserError } from '../base/errors.ts';

/** Ends one operation: 0 or a negated errno (a count, where the operation counts), then its result. */
export type Callback = (status: number, result?: unknown) => void;
/** The package's answer to libfuse: as Callback, then what the operation gives, down to the C struct as u32s. */
export type Signal = (status: number, ...results: unknown[]) => void;
type Handler = (record: Buffer, opcode: number, ...rest: unknown[]) => unknown;

/** An operation as the package's documentation has it: a path or two, numbers, buffers, then a Callback. */
export type PackageOperations = Readonly<Record<string, (...rest: never[]) => void>>;

export interface PackageOptions {
  /** False: libfuse waits for an answer as long as it takes. Otherwise the package answers ETIMEDOUT while the handler still runs. */
  readonly timeout: false;
  readonly allowOther: boolean;
  readonly defaultPermissions: boolean;
  readonly fsname: string;
  readonly subtype: string;
}

/** One mount. The members with `_` are the package's own: corrections.ts replaces some of them, for this version of it. */
export interface PackageMount {
  mount(done: (error: Error | null) => void): void;
  _handlers: (Handler | undefined)[];
  _op_fgetattr(signal: Signal, path: string, handle: number): void;
  _op_getxattr(signal: Signal, path: string, name: string, into: Buffer): void;
  _op_listxattr(signal: Signal, path: string, into: Buffer): void;
  _op_utimens(signal: Signal, path: string, accessedLow: number, accessedHigh: number): void;
}
export type Package = new (mountpoint: string, operations: PackageOperations, options: PackageOptions) => PackageMount;

/** The version whose workings corrections.ts knows. */
const VERSION = '2.2.6';
const HELPER = 'fusermount';
const DEFAULT_DRIVER = 'or mount without "--driver fuse-native"';

/** UserError, with what to install, where it cannot work on this machine. */
export function loadPackage(require: (id: string) => unknown = createRequire(import.meta.url)): Package {
  try {
    const { version } = require('fuse-native/package.json') as { version: string };
    if (version !== VERSION) throw new UserError(`the package fuse-native has version ${version}, and ${VERSION} is wanted: run "npm ci", ${DEFAULT_DRIVER}`, EXIT.unsupported);
    const loaded = require('fuse-native') as Package;
    requireHelper();
    return loaded;
  } catch (error) {
    throw error instanceof UserError ? error : explain(error as NodeJS.ErrnoException);
  }
}

function explain(cause: NodeJS.ErrnoException): UserError {
  const unusable = (what: string): UserError => new UserError(`--driver fuse-native: ${what}, ${DEFAULT_DRIVER}`, EXIT.unsupported, { cause });
  if (cause.message.includes('libfuse.so.2')) return unusable('the library libfuse.so.2 is missing: install it ("apt-get install libfuse2", on newer Ubuntu "libfuse2t64")');
  if (/no native build/i.test(cause.message)) return unusable(`the package has no build for ${process.platform} on ${process.arch}: use a machine of another kind`);
  if (cause.code === 'MODULE_NOT_FOUND' || cause.code === 'ERR_MODULE_NOT_FOUND') return unusable('the package is not installed: run "npm ci --include=optional"');
  return unusable(`the package cannot be loaded: ${cause.message}`);
}

/** libfuse mounts by itself as root, and by this set-user-ID program for all others. */
function requireHelper(): void {
  if (process.geteuid?.() === 0) return;
  const found = (process.env.PATH ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, HELPER), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) throw new UserError(`--driver fuse-native: the program ${HELPER} is missing: install it ("apt-get install fuse3"), ${DEFAULT_DRIVER}`, EXIT.unsupported);
}
