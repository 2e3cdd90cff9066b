// A progress bar on stderr for work that takes long, where a person looks on.
import { SingleBar } from 'cli-progress';

export interface Progress {
  /** `done` of the total so far. */
  update(done: number): void;
  stop(): void;
}

const SILENT: Progress = { update: () => {}, stop: () => {} };

/** Silent where stderr is no terminal, or stdout is one that the work writes to. */
export function startProgress(what: string, { total, unit, writesToStdout = false }: { readonly total: number; readonly unit: string; readonly writesToStdout?: boolean }): Progress {
  if (!process.stderr.isTTY || (writesToStdout && process.stdout.isTTY)) return SILENT;
  const bar = new SingleBar({ format: `${what} {bar} {percentage} %  {value}/{total} ${unit}  {eta_formatted} left`, hideCursor: true, clearOnComplete: true, stopOnComplete: false, stream: process.stderr, etaBuffer: 100 });
  bar.start(Math.max(total, 1), 0);
  return { update: (done) => bar.update(Math.min(done, Math.max(total, 1))), stop: () => bar.stop() };
}
