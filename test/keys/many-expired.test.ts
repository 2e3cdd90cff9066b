// Many keys whose time is up, and that are not swept yet: who goes through all keys lets others have their turn.
import { expect, onTestFinished, test, vi } from 'vitest';
import { EmbeddedBackend } from '../../src/backend/embedded-backend.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { KeyRange } from '../../src/keys/key-space.ts';
import { Leases } from '../../src/keys/leases.ts';
import { LocalKeySpace } from '../../src/keys/local-key-space.ts';
import { Versions } from '../../src/keys/versions.ts';
import { Store } from '../../src/store/store.ts';
import { serveKeys } from '../support/key-servers.ts';
import { ModelKeySpace } from '../support/model-key-space.ts';
import { openHarness } from '../support/vfs-harness.ts';

const EXPIRED = 5 * LIMITS.pageRowsMax;
const LIVE = ['a first', 'm between', 'z last'];

/** Three keys that stay, and before each of the last two thousands whose time is up. */
async function opened() {
  const harness = await openHarness();
  onTestFinished(() => harness.end());
  const keys = new LocalKeySpace(harness.context, { versions: new Versions(harness.engine, { leap: false }) });
  const past = Date.now() - 1000;
  for (let at = 0; at < EXPIRED; at += 512) {
    keys.transact((tx) => { for (let name = at; name < at + 512; name++) tx.set(Buffer.from(`${name < EXPIRED / 2 ? 'b' : 'x'}${name}`), Buffer.alloc(1), { expiresMs: past }); });
  }
  keys.transact((tx) => { for (const name of LIVE) tx.set(Buffer.from(name), Buffer.from('v')); });
  // Rows read in each turn of the event loop, the most.
  const read = { most: 0, inTurn: 0 };
  const { range } = harness.engine.reader;
  vi.spyOn(harness.engine.reader, 'range').mockImplementation((...words) => {
    const rows = range(...words);
    if (read.inTurn === 0) setImmediate(() => { read.inTurn = 0; });
    read.most = Math.max(read.most, (read.inTurn += rows.length));
    return rows;
  });
  return { keys, read };
}

test.each([false, true])('a page of keys looks at so many rows and says where to go on (reverse: %s)', async (reverse) => {
  const { keys } = await opened();
  const found: string[] = [];
  let pages = 0;
  for (let range: KeyRange | undefined = { reverse }; range !== undefined; pages++) {
    const page = keys.page(range, 10);
    expect(page.rows.length).toBeLessThanOrEqual(10);
    found.push(...page.rows.map(({ key }) => key.toString()));
    range = page.next;
  }
  expect(found).toEqual(reverse ? LIVE.toReversed() : LIVE);
  expect(pages).toBeGreaterThan(4);
});

test('ranges, SCAN and KEYS find all that is there, a bounded number of rows in a turn', async () => {
  const { keys, read } = await opened();
  const backend = new EmbeddedBackend({ keys, leases: new Leases(new ModelKeySpace()), statistics: () => Promise.reject(new Error('unused')), changeShards: () => Promise.reject(new Error('unused')), close: async () => {} });
  const store = new Store(backend, { sync: false });
  for (const options of [{}, { reverse: true }, { values: false }, { limit: 2 }]) {
    const found: string[] = [];
    for await (const { key } of store.range(options)) found.push(key.toString());
    expect(found).toEqual((options.reverse ? LIVE.toReversed() : LIVE).slice(0, options.limit));
  }
  const { client } = await serveKeys(keys);
  const one = await client();
  expect(await one.show('KEYS', '*')).toEqual(LIVE);
  const scanned: string[] = [];
  for (let cursor = '0'; ;) {
    const [next, names] = (await one.show('SCAN', cursor)) as [string, string[]];
    scanned.push(...names);
    if (next === '0') break;
    cursor = next;
  }
  expect(scanned).toEqual(LIVE);
  // The end of one and the beginning of the next may be in one.
  expect(read.most).toBeLessThanOrEqual(2 * LIMITS.pageRowsMax);
});
