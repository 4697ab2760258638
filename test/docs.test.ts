import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '..');
const FOLDERS = ['src', 'test', 'training', 'bench', 'attacks', 'fuzz', 'tools', 'models', 'deploy', 'docs'];
const LONGEST_LINE = 200;
/** Written by programs, whose tables are as wide as they are. */
const GENERATED = ['docs/accuracy-vs-degree/', 'models/'];
/** A log names files that are gone. */
const LOG = 'CHANGELOG.md';

/** All Markdown files of the repository, by their paths from its root. */
function markdownFiles(): string[] {
  const under = (folder: string) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name));
  return [...readdirSync(ROOT), ...FOLDERS.flatMap(under)].filter((file) => file.endsWith('.md')).sort();
}

interface Page {
  lines: string[];
  /** Lines outside of blocks of code, by their number from 1 on. */
  prose: [number: number, line: string][];
}

function readPage(file: string): Page {
  const lines = readFileSync(join(ROOT, file), 'utf8').split('\n');
  const prose: Page['prose'] = [];
  let fenced = false;
  let blank = true;
  let indented = false;
  for (const [k, line] of lines.entries()) {
    if (/^\s*```/.test(line)) fenced = !fenced;
    else if (!fenced) {
      indented = / {4}/.test(line.slice(0, 4)) && (blank || indented);
      if (!indented) prose.push([k + 1, line]);
    }
    blank = line.trim() === '';
  }
  return { lines, prose };
}

/** The anchors that GitHub gives a page's headings. */
function anchorsOf(file: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, line] of readPage(file).prose) {
    const heading = /^#{1,6} +(.*)$/.exec(line)?.[1];
    if (heading === undefined) continue;
    const plain = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const slug = plain.replace(/[^\p{L}\p{N}\p{M} _-]/gu, '').replaceAll(' ', '-');
    let anchor = slug;
    for (let k = 1; anchors.has(anchor); k++) anchor = `${slug}-${k}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** Where a page's links and pictures lead that lead to no other site; code between backticks has none. */
function linksOf({ prose }: Page): [number: number, target: string][] {
  return prose.flatMap(([number, line]) =>
    [...line.replace(/`[^`]*`/g, '').matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target]): [number, string] => [number, target])
      .filter(([, target]) => !/^[a-z]+:/.test(target)),
  );
}

function problemOf(file: string, target: string): string | null {
  const [path, anchor] = target.split('#');
  const found = path === '' ? file : relative(ROOT, resolve(ROOT, dirname(file), decodeURIComponent(path)));
  if (!existsSync(join(ROOT, found))) return `${target} leads to no file`;
  if (anchor === undefined) return null;
  if (statSync(join(ROOT, found)).isDirectory() || !anchorsOf(found).has(anchor))
    return `${target}: ${found} has no such heading`;
  return null;
}

/** Paths of ours between backticks; those with a part for the reader to fill in are left out. */
function pathsOf({ prose }: Page): [number: number, path: string][] {
  const ours = new RegExp(`^(?:${FOLDERS.join('|')})/\\S*`);
  return prose.flatMap(([number, line]) =>
    [...line.matchAll(/`([^`]+)`/g)]
      .map(([, code]) => ours.exec(code)?.[0])
      .filter((path) => path !== undefined)
      .filter((path) => !/[*<>{}]|NAME|PATH/.test(path))
      .map((path): [number, string] => [number, path]),
  );
}

const FILES = markdownFiles();
const WRITTEN = FILES.filter((file) => !GENERATED.some((folder) => file.startsWith(folder)));

describe('documents', () => {
  test('when Markdown files are looked for, then the root, docs and models have some', () => {
    expect(FILES).toContain('README.md');
    expect(FILES).toContain('docs/architecture.md');
    expect(FILES).toContain('models/deepcardio-deg2/README.md');
    expect(WRITTEN.length).toBeGreaterThan(10);
  });

  test.each(WRITTEN)('when %s is read, then no line has more than 200 characters', (file) => {
    const long = readPage(file).lines.flatMap((line, k) =>
      line.length > LONGEST_LINE ? [`${file}:${k + 1} has ${line.length}`] : [],
    );
    expect(long).toEqual([]);
  });

  test.each(FILES)('when links of %s are followed, then they lead to files and headings', (file) => {
    const wrong = linksOf(readPage(file)).flatMap(([number, target]) => {
      const problem = problemOf(file, target);
      return problem === null ? [] : [`${file}:${number} ${problem}`];
    });
    expect(wrong).toEqual([]);
  });

  test.each(FILES.filter((file) => file !== LOG))(
    'when paths in %s are looked up, then they exist',
    (file) => {
      const wrong = pathsOf(readPage(file))
        .filter(([, path]) => !existsSync(join(ROOT, path)))
        .map(([number, path]) => `${file}:${number} ${path}`);
      expect(wrong).toEqual([]);
    },
  );
});

describe('how documents are read', () => {
  const page = (text: string): Page => {
    const lines = text.split('\n');
    return { lines, prose: lines.map((line, k) => [k + 1, line]) };
  };

  test('when a page has links, then other sites and code are left out', () => {
    const text = '[a](b.md#c) [x](https://example.org) `[no](no.md)`\n![p](q.svg) [w](../src/a_(b).ts)';
    expect(linksOf(page(text))).toEqual([
      [1, 'b.md#c'],
      [2, 'q.svg'],
      [2, '../src/a_(b'],
    ]);
  });

  test('when a page has paths, then those to be filled in are left out', () => {
    expect(
      pathsOf(page('`src/a.ts` `models/NAME/model.json` `npm run x` `docs/b.md` `training/*.ts`')),
    ).toEqual([
      [1, 'src/a.ts'],
      [1, 'docs/b.md'],
    ]);
  });

  test('when a link leads nowhere, then it is told', () => {
    expect(problemOf('docs/architecture.md', 'nothing.md')).toBe('nothing.md leads to no file');
    expect(problemOf('docs/architecture.md', '#no-such-heading')).toContain('no such heading');
    expect(problemOf('docs/architecture.md', '#helical-convolutions')).toBeNull();
    expect(problemOf('README.md', 'docs/security.md')).toBeNull();
  });
});
