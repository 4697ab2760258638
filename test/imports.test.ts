import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ServerModule } from '../src/ckks/seal/seal.ts';

const ROOT = resolve(import.meta.dirname, '..');
const IMPORT = /(?:import|export)\s+(?:type\s+)?(?:[\w*{}\s,]+\s+from\s+)?'([^']+)'|import\('([^']+)'\)/g;

/** What a file imports, types included: relative paths resolved against the root, packages by name. */
function importsOf(file: string): string[] {
  const source = readFileSync(join(ROOT, file), 'utf8');
  return [...source.matchAll(IMPORT)].map((match) => {
    const target = match[1] ?? match[2];
    return target.startsWith('.') ? relative(ROOT, resolve(ROOT, dirname(file), target)) : target;
  });
}

/** All files of ours that a file reaches. */
function reach(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file) || !file.endsWith('.ts')) return seen;
  seen.add(file);
  for (const target of importsOf(file)) if (/^(src|training)\//.test(target)) reach(target, seen);
  return seen;
}

function filesUnder(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
}

const SOURCES = filesUnder('src');

describe('import rules', () => {
  test.each(['src/ckks/server.ts', 'src/service/server-process.ts'])(
    'when the server is followed from %s, then it never reaches the secret key or the client',
    (file) => {
      const reached = [...reach(file)];
      expect(reached).toContain('src/ckks/evaluator/program.ts');
      expect(reached).not.toContain('src/ckks/secret/secret-key.ts');
      expect(reached).not.toContain('src/ckks/client.ts');
      for (const file of reached)
        if (file !== 'src/ckks/seal/seal.ts')
          expect(readFileSync(join(ROOT, file), 'utf8')).not.toMatch(/SecretKey|Decryptor|KeyGenerator/);
    },
  );

  test('when the client is followed, then it never reaches the weights or the server', () => {
    const reached = [...reach('src/ckks/client.ts')];
    for (const file of ['server', 'run', 'fold', 'circuit', 'plan', 'backends/seal'])
      expect(reached).not.toContain(`src/ckks/${file}.ts`);
    expect(reached.filter((file) => file.startsWith('src/model/'))).toEqual([]);
  });

  test('when SEAL as the server sees it is typed, then it has no secret key', () => {
    type Forbidden = Extract<keyof ServerModule, 'SecretKey' | 'KeyGenerator' | 'Decryptor'>;
    const none: [Forbidden] extends [never] ? true : false = true; // does not compile otherwise
    expect(none).toBe(true);
  });

  test('when node-seal is looked for, then one file imports it', () => {
    expect(
      SOURCES.filter((file) => importsOf(file).some((target) => target.startsWith('node-seal'))),
    ).toEqual(['src/ckks/seal/seal.ts']);
  });

  test('when TensorFlow.js is looked for, then only training imports it', () => {
    expect(
      SOURCES.filter((file) => importsOf(file).some((target) => target.startsWith('@tensorflow'))),
    ).toEqual([]);
  });

  test('when Node modules are looked for, then only files.ts, dataset.ts and the CLI import them', () => {
    const users = SOURCES.filter((file) => importsOf(file).some((target) => target.startsWith('node:')));
    expect(users.filter((file) => !file.startsWith('src/cli/')).sort()).toEqual([
      'src/dataset/open.ts',
      'src/ecg/files.ts',
      'src/model/files.ts',
    ]);
  });

  test.each([
    ['src/approx', ['src/approx/', 'src/errors.ts']],
    ['src/ecg', ['src/ecg/', 'src/errors.ts']],
    ['src/model', ['src/model/', 'src/approx/', 'src/ecg/', 'src/errors.ts']],
    ['src/ckks', ['src/ckks/', 'src/model/', 'src/approx/', 'src/ecg/', 'src/errors.ts']],
  ])('when %s is read, then it imports only from %j', (folder, allowed) => {
    for (const file of SOURCES.filter((f) => f.startsWith(`${folder}/`))) {
      for (const target of importsOf(file).filter((t) => t.startsWith('src/') || t.startsWith('training/'))) {
        expect(
          allowed.some((a) => target.startsWith(a)),
          `${file} imports ${target}`,
        ).toBe(true);
      }
    }
  });
});
