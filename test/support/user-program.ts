// Programs of users of the package: compiled and run in a directory where `sdfs` is installed, as they would have it.
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const PROJECT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

/** Programs that open many stores, on a machine that does much else. */
const RUN_MS = 200_000;

export class UserProject {
  readonly directory = mkdtempSync(join(tmpdir(), 'sdfs-user-'));

  constructor() {
    mkdirSync(join(this.directory, 'node_modules'));
    symlinkSync(PROJECT, join(this.directory, 'node_modules/sdfs'));
    symlinkSync(join(PROJECT, 'node_modules/@types'), join(this.directory, 'node_modules/@types'));
    writeFileSync(join(this.directory, 'package.json'), '{ "type": "module" }');
  }

  copy(file: string): void {
    cpSync(file, join(this.directory, basename(file)));
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.directory, name), text);
  }

  /** All .ts files, with the types that the package has for its users. Rejects with what the compiler found. */
  async compile({ strict }: { strict: boolean }): Promise<void> {
    this.write('tsconfig.json', JSON.stringify({ compilerOptions: { target: 'ES2022', lib: ['ES2023', 'ESNext.Disposable'], module: 'NodeNext', strict, types: ['node'], skipLibCheck: false, noEmitOnError: true } }));
    await promisify(execFile)(process.execPath, [join(PROJECT, 'node_modules/typescript/bin/tsc'), '-p', this.directory]).catch((error: { stdout: string }) => {
      throw new Error(error.stdout);
    });
  }

  /** Standard output. */
  async run(program: string, args: readonly string[] = []): Promise<string> {
    const env = { ...process.env, SDFS_RUN_DIR: join(this.directory, 'run') };
    const { stdout } = await promisify(execFile)(process.execPath, [join(this.directory, program), ...args], { cwd: this.directory, env, timeout: RUN_MS });
    return stdout;
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
