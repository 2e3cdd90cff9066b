// Taking things down: every step is tried, whatever becomes of the others.
import type { Logger } from '../base/log.ts';

/** What each step does, in words that follow "could not", and the step, which is told whether those before it went well. */
export type Steps = readonly (readonly [what: string, step: (well: boolean) => unknown])[];

/** In order; false when one of them failed. Failures are logged. */
export async function everyStep(steps: Steps, log: Logger): Promise<boolean> {
  let well = true;
  for (const [what, step] of steps) {
    try {
      await step(well);
    } catch (error) {
      well = false;
      log.error({ err: error }, `could not ${what}`);
    }
  }
  return well;
}
