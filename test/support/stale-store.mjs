// A store that is wrong on purpose, for the test of the chaos run: once in a while it answers with what a key had before.
const { openStore: open, ...rest } = await import(new URL('../../dist/store/api.js', import.meta.url));

export const { StoreError, ConflictError } = rest;

export async function openStore(options) {
  const store = await open(options);
  const before = new Map();
  let reads = 0;
  const getEntry = async (key) => {
    const entry = await store.getEntry(key);
    const older = before.get(key);
    before.set(key, entry);
    return ++reads % 50 === 0 && older !== undefined ? older : entry;
  };
  return new Proxy(store, {
    get(target, name) {
      if (name === 'getEntry') return getEntry;
      const value = target[name];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
