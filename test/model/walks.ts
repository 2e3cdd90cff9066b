// Two ways to look at a whole tree, which share no code: by Node's calls, and by find(1) and sha256sum(1).
import { createHash } from 'node:crypto';
import { lstat, readFile, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { mustRun } from '../support/programs.ts';
import type { ReferenceFileSystem } from './reference-file-system.ts';

const sha256 = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
const octal = (mode: number): string => (mode & 0o7777).toString(8);

/** The tree as lines "path kind links mode size content", sorted; the shape that both walks give. */
export function describeModel(model: ReferenceFileSystem): string[] {
  return [...model.walk()].map(([path, node]) => {
    switch (node.kind) {
      case 'file': return `/${path} file ${node.links} ${octal(node.mode)} ${node.data.length} ${sha256(node.data)}`;
      case 'link': return `/${path} link ${node.links} - ${Buffer.byteLength(node.target)} ${node.target}`;
      case 'directory': {
        const subdirectories = [...node.entries.values()].filter((child) => child.kind === 'directory').length;
        return `/${path} directory ${2 + subdirectories} ${octal(node.mode)} - -`;
      }
    }
  }).toSorted();
}

export async function walkByCalls(root: string): Promise<string[]> {
  const lines: string[] = [];
  const visit = async (path: string): Promise<void> => {
    const found = await lstat(join(root, path));
    if (found.isDirectory()) {
      lines.push(`/${path} directory ${found.nlink} ${octal(found.mode)} - -`);
      for (const name of await readdir(join(root, path))) await visit(join(path, name));
    } else if (found.isSymbolicLink()) {
      lines.push(`/${path} link ${found.nlink} - ${found.size} ${await readlink(join(root, path))}`);
    } else {
      lines.push(`/${path} file ${found.nlink} ${octal(found.mode)} ${found.size} ${sha256(await readFile(join(root, path)))}`);
    }
  };
  await visit('');
  return lines.toSorted();
}

/** Drops the kernel's caches first, so that it is the file system that answers. */
export async function walkByPrograms(root: string): Promise<string[]> {
  const script = `
    echo 2 >/proc/sys/vm/drop_caches
    find . -type d -printf '/%P directory %n %m - -\\n'
    find . -type l -printf '/%P link %n - %s %l\\n'
    find . -type f -printf '%p\\n' | while read -r path; do
      echo "/\${path#./} file $(stat -c '%h %a %s' "$path") $(sha256sum <"$path" | cut -d' ' -f1)"
    done`;
  const text = await mustRun('sh', ['-euc', script], { cwd: root, timeoutMs: 60_000 });
  return text.split('\n').filter((line) => line !== '').toSorted();
}
