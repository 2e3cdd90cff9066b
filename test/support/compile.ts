// The sources as JavaScript in a directory of their own, for tests that fork a process of sdfs without a build of dist/.
import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const PROJECT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

export interface CompiledSources {
  /** Path of a compiled module, such as 'worker/main.js'. */
  module(name: string): string;
  remove(): Promise<void>;
}

export async function compileSources(): Promise<CompiledSources> {
  const directory = await mkdtemp(join(tmpdir(), 'sdfs-compiled-'));
  await cp(join(PROJECT, 'package.json'), join(directory, 'package.json'));
  await symlink(join(PROJECT, 'node_modules'), join(directory, 'node_modules'));
  const compiler = join(PROJECT, 'node_modules/typescript/bin/tsc');
  await promisify(execFile)(process.execPath, [compiler, '-p', join(PROJECT, 'tsconfig.build.json'), '--outDir', join(directory, 'dist'), '--sourceMap', 'false'], { cwd: PROJECT });
  return { module: (name) => join(directory, 'dist', name), remove: () => rm(directory, { recursive: true, force: true }) };
}
