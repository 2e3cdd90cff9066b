// What INFO and CONFIG GET tell, in the names that Redis has for it.
import { LIMITS } from '../base/limits.ts';
import type { CommandContext } from './command.ts';

/** The Redis whose commands and texts these are; clients choose by it what they send. */
export const REDIS_VERSION = '7.0.15';

type Section = (context: CommandContext) => Readonly<Record<string, string | number>>;

const SECTIONS: Readonly<Record<string, Section>> = {
  Server: ({ facts }) => ({
    redis_version: REDIS_VERSION, redis_mode: 'standalone', server_name: 'sdfs', os: process.platform, arch_bits: 64, process_id: process.pid, tcp_port: facts.port,
    uptime_in_seconds: Math.floor((Date.now() - facts.startedMs) / 1000), uptime_in_days: Math.floor((Date.now() - facts.startedMs) / 86_400_000),
  }),
  Clients: ({ facts }) => ({ connected_clients: facts.clients.length, maxclients: facts.clientsMax }),
  Memory: () => ({ used_memory: process.memoryUsage.rss(), used_memory_rss: process.memoryUsage.rss(), maxmemory: 0, maxmemory_policy: 'noeviction' }),
  Persistence: () => ({ loading: 0, aof_enabled: 1, aof_last_write_status: 'ok', rdb_bgsave_in_progress: 0 }),
  Stats: ({ facts }) => ({ total_connections_received: facts.connectionsMade, total_commands_processed: facts.commandsRun }),
  Replication: () => ({ role: 'master', connected_slaves: 0 }),
  Cluster: () => ({ cluster_enabled: 0 }),
  Keyspace: ({ keys }) => (keys.count === 0 ? {} as Record<string, string> : { db0: `keys=${keys.count},expires=0,avg_ttl=0` }),
};

/** All sections where none are named; unknown ones are left out, as in Redis. */
export function infoText(context: CommandContext, wanted: readonly string[]): string {
  const isAll = wanted.length === 0 || wanted.some((name) => ['all', 'default', 'everything'].includes(name));
  return Object.entries(SECTIONS)
    .filter(([name]) => isAll || wanted.includes(name.toLowerCase()))
    .map(([name, section]) => `# ${name}\r\n${Object.entries(section(context)).map(([field, value]) => `${field}:${value}\r\n`).join('')}`)
    .join('\r\n');
}

export function configuration({ facts }: CommandContext): ReadonlyMap<string, string> {
  return new Map([
    ['appendfsync', 'everysec'],
    ['appendonly', 'yes'],
    ['databases', '1'],
    ['maxclients', String(facts.clientsMax)],
    ['maxmemory', '0'],
    ['maxmemory-policy', 'noeviction'],
    ['port', String(facts.port)],
    ['proto-max-bulk-len', String(LIMITS.valueBytesMax)],
    ['save', ''],
    ['timeout', '0'],
  ]);
}
