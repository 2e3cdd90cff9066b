// The conformance suite on the store over key spaces in memory.
import { Store } from '../../src/store/store.ts';
import { modelStore } from '../support/model-store.ts';
import { describeStore } from './conformance.ts';

describeStore('over key spaces in memory', async () => {
  const { store, backend } = modelStore();
  return {
    store,
    second: async () => new Store(backend, { sync: false }),
  close: () => store.close(),
  };
}, { statistics: 'it has no shards', reopen: 'nothing is left of what was in memory', crash: 'it has no processes of its own' });
