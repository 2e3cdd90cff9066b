// The basic mount suite on every driver edge: what an edge cannot carry is declared here, with the reason.
import type { TestContext } from 'vitest';
import { DRIVER_KINDS } from '../../src/control/api.ts';
import type { DriverKind } from '../../src/control/api.ts';
import { loadPackage } from '../../src/fuse-native/package.ts';
import { describeOnMount } from './mount.ts';
import type { TestMount, TestMountOptions } from './mount.ts';

export type Capability = 'names of any bytes' | 'flags of rename' | 'files without a name' | 'nanoseconds' | 'one time alone' | 'holes that are found' | 'fallocate';

/** The same, for users, is the third column in docs/SEMANTICS.md. */
const LACKS: Record<DriverKind, Partial<Record<Capability, string>>> = {
  direct: {},
  'fuse-native': {
    'names of any bytes': 'the package reads paths as UTF-8',
    'flags of rename': 'libfuse 2 knows no RENAME2',
    'files without a name': 'libfuse 2 knows no TMPFILE',
    nanoseconds: 'the package counts times in unsigned milliseconds',
    'one time alone': 'libfuse 2 calls utimens only when both times are set, as the package has it',
    'holes that are found': 'libfuse 2 knows no LSEEK',
    fallocate: 'the package has no such operation',
  },
};

/** First in a test: leaves it out, with the reason, where the edge lacks the capability. */
export type Needs = (context: Pick<TestContext, 'skip'>, capability: Capability) => void;

function needsOn(driver: DriverKind): Needs {
  return (context, capability) => {
    const reason = LACKS[driver][capability];
    context.skip(reason !== undefined, `no ${capability} by ${driver}: ${reason}`);
  };
}

export function reasonWithout(driver: DriverKind): string | undefined {
  if (driver === 'direct') return undefined;
  try {
    loadPackage();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** describeOnMount, once for each of `edges` (default: all). */
export function describeOnEdges(name: string, options: TestMountOptions & { readonly faults?: boolean; readonly edges?: readonly DriverKind[] }, tests: (mount: () => TestMount, needs: Needs) => void): void {
  for (const driver of options.edges ?? DRIVER_KINDS) {
    describeOnMount(driver === 'direct' ? name : `${name}, by ${driver}`, { ...options, driver, missing: reasonWithout(driver) }, (mount) => tests(mount, needsOn(driver)));
  }
}
