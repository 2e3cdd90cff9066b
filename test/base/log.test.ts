// The log of a process, also where it cannot be written.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createLogger } from '../../src/base/log.ts';

let directory: string;
beforeEach(() => { directory = mkdtempSync(join(tmpdir(), 'sdfs-log-')); });
afterEach(() => rmSync(directory, { recursive: true }));

it('has each line when the call returns, behind those of other processes', () => {
  const file = join(directory, 'below', 'log');
  createLogger({ role: 'one', file }).info('first');
  createLogger({ role: 'two', file }).fatal('second');
  const lines = readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as { role: string; msg: string });
  expect(lines.map(({ role, msg }) => [role, msg])).toEqual([['one', 'first'], ['two', 'second']]);
});

it('leaves out lines below its level', () => {
  const file = join(directory, 'log');
  const log = createLogger({ role: 'one', file, level: 'warn' });
  log.info('no');
  log.warn('yes');
  expect(readFileSync(file, 'utf8')).toContain('yes');
  expect(readFileSync(file, 'utf8')).not.toContain('"no"');
});

it.each(['/dev/full', '/proc/self/none/log'])('holds nobody up when %s cannot be written, and throws nothing', (file) => {
  const log = createLogger({ role: 'one', file });
  for (const level of ['info', 'warn', 'error', 'fatal'] as const) log[level]({ err: new Error('disk gone') }, 'lost');
});
