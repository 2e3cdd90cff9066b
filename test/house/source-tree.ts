// The project's source files as text and as syntax trees, for the house rules.
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAst } from 'vitest/node';

export const PROJECT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

export interface SourceFile {
  /** Relative to the project, with slashes. */
  readonly path: string;
  readonly text: string;
}

/** A node of the ESTree; the fields are those of its type. */
export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

export interface Import {
  readonly specifier: string;
  /** True when nothing of it is left at run time. */
  readonly typesOnly: boolean;
  /** Counted from 1. */
  readonly line: number;
}

/** All .ts files below the folder, in order. */
export function readSources(folder: string): SourceFile[] {
  const entries = readdirSync(join(PROJECT, folder), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted()
    .map((path) => ({ path: relative(PROJECT, path), text: readFileSync(path, 'utf8') }));
}

/** The room of a file below src/: its first folder. */
export function roomOf(path: string): string {
  return path.split('/')[1] ?? '';
}

export function parse(file: SourceFile): SyntaxNode {
  return parseAst(file.text, { lang: 'ts' }, file.path) as unknown as SyntaxNode;
}

/** Every node of the tree, parents first. */
export function* walk(node: SyntaxNode): Generator<SyntaxNode> {
  yield node;
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (isNode(child)) yield* walk(child);
    }
  }
}

export function isNode(value: unknown): value is SyntaxNode {
  return typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string';
}

export function lineOf(file: SourceFile, offset: number): number {
  return file.text.slice(0, offset).split('\n').length;
}

/** Static and dynamic imports, re-exports, and import types. */
export function importsOf(file: SourceFile): Import[] {
  const found: Import[] = [];
  for (const node of walk(parse(file))) {
    const source = node.source;
    if (!isNode(source) || typeof source.value !== 'string') continue;
    if (!['ImportDeclaration', 'ExportAllDeclaration', 'ExportNamedDeclaration', 'ImportExpression', 'TSImportType'].includes(node.type)) continue;
    const typesOnly = node.type === 'TSImportType' || node.importKind === 'type' || node.exportKind === 'type';
    found.push({ specifier: source.value, typesOnly, line: lineOf(file, node.start) });
  }
  return found;
}
