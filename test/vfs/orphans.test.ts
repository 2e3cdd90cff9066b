// When a removed inode may be freed: late and partial FORGETs of the kernel do not count.
import { expect, it } from 'vitest';
import type { InodeNumber } from '../../src/base/ids.ts';
import { Orphans } from '../../src/vfs/orphans.ts';
import { settle } from '../support/fake-clock.ts';

const ONE = 1001 as InodeNumber;
const TWO = 1002 as InodeNumber;

function kernel() {
  const state = { drainCount: 5, known: new Set<InodeNumber>(), asked: [] as InodeNumber[], broken: false };
  const freed: InodeNumber[] = [];
  const orphans = new Orphans();
  orphans.freeWith((inode) => {
    freed.push(inode);
    orphans.delete(inode);
  });
  orphans.consult({
    drainCount: () => state.drainCount,
    async knows(inode) {
      state.asked.push(inode);
      await settle();
      if (state.broken) throw new Error('the mount is gone');
      return state.known.has(inode);
    },
  });
  return { state, freed, orphans };
}

it('an inode that has names is not freed', () => {
  const { orphans, freed, state } = kernel();
  orphans.forget(ONE, 3);
  orphans.add(ONE);
  orphans.delete(ONE);
  state.drainCount++;
  orphans.forget(ONE, 3);
  expect([freed, state.asked]).toEqual([[], []]);
});

it('an orphan is freed at once by a FORGET that can only be its last', () => {
  const { orphans, freed, state } = kernel();
  orphans.add(ONE);
  state.drainCount++;
  orphans.forget(ONE, 2);
  expect([freed, state.asked]).toEqual([[ONE], []]);
});

it('a FORGET that may have been queued before the removal frees nothing that the kernel still knows', async () => {
  const { orphans, freed, state } = kernel();
  state.known.add(ONE);
  orphans.add(ONE);
  orphans.forget(ONE, 2);
  await settle();
  await settle();
  expect([freed, state.asked]).toEqual([[], [ONE]]);
  state.known.delete(ONE);
  state.drainCount++;
  orphans.forget(ONE, 2);
  expect(freed).toEqual([ONE]);
});

it('a FORGET of one reference may take back a look-up, so the kernel is asked', async () => {
  const { orphans, freed, state } = kernel();
  state.known.add(TWO);
  for (const inode of [ONE, TWO]) orphans.add(inode);
  state.drainCount++;
  for (const inode of [ONE, TWO]) orphans.forget(inode, 1);
  for (let turn = 0; turn < 4; turn++) await settle();
  expect([freed, state.asked]).toEqual([[ONE], [ONE, TWO]]);
});

it('an inode that gets a name while the kernel is asked stays', async () => {
  const { orphans, freed } = kernel();
  orphans.add(ONE);
  orphans.forget(ONE, 1);
  orphans.delete(ONE);
  for (let turn = 0; turn < 4; turn++) await settle();
  expect(freed).toEqual([]);
});

it('where the kernel cannot be asked, and after the end, orphans stay', async () => {
  const { orphans, freed, state } = kernel();
  state.broken = true;
  orphans.add(ONE);
  orphans.add(TWO);
  orphans.forget(ONE, 1);
  for (let turn = 0; turn < 4; turn++) await settle();
  state.broken = false;
  orphans.askAboutAll();
  orphans.end();
  for (let turn = 0; turn < 4; turn++) await settle();
  expect(freed).toEqual([]);
});

it('those of a former driver are asked about', async () => {
  const { orphans, freed, state } = kernel();
  state.known.add(TWO);
  for (const inode of [ONE, TWO]) orphans.add(inode);
  orphans.askAboutAll();
  for (let turn = 0; turn < 4; turn++) await settle();
  expect([freed, orphans.has(TWO)]).toEqual([[ONE], true]);
});
