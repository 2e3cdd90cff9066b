// An ordinary user of the tests, in a mount namespace of its own: there /etc/passwd knows the user, /dev/fuse is open to
// all as udev has it, /etc/fuse.conf is the test's, and /run is empty. The machine is left as it is, and nothing outlives the namespace.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { StatusReport } from '../../src/control/api.ts';
import { parseMountTable } from '../../src/kernel/mount-table.ts';
import type { MountEntry } from '../../src/kernel/mount-table.ts';
import { OTHER_USER, USER, reasonNotToMount } from './mount.ts';
import { hasProgram, processesWith, run, until } from './programs.ts';
import type { RunOptions, RunResult } from './programs.ts';

const PROJECT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const WHO = { user: USER, other: OTHER_USER, root: { uid: 0, gid: 0 } } as const;
export type Who = keyof typeof WHO;

export function reasonForNoUser(): string | undefined {
  const missing = ['fusermount3', 'unshare', 'nsenter', 'setpriv'].find((program) => !hasProgram(program));
  return reasonNotToMount() ?? (missing === undefined ? undefined : `there is no ${missing}`);
}

/** $1 the private directory, $2 the checkout, $3 node. It ends, and the namespace with it, when its stdin ends. */
const NAMESPACE = `
set -eu
mount -t tmpfs -o mode=755,dev tmpfs "$1/ns"
cd "$1/ns"
mkdir -m 1777 shm
mount -t tmpfs -o mode=755 tmpfs /run
{ cat /etc/passwd; echo "sdfs-one:x:${USER.uid}:${USER.gid}::/:/bin/sh"; echo "sdfs-two:x:${OTHER_USER.uid}:${OTHER_USER.gid}::/:/bin/sh"; } >passwd
mount --bind passwd /etc/passwd
mknod -m 666 fuse c 10 229
mount --bind fuse /dev/fuse
: >fuse.conf; : >>/etc/fuse.conf
mount --bind fuse.conf /etc/fuse.conf
mkdir project; mount --bind "$2" project
: >node; mount --bind "$3" node
echo ready
exec cat
`;

export class OrdinaryUser {
  /** Private directory that holds all of it; removed in the end. */
  readonly root: string;
  /** The user's own directory, open to the eyes of all. */
  readonly home: string;
  readonly volume: string;
  readonly mountpoint: string;
  readonly env: NodeJS.ProcessEnv;
  readonly #namespace: ChildProcess;

  private constructor(root: string, namespace: ChildProcess) {
    this.root = root;
    this.#namespace = namespace;
    this.home = join(root, 'home');
    this.volume = join(this.home, 'volume');
    this.mountpoint = join(this.home, 'mnt');
    this.env = {
      PATH: process.env.PATH, HOME: this.home, LANG: 'C', SDFS_TEST_MOUNT: root, XDG_RUNTIME_DIR: join(root, 'session'), SDFS_JOURNAL_DIR: join(root, 'ns/shm'),
    };
  }

  static async create(): Promise<OrdinaryUser> {
    const root = mkdtempSync(join(tmpdir(), 'sdfs-user-'));
    chmodSync(root, 0o755);
    mkdirSync(join(root, 'ns'));
    const namespace = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', NAMESPACE, 'sh', root, PROJECT, process.execPath], { stdio: ['pipe', 'pipe', 'inherit'] });
    let ready = false;
    namespace.stdout.once('data', () => {
      ready = true;
    });
    const user = new OrdinaryUser(root, namespace);
    await until('a namespace for the user', () => {
      if (namespace.exitCode !== null) throw new Error('the namespace for the user could not be made');
      return ready;
    });
    for (const directory of [user.home, user.mountpoint, join(root, 'session')]) {
      mkdirSync(directory);
      chownSync(directory, USER.uid, USER.gid);
    }
    chmodSync(join(root, 'session'), 0o700);
    return user;
  }

  /** node and sdfs, as they are found inside. */
  get command(): readonly [string, string] {
    return [join(this.root, 'ns/node'), join(this.root, 'ns/project/dist/cli/main.js')];
  }

  /** Runs a program inside, without supplementary groups; whatever exit code. */
  run(who: Who, program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const { uid, gid } = WHO[who];
    const identity = who === 'root' ? [] : ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--inh-caps=-all'];
    return run('nsenter', [`--mount=/proc/${this.#namespace.pid}/ns/mnt`, ...identity, program, ...args], { env: this.env, ...options });
  }

  /** A shell script in the mount, that must succeed; resolves with what it wrote. */
  async sh(script: string, who: Who = 'user', options: RunOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.run(who, 'sh', ['-euc', `cd ${who === 'user' ? this.mountpoint : '/'}\n${script}`], options);
    if (code !== 0) throw new Error(`exit code ${code} of: ${script}\n${stdout}${stderr}`);
    return stdout;
  }

  sdfs(...words: string[]): Promise<RunResult> {
    return this.sdfsAs('user', this.env, ...words);
  }

  sdfsAs(who: Who, env: NodeJS.ProcessEnv, ...words: string[]): Promise<RunResult> {
    const [node, main] = this.command;
    return this.run(who, node, [main, ...words], { env, timeoutMs: 90_000 });
  }

  async mustSdfs(...words: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.sdfs(...words);
    if (code !== 0) throw new Error(`sdfs ${words.join(' ')}: exit code ${code}: ${stderr}`);
    return stdout;
  }

  async status(): Promise<StatusReport> {
    return JSON.parse(await this.mustSdfs('status', '--json', this.mountpoint)) as StatusReport;
  }

  async pidOf(role: 'keeper' | 'driver' | 'worker'): Promise<number> {
    const pid = (await this.status()).processes.find((entry) => entry.role === role)?.pid;
    if (pid === undefined || pid === null) throw new Error(`there is no ${role}`);
    return pid;
  }

  /** What lies on the mountpoint, inside. */
  entry(): MountEntry | undefined {
    return parseMountTable(readFileSync(`/proc/${this.#namespace.pid}/mountinfo`)).findLast((entry) => entry.mountpoint === this.mountpoint);
  }

  /** The processes of the mount. */
  serving(): number[] {
    return processesWith(`SDFS_TEST_MOUNT=${this.root}`).filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('/dist/');
      } catch {
        return false;
      }
    });
  }

  /** Ends mount and namespace. Rejects with what did not go as it should. */
  async destroy(): Promise<void> {
    const problems: string[] = [];
    if (this.entry() !== undefined || this.serving().length > 0) {
      const { code, stderr } = await this.sdfs('umount', '--force', this.mountpoint);
      if (code !== 0) problems.push(stderr);
    }
    await until('the processes of the mount have ended', () => this.serving().length === 0, 10_000).catch((error: unknown) => problems.push(String(error)));
    for (const pid of processesWith(`SDFS_TEST_MOUNT=${this.root}`)) process.kill(pid, 'SIGKILL');
    const ended = new Promise((resolvePromise) => this.#namespace.once('exit', resolvePromise));
    this.#namespace.stdin?.end();
    await ended;
    for (const directory of [this.root, `/tmp/sdfs-${USER.uid}`]) rmSync(directory, { recursive: true, force: true });
    if (problems.length > 0) throw new Error(`the user's mount did not end well:\n${problems.join('\n')}`);
  }
}
