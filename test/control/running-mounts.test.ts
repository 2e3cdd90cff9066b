// The register of running mounts does not believe what somebody else may have written.
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import { identifyProcess } from '../../src/control/process-identity.ts';
import type { ProcessIdentity } from '../../src/control/process-identity.ts';
import { RuntimeDirectory, listRunningMounts } from '../../src/control/running-mounts.ts';
import { listUsersMounts } from '../../src/control/users-mounts.ts';

const UID = 12_345;
const self = identifyProcess(process.pid) as ProcessIdentity;
const CONNECTION = 7;

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'sdfs-register-'));
  chmodSync(root, 0o755);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function register(place: string, { keeper = self, children = [] as ProcessIdentity[] } = {}): RuntimeDirectory {
  const directory = new RuntimeDirectory('v', place);
  directory.create(1);
  directory.write({
    version: 1, volume: 'v', name: 'v', volumeDirectory: '/v', mountpoint: '/m', connection: CONNECTION, attached: true, since: '', keeper, children,
  });
  return directory;
}

describe('a register', () => {
  it('is made where nobody else may write, and read there', () => {
    register(join(root, 'run'));
    expect(listRunningMounts([join(root, 'run'), join(root, 'none')])).toMatchObject([{ volume: 'v', mountpoint: '/m' }]);
  });

  it('is refused in a directory that others may write to, and in a symbolic link', () => {
    const shared = join(root, 'shared');
    register(shared);
    chmodSync(shared, 0o777);
    expect(listRunningMounts([shared])).toEqual([]);
    expect(() => register(shared)).toThrow(expect.objectContaining({ exitCode: EXIT.denied }));
    mkdirSync(join(root, 'elsewhere'), { mode: 0o700 });
    symlinkSync('elsewhere', join(root, 'link'));
    expect(() => register(join(root, 'link'))).toThrow(expect.objectContaining({ exitCode: EXIT.denied }));
  });
});

describe.runIf(process.getuid?.() === 0)('the register of another user', () => {
  let server: Server;
  let process1: ChildProcess;
  let users: ProcessIdentity;
  let place: string;
  const ownerOf = (mountpoint: string, connection: number): number | undefined => (mountpoint === '/m' && connection === CONNECTION ? UID : undefined);

  beforeEach(async () => {
    place = join(root, 'run');
    process1 = spawn('sleep', ['60'], { uid: UID, gid: UID, stdio: 'ignore' });
    await new Promise((resolve) => process1.once('spawn', resolve));
    users = identifyProcess(process1.pid as number) as ProcessIdentity;
    const directory = register(place, { keeper: users, children: [users, self] });
    server = createServer();
    await new Promise<void>((resolve) => server.listen(directory.controlSocket, resolve));
    chownSync(place, UID, UID);
  });
  afterEach(async () => {
    process1.kill('SIGKILL');
    await new Promise((resolve) => server.close(resolve));
  });

  it('tells root of mounts that are there, and of processes that are that user\'s', () => {
    expect(listUsersMounts(ownerOf, [{ uid: UID, root: place }])).toMatchObject([{ uid: UID, mountpoint: '/m', keeper: users, children: [users] }]);
  });

  it('is not believed about a mount, or a keeper, of somebody else', () => {
    expect(listUsersMounts(() => 0, [{ uid: UID, root: place }])).toEqual([]);
    expect(listUsersMounts(() => undefined, [{ uid: UID, root: place }])).toEqual([]);
    chownSync(place, 0, 0);
    expect(listUsersMounts(ownerOf, [{ uid: UID, root: place }])).toEqual([]);
    new RuntimeDirectory('v', place).write({ version: 1, volume: 'v', name: 'v', volumeDirectory: '/v', mountpoint: '/m', connection: CONNECTION, attached: true, since: '', keeper: self, children: [] });
    chownSync(place, UID, UID);
    expect(listUsersMounts(ownerOf, [{ uid: UID, root: dirname(join(place, 'v')) }])).toEqual([]);
  });
});
