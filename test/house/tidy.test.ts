// House rules on the text of the sources. Each message says what to write instead.
import { basename } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isNode, lineOf, parse, readSources, roomOf, walk } from './source-tree.ts';
import type { SourceFile, SyntaxNode } from './source-tree.ts';

const LINES_MAX = 400;
/** Rooms where a file system operation passes often enough for every allocation to count. */
const DATA_PATH = ['kv', 'blocks', 'metadata', 'durability', 'vfs'];
/** Rooms that wait for other processes. */
const WAITING = ['ipc', 'kv', 'driver', 'keeper', 'control', 'cli'];
/** How often something is done that ends for another reason. */
const RHYTHM = /(TICK|LOOK|POLL|SWEEP|RETRY|PAUSE|INTERVAL|QUIET)_MS(_MAX)?$/;
/** Rooms that know Linux by its numbers. */
const LINUX = ['fuse', 'kernel', 'os'];

const product = readSources('src');
const all = [...product, ...readSources('test')];

/** Every node of the files for which `rule` has an objection, as "path:line: objection". */
function objections(files: readonly SourceFile[], rule: (node: SyntaxNode) => string | undefined): string[] {
  return files.flatMap((file) =>
    [...walk(parse(file))].flatMap((node) => {
      const objection = rule(node);
      return objection === undefined ? [] : [`${file.path}:${lineOf(file, node.start)}: ${objection}`];
    }),
  );
}

const inRooms = (rooms: readonly string[]) => product.filter((file) => rooms.includes(roomOf(file.path)));
const outsideRooms = (rooms: readonly string[]) => product.filter((file) => !rooms.includes(roomOf(file.path)));

/** The name that a node declares with a number as its value, if it does. */
function numberedName(node: SyntaxNode): string | undefined {
  const name = node.type === 'VariableDeclarator' ? node.id : node.type === 'Property' ? node.key : undefined;
  const value = node.type === 'VariableDeclarator' ? node.init : node.value;
  if (!isNode(name) || name.type !== 'Identifier' || !isNode(value) || typeof value.value !== 'number') return undefined;
  return name.name as string;
}

describe('files', () => {
  it(`have at most ${LINES_MAX} lines`, () => {
    const long = all.map((file) => ({ path: file.path, lines: file.text.split('\n').length - 1 })).filter((file) => file.lines > LINES_MAX);
    expect(long.map((file) => `${file.path} has ${file.lines} lines: find the second job in it and give that a file`)).toEqual([]);
  });

  it('have kebab-case names', () => {
    expect(all.map((file) => file.path).filter((path) => !/^[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.ts$/.test(basename(path)))).toEqual([]);
  });

  it('are no barrels: import from the file that has it', () => {
    expect(all.map((file) => file.path).filter((path) => basename(path) === 'index.ts')).toEqual([]);
  });

  it('say on their first line what their one job is', () => {
    const mute = all.filter((file) => !/^(#!\S+ \S+\n)?\/\/ \S.{15,}/.test(file.text));
    expect(mute.map((file) => `${file.path}: begin with a line "// The …" that states its job`)).toEqual([]);
  });

  it('put nothing off: what is left to do is an issue, what is not done is in docs/LIMITS.md', () => {
    const words = /\b(?:TODO|FIXME|XXX|HACK)\b/;
    const found = all.filter((file) => basename(file.path) !== 'tidy.test.ts').flatMap((file) =>
      file.text.split('\n').flatMap((line, index) => (words.test(line) ? [`${file.path}:${index + 1}: ${line.trim()}`] : [])),
    );
    expect(found).toEqual([]);
  });
});

describe('code', () => {
  it('has no any: unknown and a check, or the type itself', () => {
    expect(objections(all, (node) => (node.type === 'TSAnyKeyword' ? 'write unknown and narrow it, or name the type' : undefined))).toEqual([]);
  });

  it('says FUSE_ and FOPEN_ in the rooms that know Linux only', () => {
    const rule = (node: SyntaxNode): string | undefined =>
      node.type === 'Identifier' && /^(FUSE|FOPEN|FATTR)_/.test(node.name as string) ? `${node.name as string}: give it a name of the domain, and translate in src/fuse/` : undefined;
    expect(objections(outsideRooms(LINUX), rule)).toEqual([]);
  });

  it('knows errno numbers in the rooms that know Linux only', () => {
    const rule = (node: SyntaxNode): string | undefined => {
      const name = numberedName(node);
      return name !== undefined && /^E(?!RR)[A-Z0-9]{2,}$/.test(name) ? `${name}: throw FsError with the code, or compare with ERRNO of os/libc.ts` : undefined;
    };
    expect(objections(outsideRooms(LINUX), rule)).toEqual([]);
  });

  it('has no BigInt on the data path', () => {
    const rule = (node: SyntaxNode): string | undefined => {
      const literal = node.type === 'Literal' && typeof node.bigint === 'string';
      const call = node.type === 'CallExpression' && isNode(node.callee) && node.callee.name === 'BigInt';
      return literal || call ? 'BigInts are allocated: use a number below 2^53 or two u32' : undefined;
    };
    expect(objections(inRooms(DATA_PATH), rule)).toEqual([]);
  });

  it('takes the bounds of its waits from base/limits.ts, where docs/LIMITS.md has a row for each', () => {
    const rule = (node: SyntaxNode): string | undefined => {
      const name = numberedName(node);
      return name !== undefined && /_MS(_MAX)?$/.test(name) && !RHYTHM.test(name) ? `${name}: put it into LIMITS, and say in docs/LIMITS.md what happens when it expires` : undefined;
    };
    expect(objections(inRooms(WAITING), rule)).toEqual([]);
  });

  it('writes to the terminal in cli/ only', () => {
    const rule = (node: SyntaxNode): string | undefined =>
      node.type === 'MemberExpression' && isNode(node.object) && node.object.type === 'Identifier' && node.object.name === 'console' ? 'use the logger that the process was given' : undefined;
    expect(objections(outsideRooms(['cli']), rule)).toEqual([]);
  });
});

describe('tests', () => {
  it('run all of them: no test is singled out', () => {
    const rule = (node: SyntaxNode): string | undefined => {
      const property = node.type === 'MemberExpression' && isNode(node.object) && ['it', 'test', 'describe'].includes(node.object.name as string) ? node.property : undefined;
      return isNode(property) && property.name === 'only' ? 'take .only away' : undefined;
    };
    expect(objections(all, rule)).toEqual([]);
  });

  it('break these rules where they are broken', () => {
    const probe = { path: 'src/kv/probe.ts', text: 'const ENOENT = 2; const m = { EIO: 5 }; const big = 1n;' };
    const nodes = [...walk(parse(probe))];
    expect(nodes.map(numberedName).filter((name) => name !== undefined)).toEqual(['ENOENT', 'EIO']);
    expect(nodes.some((node) => node.type === 'Literal' && typeof node.bigint === 'string')).toBe(true);
  });
});
