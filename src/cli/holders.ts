// Which processes keep a mount busy, read from /proc by readlink alone: nothing here touches the mount.
import { readFile, readdir, readlink } from 'node:fs/promises';
import { LIMITS } from '../base/limits.ts';

export interface Holder {
  readonly pid: number;
  readonly command: string;
  /** "working directory", "root", "program", "open file", "mapped file", with the path. */
  readonly use: string;
  readonly path: string;
}

const LINKS = [['cwd', 'working directory'], ['root', 'root directory'], ['exe', 'program']] as const;

/** One entry per process, found within a bound: with very many processes some may be missing. */
export async function findHolders(mountpoint: string): Promise<Holder[]> {
  const holders: Holder[] = [];
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => pid !== process.pid);
  const search = (async () => {
    for (const pid of pids) {
      const holder = await examine(pid, mountpoint).catch(() => undefined); // it has ended, or is another user's
      if (holder !== undefined) holders.push(holder);
    }
  })();
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([search, new Promise((resolve) => {
    timer = setTimeout(resolve, LIMITS.holderSearchMs);
  })]);
  clearTimeout(timer);
  return holders;
}

async function examine(pid: number, mountpoint: string): Promise<Holder | undefined> {
  const inside = (path: string): boolean => path === mountpoint || path.startsWith(`${mountpoint}/`);
  const found = async (use: string, path: string): Promise<Holder> => ({ pid, command: await commandOf(pid), use, path });
  for (const [link, use] of LINKS) {
    const path = await readlink(`/proc/${pid}/${link}`).catch(() => '');
    if (inside(path)) return found(use, path);
  }
  for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
    const path = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
    if (inside(path)) return found('open file', path);
  }
  for (const line of (await readFile(`/proc/${pid}/maps`, 'utf8').catch(() => '')).split('\n')) {
    const at = line.indexOf('/');
    if (at > 0 && inside(line.slice(at))) return found('mapped file', line.slice(at));
  }
  return undefined;
}

async function commandOf(pid: number): Promise<string> {
  return (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '?')).trim();
}
