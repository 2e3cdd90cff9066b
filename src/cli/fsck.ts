// sdfs fsck: checks all metadata and the copies of all blocks, mounted or not, and repairs what it can.
import type { Command } from 'commander';
import { EXIT, UserError } from '../base/errors.ts';
import type { ExitCode } from '../base/errors.ts';
import type { FsckAnswer, FsckKind, RescueAnswer } from '../control/api.ts';
import { EXIT_CODES_HELP } from './failure.ts';
import { withDriver } from './rescue.ts';
import type { Ask } from './rescue.ts';
import { colour, formatTable, print } from './terminal.ts';
import { parseCount } from './values.ts';

const LOOK_MS = 200;

interface FsckOptions {
  readonly repair?: boolean;
  readonly json?: boolean;
  readonly examples: number;
  readonly copies: boolean;
  readonly forceDegraded?: boolean;
}

export function registerFsck(program: Command): void {
  program
    .command('fsck')
    .summary('check everything, and repair it')
    .description(`Check all metadata (names, directories, links, extents, blocks, counts) and that every block has its copies: of a mounted volume while programs go on, as of one moment; of one that is not mounted by starting it for the check alone. The exit code is ${EXIT.ok} when nothing is wrong, ${EXIT.repaired} when all that was wrong is repaired, ${EXIT.damaged} when something is left (fsck(8) has other numbers for the same).`)
    .argument('[target]', 'the mountpoint or the volume directory (default: the one that is mounted)')
    .option('--repair', 'repair what can be: counts are set right, missing rows are made anew, files without a name go to /lost+found, what cannot be read is set aside byte for byte. No data is deleted')
    .option('--json', 'print the result as JSON (its shape: FsckAnswer in src/ipc/rescue-messages.ts)')
    .option('--examples <count>', 'name so many of each kind', parseCount, 10)
    .option('--no-copies', 'do not look at the copies on the disks')
    .option('--force-degraded', 'of a volume that is not mounted: disks that are missing are gone for good')
    .addHelpText('after', EXIT_CODES_HELP)
    .action(async (target: string | undefined, options: FsckOptions, command: Command) => {
      const level = command.optsWithGlobals<{ logLevel: string }>().logLevel;
      const answer = await withDriver(target, { purpose: 'sdfs fsck', level, forceDegraded: options.forceDegraded ?? false }, (ask) => check(ask, options));
      print(options.json ? JSON.stringify(answer, null, 2) : formatFsck(answer, { repair: options.repair ?? false }));
      process.exitCode = exitCodeOf(answer);
    });
}

async function check(ask: Ask, options: FsckOptions): Promise<FsckAnswer> {
  const { ticket } = await ask({ ask: 'fsck', repair: options.repair ?? false, examples: options.examples, copies: options.copies });
  if (ticket === undefined) throw new UserError('the driver is of another version than this command', EXIT.unsupported);
  // Ctrl-C is no reason for the driver of a mount to go on for nobody.
  const onInterrupt = (): void => void ask({ ask: 'fsckEnd', ticket }).finally(() => process.exit(EXIT.failure));
  process.prependOnceListener('SIGINT', onInterrupt);
  try {
    for (;;) {
      const answer = await ask({ ask: 'fsckResult', ticket });
      if (answer.fsck !== undefined) return answer.fsck;
      showProgress(answer.progress);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  } finally {
    process.off('SIGINT', onInterrupt);
    clearProgress();
  }
}

function showProgress(progress: RescueAnswer['progress']): void {
  if (!process.stderr.isTTY || progress === undefined) return;
  process.stderr.write(`\r\x1b[Kround ${progress.round}: ${progress.phase}${progress.done > 0 ? `, ${progress.done}` : ''}`);
}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
}

export function exitCodeOf({ findings, left }: FsckAnswer): ExitCode {
  const isWrong = ({ note }: FsckKind): boolean => !note;
  if (left.some(isWrong)) return EXIT.damaged;
  return findings.some((found) => isWrong(found) && found.repaired > 0) ? EXIT.repaired : EXIT.ok;
}

export function formatFsck(answer: FsckAnswer, options: { repair: boolean }): string {
  const { findings, left, sums, rounds, tookMs } = answer;
  const sections = [`${sums.inodes} files and directories, ${sums.keys > 0 ? `${sums.keys} keys, ` : ''}${sums.blocks} blocks looked at in ${(tookMs / 1000).toFixed(1)} s${rounds > 1 ? `, in ${rounds} rounds` : ''}`];
  if (sums.setAside > 0) sections.push(`${sums.setAside} rows that could not be read are kept aside; "sdfs dump" has them`);
  if (findings.length === 0) return [...sections, colour.green('nothing is wrong')].join('\n');
  sections.push(formatTable(['FOUND', ...(options.repair ? ['REPAIRED'] : []), 'WHAT'], findings.map((found) => [
    String(found.count), ...(options.repair ? [String(found.repaired)] : []), found.note ? colour.dim(`${found.means} (no damage)`) : found.means,
  ])));
  for (const found of findings) {
    if (found.examples.length === 0) continue;
    const rest = found.count - found.examples.length;
    sections.push(`${found.means}:\n${found.examples.map(({ paths, detail }) => `  ${paths.length > 0 ? `${paths.join(', ')}: ` : ''}${detail}`).join('\n')}${rest > 0 ? `\n  and ${rest} more` : ''}`);
  }
  if (options.repair) {
    const wrong = left.filter(({ note }) => !note);
    sections.push(wrong.length === 0 ? colour.green('all of it is repaired') : colour.red(`left: ${wrong.map(({ count, means }) => `${count} x ${means}`).join('; ')}`));
  }
  return sections.join('\n\n');
}
