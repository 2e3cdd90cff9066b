// Random operations on the store over key spaces in memory, which checks the model of the test as well.
import { modelStore } from '../support/model-store.ts';
import { testRandomOperations } from './random-operations.ts';

testRandomOperations('the store over key spaces in memory', async () => {
  const { store } = modelStore();
  return { store, faults: {}, stepsPerFault: 1, close: () => store.close() };
});
