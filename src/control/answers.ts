// Reads the answers of a keeper that may be of another release than the command that asks: what an older one does not say
// is null, and the report says why.
import { z } from 'zod';
import { EXIT, UserError } from '../base/errors.ts';
import type { StatusReport, UpkeepAnswer } from './api.ts';

const VERSION = 1;
export const OLDER = 'the running sdfs is older than this command: what it does not tell is left out. "sdfs upgrade" gives new code to the driver and the disks; the rest comes with the next mount';

const text = z.string();
const number = z.number();
const worker = z.int().min(0);
/** What has come since: a number that an older one does not count. */
const counted = number.default(0);

const scrubCounts = z.looseObject({
  blocks: number, verifiedCopies: number, verifiedBytes: number, damagedCopies: number, missingCopies: number, repairedCopies: number, unreadableBlocks: number,
  metadataRows: counted, metadataCopies: counted, damagedMetadataCopies: counted, started: text,
});

const upkeep = z.looseObject({
  reconcile: z.looseObject({
    state: text, reason: text.nullable(), phase: text.nullable(), progress: z.looseObject({ done: number, total: number, etaMs: number }).nullable(),
    endangeredBlocks: number, unreadableBlocks: number, incompleteDisks: z.array(worker), last: z.looseObject({ ended: text, blocks: number }).nullable(),
  }),
  scrub: z.looseObject({
    state: text, fraction: number.nullable(), next: text, current: scrubCounts.nullable(), last: scrubCounts.extend({ ended: text }).nullable(),
  }),
});

/** Parts that may be missing, or have had another shape. */
const PARTS = {
  capacity: z.looseObject({ totalBytes: number, usedBytes: number, availableBytes: number }),
  inodes: number,
  pendingBytes: number,
  degradedBlocks: number,
  locks: z.looseObject({ held: number, waiting: number }),
  upkeep,
  dumps: z.looseObject({ intervalMs: number, last: z.looseObject({ bytes: number, disks: z.array(worker), written: text }).nullable(), problem: text.nullable() }),
} as const;

const disk = z.looseObject({
  worker, uuid: text, directory: text, state: text, member: z.boolean().nullable().default(null), holdsLog: z.boolean().nullable().default(null),
  draining: z.boolean().default(false), weight: number.default(0),
  totalBytes: number.nullable(), availableBytes: number.nullable(), blockBytes: number.nullable(), blockCount: number.nullable(),
});

const report = z.looseObject({
  version: z.literal(VERSION),
  volume: z.looseObject({ uuid: text, name: text, directory: text, copies: number, blockBytes: number }),
  mount: z.looseObject({ mountpoint: text, state: text, since: text, driver: text.default('direct'), readOnly: z.boolean().default(false), logFile: text.nullable().default(null) }).nullable(),
  health: text,
  problems: z.array(text),
  processes: z.array(z.looseObject({ role: text, worker: worker.nullable(), pid: number.nullable(), state: text, restarts: number, reason: text.nullable().default(null) })),
  disks: z.array(disk),
  sharedDevices: z.array(z.array(worker)).default([]),
});

/** UserError 'unsupported' when it is a newer one's, or nothing that this sdfs can read. */
export function readStatus(answer: unknown): StatusReport {
  const version = typeof answer === 'object' && answer !== null && 'version' in answer ? answer.version : undefined;
  if (typeof version === 'number' && version > VERSION) throw new UserError(`the running sdfs is newer than this command (its status has version ${version}, this one knows ${VERSION}): use the command of the newer one`, EXIT.unsupported);
  const parsed = report.safeParse(answer);
  if (!parsed.success) throw new UserError(`the running sdfs is of another release than this command, and its status cannot be read (${z.prettifyError(parsed.error).split('\n')[0]}): unmount the volume with the command of that release, and mount it with this one`, EXIT.unsupported);
  const given = answer as Record<string, unknown>;
  let isOlder = false;
  const parts = Object.fromEntries(Object.entries(PARTS).map(([name, schema]) => {
    const part = schema.nullable().safeParse(given[name]);
    if (!part.success) isOlder = true;
    return [name, part.success ? part.data : null];
  }));
  return { ...parsed.data, ...parts, problems: [...parsed.data.problems, ...(isOlder ? [OLDER] : [])] } as unknown as StatusReport;
}

/** As above, of the questions about upkeep. */
export function readUpkeep(answer: unknown): UpkeepAnswer {
  const parsed = z.looseObject({ upkeep: upkeep.optional() }).safeParse(answer);
  if (!parsed.success) throw new UserError(OLDER, EXIT.unsupported);
  return parsed.data as unknown as UpkeepAnswer;
}

/** What an older keeper says to a question that it does not know; this command asks none that is malformed. */
export function isUnknownQuestion(message: string): boolean {
  return /^(no such call|that is no question about upkeep|the request is not as expected)/.test(message);
}
