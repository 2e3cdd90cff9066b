// The log of a process, also where it cannot be written.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createLogger } from '../../src/base/log.ts';
import { compileSources } from '../support/compile.ts';
import { until } from '../support/programs.ts';

let directory: string;
beforeEach(() => { directory = mkdtempSync(join(tmpdir(), 'sdfs-log-')); });
afterEach(() => rmSync(directory, { recursive: true }));

it('has each line, behind those of other processes', async () => {
  const file = join(directory, 'below', 'log');
  createLogger({ role: 'one', file }).info('first');
  await until('the first is written', () => existsSync(file) && readFileSync(file, 'utf8') !== '');
  createLogger({ role: 'two', file }).fatal('second');
  await until('the second is written', () => readFileSync(file, 'utf8').includes('second'));
  const lines = readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as { role: string; msg: string });
  expect(lines.map(({ role, msg }) => [role, msg])).toEqual([['one', 'first'], ['two', 'second']]);
});

it('has the last words of a process that exits', async () => {
  const file = join(directory, 'log');
  const sources = await compileSources();
  try {
    const program = `const { createLogger } = await import(${JSON.stringify(sources.module('base/log.js'))}); const log = createLogger({ role: 'one', file: ${JSON.stringify(file)} }); log.info('first'); log.fatal('last words'); process.exit(0)`;
    execFileSync(process.execPath, ['--input-type=module', '-e', program], { timeout: 20_000 });
  } finally {
    await sources.remove();
  }
  expect(readFileSync(file, 'utf8')).toContain('first');
  expect(readFileSync(file, 'utf8')).toContain('last words');
});

it('leaves out lines below its level', async () => {
  const file = join(directory, 'log');
  const log = createLogger({ role: 'one', file, level: 'warn' });
  log.info('no');
  log.warn('yes');
  await until('it is written', () => existsSync(file) && readFileSync(file, 'utf8').includes('yes'));
  expect(readFileSync(file, 'utf8')).toContain('yes');
  expect(readFileSync(file, 'utf8')).not.toContain('"no"');
});

it.each(['/dev/full', '/proc/self/none/log'])('holds nobody up when %s cannot be written, and throws nothing', (file) => {
  const log = createLogger({ role: 'one', file });
  for (const level of ['info', 'warn', 'error', 'fatal'] as const) log[level]({ err: new Error('disk gone') }, 'lost');
});
