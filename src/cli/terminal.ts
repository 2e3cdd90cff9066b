// How the command talks to people: sizes and tables, with colour where a terminal reads.
import Table from 'cli-table3';
import pc from 'picocolors';

/** Colours for what is written to stdout: none when that is no terminal, or NO_COLOR is set. */
export const colour = pc.createColors(Boolean(process.stdout.isTTY) && !process.env.NO_COLOR);

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** "1.5 GiB"; "-" for what is not known. */
export function formatBytes(bytes: number | null | undefined): string {
  if (bytes === null || bytes === undefined) return '-';
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Columns under headings, without ruled lines: it reads well, and a script can split it. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const none = { top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '', left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '', middle: '  ' };
  const table = new Table({ head: head.map((text) => colour.bold(text)), chars: none, style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] } });
  table.push(...rows.map((row) => [...row]));
  return table.toString().split('\n').map((line) => line.trimEnd()).join('\n');
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** For the person at the keyboard, also when stdout is a pipe. */
export function warn(text: string): void {
  process.stderr.write(`sdfs: ${text}\n`);
}
