// The results as a table for people and as JSON: medians, shares of the plain directory, share of the null file system.
import { readFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { execFileSync } from 'node:child_process';
import Table from 'cli-table3';

export function median(values) {
  const sorted = values.filter((value) => value !== undefined).toSorted((a, b) => a - b);
  if (sorted.length === 0) return undefined;
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** What the figures depend on besides sdfs. */
export function describeMachine(place) {
  return {
    kernel: release(),
    node: process.version,
    processor: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`,
    memoryGB: Math.round(Number(/MemTotal:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) / 1024 / 1024),
    disk: diskOf(place),
  };
}

function diskOf(place) {
  try {
    const [source, type, options] = execFileSync('findmnt', ['-nro', 'SOURCE,FSTYPE,OPTIONS', '-T', place], { encoding: 'utf8' }).trim().split(' ');
    return `${type} on ${source} (${options})`;
  } catch {
    return 'unknown';
  }
}

/** `samples`: Map from target name to Map from row name to a value per round, undefined where it failed. */
export function summarize(rows, targets, samples) {
  return rows.map(({ name, unit }) => {
    const figures = Object.fromEntries(targets.map((target) => {
      const values = samples.get(target)?.get(name) ?? [];
      return [target, { median: median(values), rounds: values }];
    }));
    const ratio = (of, base) => (figures[of]?.median !== undefined && figures[base]?.median ? figures[of].median / figures[base].median : undefined);
    return {
      row: name, unit, figures,
      shareOfPlain: Object.fromEntries(targets.filter((target) => target !== 'plain').map((target) => [target, ratio(target, 'plain')])),
      shareOfNull: ratio('sdfs', 'null'),
    };
  });
}

export function printTable(summary, targets, out = process.stdout) {
  const others = targets.filter((target) => target !== 'plain');
  const withShares = targets.includes('plain');
  const withNull = targets.includes('null') && targets.includes('sdfs');
  const table = new Table({
    head: ['', '', ...targets, ...(withShares ? others.map((target) => `${target}/plain`) : []), ...(withNull ? ['sdfs/null'] : [])],
    colAligns: ['left', 'left', ...Array.from({ length: 2 * targets.length + 1 }, () => 'right')],
    style: { head: [], border: [], compact: true },
  });
  for (const { row, unit, figures, shareOfPlain, shareOfNull } of summary) {
    table.push([
      row, unit,
      ...targets.map((target) => figure(figures[target].median)),
      ...(withShares ? others.map((target) => share(shareOfPlain[target])) : []),
      ...(withNull ? [share(shareOfNull)] : []),
    ]);
  }
  out.write(`${table.toString()}\n`);
}

function figure(value) {
  if (value === undefined) return 'failed';
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(2);
}

function share(value) {
  if (value === undefined) return '-';
  return value >= 10 ? value.toFixed(0) : value.toFixed(2);
}
