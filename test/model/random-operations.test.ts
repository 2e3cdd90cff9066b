// Random operations from a printed seed, on a mount and on the reference, compared after every step and by two walks.
import { mkdir } from 'node:fs/promises';
import { expect, it, onTestFinished } from 'vitest';
import { describeOnMount } from '../support/mount.ts';
import { Calls } from './calls.ts';
import { Operations, Random } from './operations.ts';
import type { Step } from './operations.ts';
import { ReferenceFileSystem } from './reference-file-system.ts';
import { describeModel, walkByCalls, walkByPrograms } from './walks.ts';

const STEPS = Number(process.env.SDFS_MODEL_STEPS ?? 1200);
const SEED = Number(process.env.SDFS_MODEL_SEED ?? Date.now() % 1_000_000);
const STEPS_PER_WALK = 40;
const STEPS_PER_LONG_WALK = 400;

/** What came of one side: its value, or its errno. */
async function outcome(act: () => unknown): Promise<string> {
  try {
    const value = await act();
    return value === undefined ? 'done' : `value ${String(value)}`;
  } catch (error) {
    return `error ${(error as NodeJS.ErrnoException).code ?? String(error)}`;
  }
}

/** The disk goes first: a kept file must be looked up in the model as it was when the disk opened it. */
async function bothSides(step: Step): Promise<{ onDisk: string; onModel: string }> {
  const onDisk = await outcome(step.onDisk);
  return { onDisk, onModel: await outcome(step.onModel) };
}

describeOnMount('random operations', {}, (mount) => {
  it(`do what the reference does (SDFS_MODEL_SEED=${SEED} SDFS_MODEL_STEPS=${STEPS})`, { timeout: 120_000 + STEPS * 60 }, async () => {
    const root = mount().path('tree');
    await mkdir(root, { mode: 0o755 });
    const model = new ReferenceFileSystem();
    const calls = new Calls();
    const operations = new Operations(model, root, new Random(SEED), calls);
    onTestFinished(async () => {
      await operations.end();
      await calls.end();
    });
    const history: string[] = [];
    for (let count = 1; count <= STEPS; count++) {
      const step = operations.next();
      history.push(`${count}: ${step.text}`);
      const { onDisk, onModel } = await bothSides(step);
      if (onDisk !== onModel) expect({ steps: history.slice(-15), outcome: onDisk.slice(0, 200) }).toEqual({ steps: history.slice(-15), outcome: onModel.slice(0, 200) });
      if (onDisk !== onModel) throw new Error(`outcomes of ${onDisk.length} and ${onModel.length} characters differ behind the first 200`);
      if (count % STEPS_PER_WALK === 0) expect(await walkByCalls(root), history.slice(-STEPS_PER_WALK).join('\n')).toEqual(describeModel(model));
      if (count % STEPS_PER_LONG_WALK === 0) expect(await walkByPrograms(root), history.slice(-STEPS_PER_WALK).join('\n')).toEqual(describeModel(model));
    }
    await operations.end();
    await mount().umount();
    await mount().mount();
    expect(await walkByCalls(root)).toEqual(describeModel(model));
    expect(await walkByPrograms(root)).toEqual(describeModel(model));
  });
});
