// The conformance suite on a store of the built package, opened in this process.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type * as api from '../../../src/store/api.ts';
import { describeStore } from '../conformance.ts';

const { openStore } = (await import(pathToFileURL(resolve(import.meta.dirname, '../../../dist/store/api.js')).href)) as typeof api;

describeStore('opened in this process', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sdfs-conformance-'));
  process.env['SDFS_RUN_DIR'] = join(directory, 'run');
  const path = join(directory, 'store');
  let store = await openStore({ path, shards: 3, copies: 2 });
  return {
    store,
    async reopen() {
      await store.close();
      store = await openStore({ path });
      return store;
    },
    async close() {
      await store.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}, { second: 'one process opens it; the others connect to it', crash: 'it is coordinated by the process of the tests: see open-store.test.ts' });
