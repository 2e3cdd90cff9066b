// The scripts that CI and users begin with: what setup says when it cannot go on, and that scripts/test can fail.
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../support/programs.ts';
import type { RunResult } from '../support/programs.ts';
import { PROJECT } from './source-tree.ts';

let place: string;
beforeEach(async () => {
  place = await mkdtemp(join(tmpdir(), 'sdfs-house-'));
});
afterEach(async () => {
  await rm(place, { recursive: true, force: true });
});

describe('scripts/setup', () => {
  /** Runs a copy of it in an empty checkout, with these programs in the place of Node's. */
  async function setup(programs: Record<string, string>): Promise<RunResult> {
    await mkdir(join(place, 'scripts'));
    await mkdir(join(place, 'bin'));
    await copyFile(join(PROJECT, 'scripts/setup'), join(place, 'scripts/setup'));
    for (const name of ['bash', 'dirname', 'readlink', 'uname', 'sort', 'head', 'sed', 'cat']) await symlink(`/bin/${name}`, join(place, 'bin', name)).catch(() => {});
    for (const name of ['dirname', 'readlink', 'sort', 'head']) await symlink(`/usr/bin/${name}`, join(place, 'bin', name)).catch(() => {});
    for (const [name, script] of Object.entries(programs)) await writeFile(join(place, 'bin', name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return run('/bin/bash', [join(place, 'scripts/setup')], { env: { PATH: join(place, 'bin') } });
  }

  it('says how to get Node when there is none', async () => {
    const { code, stderr } = await setup({});
    expect([code, stderr]).toEqual([9, expect.stringContaining('Node.js is missing. Get version 20.15.0 or later')]);
  });

  it('says how to get a newer Node when it is too old', async () => {
    const { code, stderr } = await setup({ node: 'echo 18.20.4', npm: 'exit 99' });
    expect([code, stderr]).toEqual([9, expect.stringContaining('Node.js 18.20.4 is too old: sdfs needs 20.15.0 or later')]);
  });

  it('says where npm comes from when only Node is there', async () => {
    const { code, stderr } = await setup({ node: 'echo 22.1.0' });
    expect([code, stderr]).toEqual([9, expect.stringContaining('npm is missing')]);
  });
});

describe('the summary of scripts/test', () => {
  const summary = async (report: unknown, ...args: string[]): Promise<{ code: number; last: string | undefined }> => {
    const file = join(place, 'report.json');
    await writeFile(file, typeof report === 'string' ? report : JSON.stringify(report));
    const { code, stdout } = await run(process.execPath, [join(PROJECT, 'scripts/test-summary.mjs'), file, ...args]);
    return { code, last: stdout.trimEnd().split('\n').at(-1) };
  };
  const report = (passed: number, failed: number, files: unknown[] = []): unknown => ({ numPassedTests: passed, numFailedTests: failed, testResults: files });

  it('counts what vitest counted', async () => {
    expect(await summary(report(7, 0), '0')).toEqual({ code: 0, last: '7 passed, 0 failed' });
    expect(await summary(report(7, 2), '1')).toEqual({ code: 1, last: '7 passed, 2 failed' });
  });

  it('fails when a check failed, when a file could not be loaded, and when vitest failed for another reason', async () => {
    expect(await summary(report(7, 0), '0', 'lint')).toEqual({ code: 1, last: '7 passed, 1 failed' });
    expect(await summary(report(7, 0, [{ status: 'failed', name: 'x', assertionResults: [] }]), '1')).toEqual({ code: 1, last: '7 passed, 1 failed' });
    expect(await summary(report(7, 0), '1')).toEqual({ code: 1, last: '7 passed, 1 failed' });
  });

  it('fails when no test was run, and when vitest wrote no report', async () => {
    expect(await summary(report(0, 0), '0')).toEqual({ code: 1, last: '0 passed, 1 failed' });
    expect(await summary('', '134')).toEqual({ code: 1, last: '0 passed, 1 failed' });
  });
});

describe('npm run lint', () => {
  it('fails on code that is wrong', async () => {
    const file = join(place, 'wrong.ts');
    await writeFile(file, 'debugger;\nexport const loose: any = 1;\n');
    const { code, stdout } = await run(join(PROJECT, 'node_modules/.bin/oxlint'), ['--deny-warnings', '--config', join(PROJECT, '.oxlintrc.json'), file]);
    expect(code).toBe(1);
    expect(stdout).toContain('no-debugger');
    expect(stdout).toContain('no-explicit-any');
  });
});
