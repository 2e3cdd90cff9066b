// Runs a suite on a real sdfs mount and on the local file system, so that the tests themselves are proven.
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe } from 'vitest';
import { describeOnMount } from '../support/mount.ts';
import type { TestMountOptions } from '../support/mount.ts';
import { mustRun, run } from '../support/programs.ts';
import type { RunOptions, RunResult } from '../support/programs.ts';

/** One of the two places. What it says of directories is there while tests run, not yet when they are collected. */
export interface PlaceUnderTest {
  readonly name: 'sdfs' | 'local';
  readonly isSdfs: boolean;
  /** Root's own, mode 755, empty at the start of the suite; a second one is on another file system. */
  readonly directory: string;
  readonly elsewhere: string;
  path(...parts: string[]): string;
  /** A shell script that must succeed, run in `directory`; resolves with what it wrote. */
  sh(script: string, options?: RunOptions): Promise<string>;
  /** A program in `directory`, whatever its exit code. */
  run(program: string, args: readonly string[], options?: RunOptions): Promise<RunResult>;
}

export interface WhereOptions {
  readonly mount?: TestMountOptions;
  /** Why the local file system cannot run these tests, tried in a directory of its own; undefined where it can. */
  readonly localLacks?: (directory: string) => string | undefined;
}

/** Call it once in a file: it makes one mount. Tests that switch users need root, and so does all of this. */
export function forEachFileSystem(tests: (fs: PlaceUnderTest) => void, options: WhereOptions = {}): void {
  describeOnMount('on sdfs', options.mount ?? {}, (mount) => {
    tests(placeAt('sdfs', { directory: () => mount().path('under-test'), elsewhere: () => join(mount().root, 'elsewhere') }));
  });
  const lacking = reasonNotLocal(options);
  describe.skipIf(lacking !== undefined)(lacking === undefined ? 'on the local file system' : `on the local file system (${lacking})`, () => {
    let root: string;
    beforeAll(() => { root = makeRoot(); });
    afterAll(() => { rmSync(root, { recursive: true, force: true }); });
    tests(placeAt('local', { directory: () => join(root, 'under-test'), elsewhere: () => join('/dev/shm', basename(root)) }));
  });
}

function placeAt(name: 'sdfs' | 'local', at: { directory: () => string; elsewhere: () => string }): PlaceUnderTest {
  beforeAll(() => { for (const directory of [at.directory(), at.elsewhere()]) mkdirSync(directory, { recursive: true, mode: 0o755 }); });
  afterAll(() => { rmSync(at.elsewhere(), { recursive: true, force: true }); });
  return {
    name,
    isSdfs: name === 'sdfs',
    get directory() { return at.directory(); },
    get elsewhere() { return at.elsewhere(); },
    path: (...parts) => join(at.directory(), ...parts),
    sh: (script, runOptions) => mustRun('sh', ['-euc', script], { cwd: at.directory(), ...runOptions }),
    run: (program, args, runOptions) => run(program, args, { cwd: at.directory(), ...runOptions }),
  };
}

function makeRoot(): string {
  const root = mkdtempSync(join(tmpdir(), 'sdfs-posix-'));
  chmodSync(root, 0o755);
  return root;
}

function reasonNotLocal({ localLacks }: WhereOptions): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may become other users';
  if (localLacks === undefined) return undefined;
  const root = makeRoot();
  try {
    return localLacks(root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}
