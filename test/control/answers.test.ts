// A command reads what a keeper of another release answers: what is missing is null, and it is said why.
import { createServer } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { EXIT } from '../../src/base/errors.ts';
import { formatDiskList } from '../../src/cli/disk.ts';
import { formatStatus } from '../../src/cli/status.ts';
import { OLDER, readStatus, readUpkeep } from '../../src/control/answers.ts';
import { ControlClient } from '../../src/control/client.ts';

/** As a keeper answered that knew no backups, no membership and no drained disks. */
const OLD = JSON.parse(`{
  "version": 1,
  "volume": { "uuid": "5b0d6ae7c2f94d1f8b7a3c6e9d2f1a40", "name": "photos", "directory": "/volumes/photos", "copies": 2, "blockBytes": 1048576 },
  "mount": { "mountpoint": "/mnt/sdfs", "driver": "direct", "state": "serving", "since": "2026-11-20T08:00:00.000Z", "readOnly": false, "logFile": "/volumes/photos/sdfs.log" },
  "health": "good", "problems": [],
  "capacity": { "totalBytes": 1000000, "usedBytes": 400000, "availableBytes": 600000 },
  "inodes": 12, "pendingBytes": 0, "degradedBlocks": 0, "locks": null,
  "upkeep": {
    "reconcile": { "state": "idle", "reason": null, "phase": null, "progress": null, "endangeredBlocks": 0, "unreadableBlocks": 0, "incompleteDisks": [], "last": null },
    "scrub": { "state": "idle", "fraction": null, "next": "2026-12-01T00:00:00.000Z", "current": null,
      "last": { "blocks": 3, "verifiedCopies": 6, "verifiedBytes": 100, "damagedCopies": 0, "missingCopies": 0, "repairedCopies": 0, "unreadableBlocks": 0, "started": "2026-11-19T00:00:00.000Z", "ended": "2026-11-19T00:01:00.000Z" } }
  },
  "processes": [{ "role": "keeper", "worker": null, "pid": 17, "state": "ready", "restarts": 0, "reason": null }],
  "disks": [{ "worker": 0, "uuid": "00000000000000000000000000000001", "directory": "/disks/a", "state": "ready", "totalBytes": 500000, "availableBytes": 300000, "blockBytes": 200000, "blockCount": 3 }],
  "sharedDevices": []
}`) as Record<string, unknown>;

it('the status of an older keeper is shown as far as it goes', () => {
  const report = readStatus(OLD);
  expect(report.dumps).toBeNull();
  expect(report.problems).toEqual([OLDER]);
  expect(report.upkeep?.scrub.last?.metadataCopies).toBe(0);
  expect(report.disks[0]).toMatchObject({ member: null, holdsLog: null, draining: false, blockCount: 3 });
  expect(formatStatus(report)).toContain('the running sdfs is older');
  expect(formatDiskList(report)).toContain('/disks/a');
});

it('a part of another shape is as good as missing, and what is not known is kept', () => {
  const report = readStatus({ ...OLD, dumps: { every: 'hour' }, upkeep: 'idle', news: 1 });
  expect([report.dumps, report.upkeep, (report as unknown as { news: number }).news]).toEqual([null, null, 1]);
  expect(formatStatus(report)).toContain('photos');
});

it('the status of this release has nothing added to it', () => {
  const now = { ...OLD, dumps: { intervalMs: 0, last: null, problem: null } };
  expect(readStatus(now).problems).toEqual([]);
});

it('a newer status, and something else, are refused with what to do', () => {
  expect(() => readStatus({ ...OLD, version: 2 })).toThrow(/newer than this command/);
  expect(() => readStatus({ hello: 1 })).toThrow(/another release/);
  expect(() => readUpkeep({ upkeep: { reconcile: 1 } })).toThrow(OLDER);
});

it('a question that an older keeper does not know is said to be one', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sdfs-answers-'));
  const socket = join(directory, 'control.sock');
  const server = createServer((request, response) => {
    response.statusCode = request.url === '/v1/upkeep' ? 400 : 404;
    const message = request.url === '/v1/upkeep' ? 'that is no question about upkeep: ✖ Invalid input' : `no such call: ${request.method} ${request.url}`;
    response.end(JSON.stringify({ error: { message, exitCode: EXIT.usage } }));
  });
  await new Promise<void>((resolve) => { server.listen(socket, resolve); });
  try {
    const client = new ControlClient(socket);
    await expect(client.upkeep({ ask: 'status' })).rejects.toMatchObject({ exitCode: EXIT.unsupported, message: expect.stringMatching(/another release/) as string });
    await expect(client.rescue({ ask: 'dump' })).rejects.toMatchObject({ exitCode: EXIT.unsupported });
  } finally {
    server.close();
    rmSync(directory, { recursive: true });
  }
});
