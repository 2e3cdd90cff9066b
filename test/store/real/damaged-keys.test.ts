// A key of a real store whose row cannot be read: told by the commands, and put right by fsck.
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { EXIT } from '../../../src/base/errors.ts';
import { PROJECT, runProgram } from '../../cli/command.ts';
import { BUILT_API, openReal, otherProcess, storeDirectory } from '../../support/real-store.ts';

const ENGINE = `${dirname(dirname(BUILT_API))}/metadata/lmdb/engine.js`;

test('a key that cannot be read is named by ls and export, which have all others, and set aside by fsck --repair', { timeout: 120_000 }, async () => {
  const directory = storeDirectory();
  const path = join(directory, 'store');
  const { ended } = await otherProcess({ path, shards: 2, copies: 2 }, `
const { LmdbEngine } = await import(${JSON.stringify(ENGINE)});
const { transact } = LmdbEngine.prototype;
let engine;
LmdbEngine.prototype.transact = function (...words) { engine = this; return transact.apply(this, words); };
const store = await openStore(options);
for (const name of ['a', 'bad', 'c']) await store.set(name, name);
engine.transact(null, (tx) => tx.put(Buffer.from('\\xa0bad', 'latin1'), Buffer.from('no row')));
await store.close();
say('ready');
`);
  expect(await ended).toBe(0);
  const run = (...words: string[]) => runProgram(process.execPath, [join(PROJECT, 'dist/cli/main.js'), ...words], { ...process.env, NO_COLOR: '1' });
  const naming = expect.stringMatching(/sdfs: the row of key "bad" cannot be read .* "sdfs fsck --repair"/);
  expect(await run('kv', 'ls', '--store', path)).toMatchObject({ code: EXIT.damaged, stdout: 'a\nc\n', stderr: naming });
  expect(await run('kv', 'export', '--store', path)).toMatchObject({ code: EXIT.damaged, stdout: '{"key":"a","value":"a"}\n{"key":"c","value":"c"}\n', stderr: naming });
  expect(await run('kv', 'get', 'bad', '--store', path)).toMatchObject({ code: EXIT.damaged });
  expect(await run('kv', 'get', 'a', '--store', path)).toMatchObject({ code: EXIT.ok, stdout: 'a' });
  expect(await run('fsck', path, '--repair')).toMatchObject({ code: EXIT.repaired });
  const store = await openReal({ path });
  expect((await store.getMany(['a', 'bad', 'c'])).map((found) => found?.toString())).toEqual(['a', undefined, 'c']);
  await store.set('bad', 'good');
});
