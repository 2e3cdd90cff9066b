// `sdfs kv serve` in a process of its own, which can be ended and killed.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';

export interface Serving {
  readonly port: number;
  readonly child: ChildProcess;
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | string | null>;
}

/** Resolves when clients can connect to `store`. `main` is the built command, `runDirectory` its own. */
export async function serveStore(main: string, { store, runDirectory, words = [] }: { store: string; runDirectory: string; words?: readonly string[] }): Promise<Serving> {
  const env = { ...process.env, SDFS_RUN_DIR: runDirectory, SDFS_JOURNAL_DIR: runDirectory };
  const child = spawn(process.execPath, [main, 'kv', 'serve', '--store', store, '--port', '0', ...words], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  const ended = new Promise<number | string | null>((resolve) => { child.on('exit', (code, signal) => resolve(code ?? signal)); });
  child.stderr.on('data', (text: Buffer) => { said += String(text); });
  const port = await new Promise<number>((resolve, reject) => {
    child.stdout.on('data', (text: Buffer) => {
      said += String(text);
      const found = /serving .*:(\d+)\n/.exec(said);
      if (found !== null) resolve(Number(found[1]));
    });
    void ended.then((code) => reject(new Error(`it ended with ${code}: ${said}`)));
  });
  return { port, child, ended };
}

/** Ends it as its user would. */
export async function endServing({ child, ended }: Serving): Promise<void> {
  child.kill('SIGTERM');
  const code = await ended;
  if (code !== 0) throw new Error(`it ended with ${code}`);
}
