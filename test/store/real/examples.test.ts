// The examples for users: those in examples/, and those in the comments of the public API, each of which has to have one.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROJECT, isNode, parse } from '../../house/source-tree.ts';
import type { SyntaxNode } from '../../house/source-tree.ts';
import { UserProject } from '../../support/user-program.ts';

const LINES_MAX = 40;
const EXAMPLES = join(PROJECT, 'examples');
/** Files with what `sdfs/kv` exports. */
const API = ['store.ts', 'lock.ts', 'open-store.ts', 'connect-store.ts'];

describe('examples', () => {
  const said: Record<string, RegExp> = {
    'session-cache.ts': /^cart: milk, sugar, tea\n$/,
    'job-queue.ts': /^jobs: 20, each once: true\n$/,
    'content-store.ts': /^new: true, then false; whole: true\n$/,
  };
  const project = new UserProject();
  beforeAll(async () => {
    for (const name of readdirSync(EXAMPLES)) project.copy(join(EXAMPLES, name));
    project.write('readme.ts', /```ts\n([^`]*import \{ openStore \}[\s\S]*?)```/.exec(readFileSync(join(PROJECT, 'README.md'), 'utf8'))?.[1] ?? 'no example');
    await project.compile({ strict: true });
  });
  afterAll(() => project.remove());

  it('the one in README.md runs', async () => {
    expect(await project.run('readme.js')).toBe('user/ada = changed\n');
  });

  it.each(readdirSync(EXAMPLES))('%s does what it says', async (name) => {
    expect(await project.run(name.replace('.ts', '.js'))).toMatch(said[name]!);
  });

  it(`have fewer than ${LINES_MAX} lines`, () => {
    for (const name of readdirSync(EXAMPLES)) expect(readFileSync(join(EXAMPLES, name), 'utf8').trimEnd().split('\n').length, name).toBeLessThan(LINES_MAX);
  });
});

interface Documented {
  readonly name: string;
  readonly code: string | undefined;
}

/** The comment that ends right before a node. */
function commentBefore(text: string, at: number): string | undefined {
  return /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*$/.exec(text.slice(0, at))?.[1];
}

function exampleIn(comment: string | undefined): string | undefined {
  const block = comment?.split('@example')[1];
  return block?.split('\n').slice(1).map((line) => line.replace(/^\s*\* ?/, '')).join('\n').trimEnd();
}

/** Public methods of exported classes, and exported functions that open or connect. */
function* publicCalls(name: string): Generator<Documented> {
  const path = join(PROJECT, 'src/store', name);
  let text;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return;
  }
  const tree = parse({ path, text });
  for (const node of tree.body as SyntaxNode[]) {
    const declared = node.declaration;
    if (node.type !== 'ExportNamedDeclaration' || !isNode(declared)) continue;
    const own = (declared.id as { name: string } | undefined)?.name ?? '';
    if (declared.type === 'FunctionDeclaration' && /^(open|connect)/.test(own)) yield { name: own, code: exampleIn(commentBefore(text, node.start)) };
    if (declared.type !== 'ClassDeclaration') continue;
    for (const member of (declared.body as { body: SyntaxNode[] }).body) {
      const key = member.key as SyntaxNode | undefined;
      if (member.type !== 'MethodDefinition' || member.kind !== 'method' || key === undefined || key.type === 'PrivateIdentifier' || member.accessibility === 'private') continue;
      yield { name: `${own}.${text.slice(key.start, key.end)}`, code: exampleIn(commentBefore(text, member.start)) };
    }
  }
}

/** `expression; // => value` is an assertion. */
function withAssertions(code: string): string {
  return code.replaceAll(/^( *)(.*); \/\/ => (.*)$/gm, '$1assert.deepEqual($2, $3);');
}

describe('the comments of the public API', () => {
  const calls = API.flatMap((name) => [...publicCalls(name)]);
  const project = new UserProject();
  let outcomes: string[];
  afterAll(() => project.remove());
  beforeAll(async () => {
    calls.forEach(({ code }, index) => project.write(`example-${index}.ts`, `import assert from 'node:assert/strict';
import { createReadStream, createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import * as sdfs from 'sdfs/kv';
const { openStore, ConflictError, StoreError } = sdfs;
const { connectStore } = sdfs as any;
export default async ({ store, directory, path }: { store: sdfs.Store; directory: string; path: string }) => {
{
${withAssertions(code ?? '')}
}
};
`));
    project.write('main.ts', `import { openStore } from 'sdfs/kv';
const directory = process.cwd();
const outcomes = [];
const wantAStore = ${JSON.stringify(calls.map(({ code }) => /lock\(|Shard\(/.test(code ?? '')))};
let path = directory + '/store';
let store = await openStore({ path, shards: 3 });
for (let index = 0; index < ${calls.length}; index++) {
  const { default: run } = await import('./example-' + index + '.js');
  outcomes.push(await run({ store, directory, path }).then(() => 'done', (error) => String(error.stack)));
  for await (const { key } of store.range()) await store.delete(key);
  // Locks outlive an example, and so do shards.
  if (!wantAStore[index]) continue;
  await store.close();
  path = directory + '/store-' + index;
  store = await openStore({ path, shards: 3 });
}
await store.close();
console.log(JSON.stringify(outcomes));
`);
    await project.compile({ strict: false });
    outcomes = JSON.parse(await project.run('main.js')) as string[];
  }, 240_000);

  it('find the methods of the store and of its locks', () => {
    expect(calls.map(({ name }) => name)).toEqual(expect.arrayContaining(['Store.get', 'Store.batch', 'Store.range', 'Lock.run', 'openStore']));
  });

  it.each(calls.map(({ name, code }, index) => ({ name, code, index })))('have an example of $name that runs', ({ name, code, index }) => {
    expect(code, `${name} has no example: write an @example with a few lines into its comment; "expression; // => value" is checked`).toBeDefined();
    expect(outcomes[index]).toBe('done');
  });
});
