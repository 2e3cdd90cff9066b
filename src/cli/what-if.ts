// sdfs disk what-if: what would be lost if some disks were lost now, in words.
import { EXIT } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';
import type { WhatIfAnswer } from '../control/api.ts';
import { ownerName } from './scrub.ts';
import { colour, formatBytes, formatTable } from './terminal.ts';

const list = (workers: readonly number[]): string => `${workers.length === 1 ? 'disk' : 'disks'} ${workers.join(', ')}`;
const blocks = ({ blocks: count, bytes }: WhatIfAnswer['all']): string => `${count} ${count === 1 ? 'block' : 'blocks'} (${formatBytes(bytes)})`;

/** Something is gone for good then, or may be. */
export function losesSomething({ lost, metadata, onTheWay }: WhatIfAnswer): boolean {
  return lost.blocks > 0 || metadata.left.length === 0 || (onTheWay.journalLost && onTheWay.records > 0);
}

export function whatIfExitCode(answer: WhatIfAnswer): ExitCode {
  if (losesSomething(answer)) return EXIT.damaged;
  return answer.mountRefusal === null ? EXIT.ok : EXIT.incomplete;
}

export function formatWhatIf(answer: WhatIfAnswer): string {
  const { lost, fewer, all, unreadable, metadata, onTheWay, mountRefusal, room } = answer;
  const lines: string[] = [`Without ${list(answer.lose)}:`];
  const say = (name: string, text: string): void => { lines.push(`  ${name.padEnd(11)}${text}`); };
  say('data', lost.blocks === 0 ? colour.green(`nothing is lost of ${blocks(all)}`) : colour.red(`${blocks(lost)} of ${blocks(all)} are lost: they have no copy elsewhere`));
  if (fewer.blocks > 0) say('copies', `${blocks(fewer)} would have fewer than now, and are copied anew`);
  if (unreadable.blocks > 0) say('', `${blocks(unreadable)} have no copy on the disks that are there even now`);
  say('metadata', describeMetadata(metadata));
  if (onTheWay.records > 0) say('on the way', `${onTheWay.records} changes are in the journal of the driver alone, which ${onTheWay.journalLost ? colour.red('lies on the device of a lost disk; run "sdfs sync" first') : 'does not lie on these disks'}`);
  if (onTheWay.bytes > 0) say('small data', `${formatBytes(onTheWay.bytes)} are no blocks yet, and share the lot of the metadata`);
  say('mount', mountRefusal === null ? 'the volume can be mounted as ever' : colour.yellow(`only with --force-degraded: ${mountRefusal}`));
  say('room', describeRoom(answer, room));
  if (answer.sharing.length > 0) say('note', colour.yellow(`on the same device as these: ${list(answer.sharing)}; what ends the device ends them all`));
  if (answer.unknown.length > 0) say('note', colour.yellow(`${list(answer.unknown)} cannot be asked now: what they have is not counted`));
  if (lost.files.length === 0) return lines.join('\n');
  const rows = lost.files.map(({ ranges, ...owner }) => [ownerName(owner), String(ranges.length), formatBytes(ranges.reduce((total, { bytes }) => total + bytes, 0))]);
  return [lines.join('\n'), formatTable(['LOST IN', 'PARTS', 'BYTES'], rows), ...(lost.complete ? [] : ['and others'])].join('\n\n');
}

function describeMetadata({ disks, left, backups }: WhatIfAnswer['metadata']): string {
  const backup = backups.length === 0 ? 'no backup of it is left either' : `a backup is on ${list(backups)}`;
  if (disks.length === 0) return colour.yellow('no disk has all of it at this moment: ask again');
  if (left.length === 0) return colour.red(`${list(disks)} have it and no other: it lives on in the driver, which gives it to other disks, but not through a crash before that; ${backup}`);
  return left.length === disks.length ? `not touched: ${list(left)} have it` : `kept by ${list(left)}; another disk takes it over`;
}

function describeRoom({ fewer }: WhatIfAnswer, { neededBytes, availableBytes, disks, enough }: WhatIfAnswer['room']): string {
  if (enough) return fewer.blocks === 0 ? 'nothing needs to be copied' : `enough for what lost a copy: ${formatBytes(neededBytes)} of ${formatBytes(availableBytes)}`;
  return colour.yellow(neededBytes > availableBytes ? `not enough: ${formatBytes(neededBytes)} to be copied, ${formatBytes(availableBytes)} free for it` : `${disks === 1 ? 'one disk is' : `${disks} disks are`} left, fewer than the copies of a block`);
}
