// The one table of the rooms of src/: the job of each, and which others it may import. The picture in
// docs/ARCHITECTURE.md is made from it. A room imports only rooms above it here, so there are no circles.

export interface Room {
  readonly name: string;
  readonly job: string;
  /** Rooms that it may import, apart from itself. */
  readonly imports: readonly string[];
  /** Rooms of which it may import types, and nothing that is there at run time. */
  readonly types?: readonly string[];
  /** npm packages that it may import. Each is some room's business, and reaches the others through that room. */
  readonly packages?: readonly string[];
  /** Not there yet; the mark goes when the folder comes. */
  readonly planned?: true;
}

export const ROOMS: readonly Room[] = [
  { name: 'base', job: 'vocabulary: ids, errors, limits, assert, log', imports: [], packages: ['pino'] },
  { name: 'os', job: 'the system calls that Node lacks', imports: ['base'], packages: ['koffi'] },
  { name: 'log', job: 'redo records and the files that hold them', imports: ['base', 'os'] },
  { name: 'ipc', job: 'framed, typed, bounded messages between two processes', imports: ['base', 'os', 'log'] },
  { name: 'disk', job: 'the on-disk formats of one worker', imports: ['base', 'os', 'log', 'ipc'], packages: ['lmdb', 'zod'] },
  { name: 'worker', job: 'the forked process: message in, disk, answer out', imports: ['base', 'os', 'log', 'ipc', 'disk'], packages: ['zod'] },
  { name: 'kv', job: 'the sharded, replicated block store over the workers', imports: ['base', 'log', 'ipc'] },
  { name: 'blocks', job: 'file bytes as immutable blocks', imports: ['base', 'ipc', 'kv'] },
  { name: 'metadata', job: 'names, attributes, extents over an ordered key space', imports: ['base', 'log'], packages: ['lmdb'] },
  { name: 'durability', job: 'what is acknowledged made power-proof, and room for it made', imports: ['base', 'blocks', 'metadata'] },
  { name: 'fsck', job: 'the rows of the metadata checked against each other, and put right', imports: ['base', 'metadata'] },
  { name: 'dump', job: 'the metadata as lines of text, and back', imports: ['base', 'metadata'] },
  { name: 'locks', job: 'advisory locks: who holds them, who waits, in which order', imports: ['base', 'metadata'] },
  { name: 'keys', job: 'mutable keys over ordered rows and immutable blocks', imports: ['base', 'blocks', 'metadata', 'durability'] },
  { name: 'resp', job: 'the Redis protocol and its commands: bytes in, bytes out', imports: ['base', 'keys'] },
  { name: 'backend', job: 'the calls of a store carried out, here or over a socket', imports: ['base', 'keys', 'resp'] },
  { name: 'vfs', job: 'POSIX semantics on inode numbers; data first, metadata second', imports: ['base', 'blocks', 'metadata', 'durability'] },
  { name: 'fuse', job: 'the FUSE protocol: bytes to typed requests and back', imports: ['base', 'vfs'], types: ['locks'] },
  { name: 'fuse-native', job: 'the second edge, by the fuse-native package', imports: ['base', 'vfs'], packages: ['fuse-native'] },
  { name: 'kernel', job: 'the edge with Linux: mount, unmount, bytes in, bytes out', imports: ['base', 'os'], types: ['fuse'] },
  { name: 'control', job: 'the admin API over a local socket', imports: ['base'], types: ['ipc'], packages: ['hono', '@hono/node-server', 'zod'] },
  { name: 'driver', job: 'the composition root of the driver process', imports: ['base', 'os', 'log', 'ipc', 'kv', 'blocks', 'metadata', 'durability', 'fsck', 'dump', 'locks', 'keys', 'resp', 'backend', 'vfs', 'fuse', 'fuse-native', 'kernel', 'control'], packages: ['zod'] },
  { name: 'keeper', job: 'mount, fork, supervise, hand over, shut down', imports: ['base', 'os', 'ipc', 'disk', 'kernel', 'control'], packages: ['proper-lockfile', 'zod'] },
  { name: 'store', job: 'the key-value store as a library: its API, and the process that opens it', imports: ['base', 'os', 'ipc', 'disk', 'keys', 'resp', 'backend', 'control', 'driver', 'keeper'] },
  { name: 'dashboard', job: 'a page that shows the volume', imports: ['base', 'control'], planned: true },
  { name: 'cli', job: 'the sdfs command, one file per subcommand', imports: ['base', 'os', 'ipc', 'disk', 'dump', 'kernel', 'keys', 'backend', 'control', 'keeper', 'store'], packages: ['commander', 'cli-table3', 'cli-progress', 'picocolors', 'pino-pretty', 'zod', 'lmdb'] },
];

/** Rooms that may name a concrete engine, a folder inside another room such as metadata/lmdb. */
export const COMPOSITION_ROOTS: readonly string[] = ['driver', 'worker'];

export const PICTURE_BEGIN = '<!-- rooms: made from test/house/layers.ts -->';
export const PICTURE_END = '<!-- end of rooms -->';

/** The lines between the two markers in docs/ARCHITECTURE.md. */
export function drawRooms(rooms: readonly Room[] = ROOMS): string {
  const width = Math.max(...rooms.map((room) => room.name.length));
  const jobWidth = Math.max(...rooms.map((room) => room.job.length));
  const lines = rooms.map((room) => {
    const imports = [...room.imports, ...(room.types ?? []).map((name) => `${name} (types)`)].join(', ');
    return `${room.name.padEnd(width)}  ${(room.planned ? `${room.job}*` : room.job).padEnd(jobWidth + 1)} ─► ${imports || 'nothing'}`;
  });
  const note = rooms.some((room) => room.planned) ? ['', '* to come'] : [];
  return ['```text', ...lines, ...note, '```'].join('\n');
}
