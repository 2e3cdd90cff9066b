// sdfs kv stat: how a store is.
import type { Command } from 'commander';
import type { StoreStatistics } from '../store/api.ts';
import type { StoreChoice } from './kv-open.ts';
import { storeCommand, withStore } from './kv-open.ts';
import { writeOut } from './kv-text.ts';
import { colour, formatBytes, formatTable } from './terminal.ts';

export function registerKvStat(kv: Command): void {
  storeCommand(kv, 'stat', 'show keys, copies, space and shards')
    .description('Show how many keys there are, how many copies are kept, the space, and each shard.')
    .option('--json', 'print it as JSON (its shape: StoreStatistics in src/backend/backend.ts)')
    .action((options: StoreChoice & { json?: boolean }, command: Command) => withStore(options, command, async (store) => {
      const statistics = await store.stats();
      await writeOut(`${options.json ? JSON.stringify(statistics, null, 2) : formatStatistics(statistics)}\n`);
    }));
}

export function formatStatistics({ keys, copies, totalBytes, availableBytes, shards, degradedBlocks, pendingBytes }: StoreStatistics): string {
  const facts: [string, string][] = [
    ['keys', String(keys)],
    ['copies', `${copies}${degradedBlocks > 0 ? `, ${colour.yellow(`${degradedBlocks} blocks with fewer`)}` : ''}`],
    ['space', `${formatBytes(totalBytes)}, ${formatBytes(availableBytes)} free`],
    ['pending', `${formatBytes(pendingBytes)} on the way to the shards`],
  ];
  const table = formatTable(['SHARD', 'STATE', 'BLOCKS', 'SIZE', 'FREE', 'DIRECTORY'], shards.map((shard) => [
    String(shard.shard), shard.state === 'ready' ? colour.green(shard.state) : colour.yellow(shard.state), String(shard.blocks), formatBytes(shard.totalBytes), formatBytes(shard.availableBytes), shard.directory,
  ]));
  return `${facts.map(([name, value]) => `${name.padEnd(9)} ${value}`).join('\n')}\n\n${table}`;
}
