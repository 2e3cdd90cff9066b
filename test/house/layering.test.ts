// The house rule of the rooms: imports go down the table in layers.ts, never up or across.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join, normalize } from 'node:path';
import { describe, expect, it } from 'vitest';
import { COMPOSITION_ROOTS, PICTURE_BEGIN, PICTURE_END, ROOMS, drawRooms } from './layers.ts';
import type { Room } from './layers.ts';
import { PROJECT, importsOf, readSources, roomOf } from './source-tree.ts';
import type { Import, SourceFile } from './source-tree.ts';

const roomNamed = new Map(ROOMS.map((room) => [room.name, room]));
const sources = readSources('src');

/** What is wrong with one import, in words that say what to write instead; undefined when nothing is. */
function objectionTo(file: SourceFile, found: Import): string | undefined {
  const room = roomNamed.get(roomOf(file.path));
  if (room === undefined) return undefined;
  if (!found.specifier.startsWith('.')) return objectionToPackage(room, found.specifier);
  if (!found.specifier.endsWith('.ts')) return `write the file's own name, with .ts, instead of '${found.specifier}'`;
  const target = normalize(join(file.path, '..', found.specifier));
  if (!target.startsWith('src/')) return `'${found.specifier}' lies outside src/: move what is needed into a room`;
  const targetRoom = roomOf(target);
  if (targetRoom === room.name) return undefined;
  if (room.types?.includes(targetRoom) && !room.imports.includes(targetRoom)) {
    return found.typesOnly ? undefined : `${room.name}/ may use types of ${targetRoom}/ only: write 'import type', or take the function as a parameter and pass it in the driver`;
  }
  if (!room.imports.includes(targetRoom)) {
    const allowed = room.imports.length === 0 ? 'nothing' : room.imports.join('/, ') + '/';
    return `${room.name}/ may import ${allowed}, not ${targetRoom}/: take it as a parameter with a type of your own, or move the shared part down`;
  }
  const inEngine = target.split('/').length > 3;
  if (inEngine && !found.typesOnly && !COMPOSITION_ROOTS.includes(room.name)) {
    return `${target} is one of several engines, and only ${COMPOSITION_ROOTS.join('/, ')}/ may name it: take the interface of ${targetRoom}/ as a parameter`;
  }
  return undefined;
}

function objectionToPackage(room: Room, specifier: string): string | undefined {
  if (specifier.startsWith('node:')) return undefined;
  if (builtinModules.includes(specifier)) return `write 'node:${specifier}'`;
  const name = specifier.split('/').slice(0, specifier.startsWith('@') ? 2 : 1).join('/');
  if (room.packages?.includes(name)) return undefined;
  const owner = ROOMS.find((other) => other.packages?.includes(name));
  if (owner === undefined) return `'${name}' is in no room's packages: enter it in test/house/layers.ts, with one room that owns it`;
  return `'${name}' belongs to ${owner.name}/: use what that room exports`;
}

describe('the rooms of src/', () => {
  it('have a folder each, and each folder has a row in the table', () => {
    const folders = readdirSync(join(PROJECT, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => entry.name);
    expect(folders.filter((name) => !roomNamed.has(name)), 'enter these folders in test/house/layers.ts').toEqual([]);
    expect(ROOMS.filter((room) => !room.planned && !folders.includes(room.name)).map((room) => room.name), 'these rooms of the table have no folder').toEqual([]);
    expect(ROOMS.filter((room) => room.planned && folders.includes(room.name)).map((room) => room.name), "these are there now: take 'planned' off their rows").toEqual([]);
  });

  it('lie in a room each: src/ itself holds no files', () => {
    expect(sources.map((file) => file.path).filter((path) => path.split('/').length < 3)).toEqual([]);
  });

  it('are listed below all that they import, so that no circle is possible', () => {
    const names = ROOMS.map((room) => room.name);
    const upward = ROOMS.flatMap((room, index) => [...room.imports, ...(room.types ?? [])].filter((name) => !names.slice(0, index).includes(name)).map((name) => `${room.name} -> ${name}`));
    expect(upward, 'move the row, or drop the import').toEqual([]);
  });

  it('import only what the table allows', () => {
    const objections = sources.flatMap((file) =>
      importsOf(file).flatMap((found) => {
        const objection = objectionTo(file, found);
        return objection === undefined ? [] : [`${file.path}:${found.line}: ${objection}`];
      }),
    );
    expect(objections).toEqual([]);
  });

  it('are drawn in docs/ARCHITECTURE.md as the table has them', () => {
    const path = join(PROJECT, 'docs/ARCHITECTURE.md');
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    const drawn = text.split(PICTURE_BEGIN)[1]?.split(PICTURE_END)[0]?.trim();
    const wanted = drawRooms();
    expect(drawn, `write this into docs/ARCHITECTURE.md:\n\n${PICTURE_BEGIN}\n${wanted}\n${PICTURE_END}\n`).toBe(wanted);
  });
});

describe('the rule itself', () => {
  const objections = (path: string, text: string): (string | undefined)[] => {
    const file = { path, text };
    return importsOf(file).map((found) => objectionTo(file, found));
  };

  it('finds every kind of import', () => {
    const text = `import a from './a.ts'; import type { B } from './b.ts'; export * from './c.ts'; export { d } from './d.ts';
      const e = () => import('./e.ts'); type F = import('./f.ts').F;`;
    expect(importsOf({ path: 'src/base/x.ts', text }).map((found) => [found.specifier, found.typesOnly])).toEqual([
      ['./a.ts', false], ['./b.ts', true], ['./c.ts', false], ['./d.ts', false], ['./e.ts', false], ['./f.ts', true],
    ]);
  });

  it('refuses an import upwards, a foreign package, an engine, and a value where a type is allowed', () => {
    expect(objections('src/kv/x.ts', `import '../vfs/filesystem.ts';`)).toEqual([expect.stringContaining('kv/ may import')]);
    expect(objections('src/vfs/x.ts', `import koffi from 'koffi';`)).toEqual([expect.stringContaining('belongs to os/')]);
    expect(objections('src/vfs/x.ts', `import { LmdbEngine } from '../metadata/lmdb/engine.ts';`)).toEqual([expect.stringContaining('one of several engines')]);
    expect(objections('src/kernel/x.ts', `import { session } from '../fuse/session.ts';`)).toEqual([expect.stringContaining("write 'import type'")]);
    expect(objections('src/kernel/x.ts', `import type { S } from '../fuse/session.ts'; import fs from 'node:fs';`)).toEqual([undefined, undefined]);
  });
});
