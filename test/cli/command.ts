// Builds the command to a place of its own and runs it.
import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

export const PROJECT = resolve(fileURLToPath(import.meta.url), '../../..');

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class BuiltCommand {
  readonly main: string;

  /** Not to dist/: other tests build that, and run it meanwhile. `name` keeps test files that run side by side apart. */
  constructor(name: string) {
    const directory = join(PROJECT, 'node_modules/.cache', `sdfs-test-${name}`);
    this.main = join(directory, 'cli/main.js');
    try {
      execFileSync(join(PROJECT, 'node_modules/.bin/tsc'), ['-p', 'tsconfig.build.json', '--outDir', directory], { cwd: PROJECT, stdio: 'pipe' });
    } catch (error) {
      // Types are checked elsewhere; what counts is that there is a program.
      if (!existsSync(this.main)) throw error;
    }
  }

  run(runDirectory: string, words: readonly string[]): Promise<Outcome> {
    return runProgram(process.execPath, [this.main, ...words], { ...process.env, SDFS_RUN_DIR: runDirectory, SDFS_JOURNAL_DIR: runDirectory, NO_COLOR: '1' });
  }
}

/** Any program, within a bound; it must not touch a mount from the test's own process. */
export function runProgram(file: string, words: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Outcome> {
  return new Promise((resolvePromise) => {
    execFile(file, [...words], { env, timeout: 20_000, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      resolvePromise({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, stdout, stderr });
    });
  });
}

/** It failed as documented: one line that says what, and nothing on stdout. */
export function expectFailure(outcome: Outcome, code: number, message: RegExp): void {
  expect(outcome.stderr).toMatch(message);
  expect(outcome.stderr.trim().split('\n')).toHaveLength(1);
  expect(outcome).toMatchObject({ code, stdout: '' });
}
