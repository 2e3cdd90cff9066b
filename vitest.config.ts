// How the tests run: units side by side, and mounts with time limits that a slow machine can keep.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 3,
    projects: [
      {
        extends: true,
        test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: ['test/mount/**', 'test/model/**', 'test/posix/**', 'test/store/real/**'], testTimeout: 30_000, hookTimeout: 30_000 },
      },
      {
        extends: true,
        test: {
          name: 'mount',
          include: ['test/mount/**/*.test.ts', 'test/model/**/*.test.ts', 'test/posix/**/*.test.ts', 'test/store/real/**/*.test.ts'],
          globalSetup: ['test/support/build.ts'],
          testTimeout: 60_000,
          hookTimeout: 90_000,
        },
      },
    ],
  },
});
