// A store is made, opened, refused, killed, opened again, and gets and loses shards while it is used.
import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openReal, otherProcess, shardProcesses, storeDirectory } from '../../support/real-store.ts';

const coded = (code: string) => expect.objectContaining({ name: 'StoreError', code });

test('a store that was closed has everything when it is opened again, and leaves no process', async () => {
  const path = join(storeDirectory(), 'store');
  const store = await openReal({ path, shards: 3, copies: 2 });
  const version = await store.set('a', 'one');
  await store.set('large', Buffer.alloc(3_000_000, 7));
  expect(shardProcesses(path).length).toBe(3);
  await store.close();
  expect(shardProcesses(path).length).toBe(0);
  await expect(store.get('a')).rejects.toThrow(coded('CLOSED'));
  const again = await openReal({ path });
  expect(await again.getEntry('a')).toMatchObject({ value: Buffer.from('one'), version });
  expect((await again.get('large'))?.equals(Buffer.alloc(3_000_000, 7))).toBe(true);
  expect((await again.stats()).shards.length).toBe(3);
});

test('a second opener is refused, and told who has it', async () => {
  const path = join(storeDirectory(), 'store');
  const store = await openReal({ path, shards: 1 });
  await expect(openReal({ path })).rejects.toThrow(coded('BUSY'));
  await expect(openReal({ path })).rejects.toThrow(String(process.pid));
  await expect(otherProcess({ path }, 'await openStore(options).catch((error) => { console.error(error.code); process.exit(7); }); say("ready");')).rejects.toThrow(/ended with 7 .*BUSY/s);
  expect(await store.set('still', 'works')).toBeGreaterThan(0);
});

test('what a killed opener had acknowledged is there for the next one, though its shards were killed too', async () => {
  const path = join(storeDirectory(), 'store');
  for (let round = 0; round < 3; round++) {
    const { child, said, ended } = await otherProcess({ path, shards: 2, copies: 2 }, `
      const store = await openStore(options);
      say('ready');
      for (let at = 0; ; at++) {
        const name = 'r${round}-' + at;
        if (at % 7 === 3) await store.set(name, Buffer.alloc(50_000, at));
        else await store.batch([{ type: 'set', key: name, value: 'v' + at }, { type: 'set', key: name + '-twin', value: 'v' + at }]);
        say(name);
      }`);
    while (said.length < 300) await new Promise((resolve) => { setTimeout(resolve, 20); });
    const shards = shardProcesses(path);
    expect(shards.length).toBe(2);
    if (round > 0) for (const pid of shards) process.kill(pid, 'SIGKILL');
    child.kill('SIGKILL');
    await ended;
    const store = await openReal({ path });
    for (const name of said.filter((line) => line.startsWith(`r${round}-`))) {
      const at = Number(name.split('-')[1]);
      if (at % 7 === 3) expect((await store.get(name))?.equals(Buffer.alloc(50_000, at))).toBe(true);
      else expect([String(await store.get(name)), String(await store.get(`${name}-twin`))]).toEqual([`v${at}`, `v${at}`]);
    }
    await store.close();
  }
});

test('a shard that is killed is a pause at most, and its values are read from the others meanwhile', async () => {
  const path = join(storeDirectory(), 'store');
  const store = await openReal({ path, shards: 3, copies: 2 });
  const value = (at: number) => Buffer.alloc(20_000, at);
  for (let at = 0; at < 60; at++) {
    if (at % 15 === 5) process.kill(shardProcesses(path)[0]!, 'SIGKILL');
    await store.set(`key-${at}`, value(at), { sync: at % 10 === 0 });
    expect((await store.get(`key-${Math.floor(at / 2)}`))?.equals(value(Math.floor(at / 2)))).toBe(true);
  }
});

test('shards on disks of their own are found again by those disks, also when the first is lost', async () => {
  const directory = storeDirectory();
  const disks = [0, 1, 2].map((index) => join(directory, `disk-${index}`));
  for (const disk of disks) mkdirSync(disk);
  const store = await openReal({ disks, copies: 2 });
  await store.set('a', Buffer.alloc(100_000, 1), { sync: true });
  await store.set('b', 'small', { sync: true });
  await store.close();
  await expect(openReal({ disks, copies: 3 })).rejects.toThrow(coded('INVALID'));
  rmSync(disks[0]!, { recursive: true });
  mkdirSync(disks[0]!);
  const again = await openReal({ disks });
  expect(String(await again.get('b'))).toBe('small');
  expect((await again.get('a'))?.equals(Buffer.alloc(100_000, 1))).toBe(true);
});

test('what is no store, or not wanted, is refused without touching it', async () => {
  const directory = storeDirectory();
  const foreign = join(directory, 'foreign');
  mkdirSync(foreign);
  writeFileSync(join(foreign, 'mine'), 'x');
  await expect(openReal({ path: foreign })).rejects.toThrow(coded('FOREIGN'));
  expect(readdirSync(foreign)).toEqual(['mine']);
  await expect(openReal({ path: join(directory, 'none'), create: false })).rejects.toThrow(coded('FOREIGN'));
  await expect(openReal({})).rejects.toThrow(coded('INVALID'));
  await expect(openReal({ path: join(directory, 'x'), shards: 0 })).rejects.toThrow(coded('INVALID'));
  await expect(openReal({ path: join(directory, 'x'), shards: 2, copies: 3 })).rejects.toThrow(coded('INVALID'));
  await expect(openReal({ disks: [join(directory, 'missing')] })).rejects.toThrow(coded('INVALID'));
  expect(readdirSync(directory).filter((name) => name !== 'run')).toEqual(['foreign']);
});

test('a shard is added, filled with its share, another drained and removed, while values are written and read', async () => {
  const directory = storeDirectory();
  const store = await openReal({ path: join(directory, 'store'), shards: 2, copies: 2 });
  const value = (at: number) => Buffer.alloc(30_000, at);
  for (let at = 0; at < 100; at++) await store.set(`key-${at}`, value(at));
  let written = 100;
  let isOver = false;
  const writing = (async () => {
    for (; !isOver; written++) {
      await store.set(`key-${written}`, value(written));
      const at = Math.floor(written / 3);
      expect((await store.get(`key-${at}`))?.equals(value(at))).toBe(true);
      await new Promise((resolve) => { setTimeout(resolve, 5); });
    }
  })();
  const blocksOf = async (shard: number) => (await store.stats()).shards.find((each) => each.shard === shard)?.blocks;
  const until = async (what: () => Promise<boolean>) => { while (!(await what())) await new Promise((resolve) => { setTimeout(resolve, 100); }); };
  const disk = join(directory, 'disk');
  mkdirSync(disk);
  expect(await store.addShard(disk)).toBe(2);
  expect(await store.addShard()).toBe(3);
  await until(async () => (await blocksOf(2))! > 20 && (await blocksOf(3))! > 20);
  await expect(store.removeShard(0)).rejects.toThrow(coded('BUSY'));
  await store.drainShard(0);
  await until(async () => (await blocksOf(0)) === 0);
  await until(() => store.removeShard(0).then(() => true, () => false));
  isOver = true;
  await writing;
  expect((await store.stats()).shards.map(({ shard }) => shard)).toEqual([1, 2, 3]);
  for (let at = 0; at < written; at++) expect((await store.get(`key-${at}`))?.equals(value(at))).toBe(true);
  await store.close();
  const again = await openReal({ path: join(directory, 'store') });
  for (let at = 0; at < written; at++) expect((await again.get(`key-${at}`))?.equals(value(at))).toBe(true);
  await expect(again.addShard(join(directory, 'nowhere'))).rejects.toThrow(coded('INVALID'));
});

test('a shard can be added after one was removed, whose directory stays', async () => {
  const path = join(storeDirectory(), 'store');
  const store = await openReal({ path, shards: 2, copies: 2 });
  for (let round = 0; round < 2; round++) await store.removeShard(await store.addShard(), { force: true });
  expect([await store.addShard(), readdirSync(join(path, 'disks'))]).toEqual([2, ['0', '1', '2', '3', '4']]);
});

test('a copy of a store that is open is refused, and the store goes on', async () => {
  const directory = storeDirectory();
  const path = join(directory, 'store');
  const store = await openReal({ path, shards: 1 });
  await store.set('a', 'one', { sync: true });
  cpSync(path, join(directory, 'copy'), { recursive: true });
  await expect(openReal({ path: join(directory, 'copy') })).rejects.toThrow(/is a copy of a volume that is/);
  await expect(openReal({ path: join(directory, 'copy') })).rejects.toThrow(coded('BUSY'));
  await store.set('large', Buffer.alloc(100_000, 3));
  expect((await store.get('large'))?.equals(Buffer.alloc(100_000, 3))).toBe(true);
});
