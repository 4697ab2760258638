import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ServerModule } from '../src/ckks/seal/seal.ts';

const ROOT = resolve(import.meta.dirname, '..');
const IMPORT = /(?:import|export)\s+(?:type\s+)?(?:[\w*{}\s,$]+\s+from\s+)?'([^']+)'|import\(\s*'([^']+)'/g;

/**
 * Every room of the house and the rooms whose files it may import, types included, beside its own. A file
 * belongs to the longest name here that its path begins with. Circles of files are a lint error (biome.json,
 * noImportCycles).
 */
const CKKS = ['ring', 'seal', 'keyswitch', 'wire', 'circuit', 'evaluator'].map((room) => `src/ckks/${room}`);
const [RING, SEAL, KEYSWITCH, WIRE, CIRCUIT, EVALUATOR] = CKKS;
const ROOMS: Record<string, string[]> = {
  'src/errors.ts': [],
  'src/digest.ts': [],
  'src/schema.ts': ['src/errors.ts'],
  'src/approx': ['src/errors.ts'],
  'src/ecg': ['src/errors.ts', 'src/schema.ts', 'src/files'],
  'src/files': ['src/errors.ts', 'src/measure'],
  'src/model': ['src/errors.ts', 'src/digest.ts', 'src/schema.ts', 'src/approx', 'src/ecg', 'src/files'],
  [RING]: ['src/errors.ts', 'src/schema.ts'],
  [SEAL]: ['src/errors.ts', 'src/digest.ts', RING],
  [KEYSWITCH]: ['src/errors.ts', 'src/schema.ts', RING, SEAL],
  [WIRE]: ['src/errors.ts', 'src/digest.ts', 'src/schema.ts', 'src/ecg', RING, SEAL, KEYSWITCH],
  'src/ckks/secret': ['src/errors.ts', RING, SEAL, KEYSWITCH, WIRE],
  [CIRCUIT]: ['src/errors.ts', 'src/approx', 'src/model', RING, KEYSWITCH, WIRE],
  [EVALUATOR]: ['src/errors.ts', ...CKKS],
  'src/ckks/evaluator/seal': ['src/errors.ts', ...CKKS],
  'src/ckks/evaluator/fast': ['src/errors.ts', ...CKKS],
  'src/ckks/planner': [
    'src/errors.ts',
    'src/digest.ts',
    'src/model',
    RING,
    KEYSWITCH,
    WIRE,
    CIRCUIT,
    EVALUATOR,
  ],
  'src/ckks': [
    'src/errors.ts',
    'src/schema.ts',
    'src/model',
    ...CKKS,
    'src/ckks/evaluator/seal',
    'src/ckks/evaluator/fast',
  ].concat('src/ckks/planner', 'src/ckks/secret'),
  'src/measure': ['src/errors.ts'],
  'src/dataset': ['src/errors.ts', 'src/ecg', 'src/files', 'src/measure'],
  'src/client': [
    'src/errors.ts',
    'src/digest.ts',
    'src/schema.ts',
    'src/ecg',
    'src/files',
    'src/ckks',
    KEYSWITCH,
    WIRE,
    'src/ckks/secret',
    'src/measure',
    'src/service',
  ].concat('src/ckks/planner'),
  'src/service': [
    'src/errors.ts',
    'src/digest.ts',
    'src/schema.ts',
    'src/files',
    'src/model',
    'src/ckks',
    ...CKKS,
    'src/ckks/planner',
    'src/measure',
  ],
  'src/service/http': [
    'src/errors.ts',
    'src/schema.ts',
    'src/files',
    WIRE,
    'src/measure',
    'src/service',
    'src/service/evaluators',
    'src/service/nats',
  ],
  'src/service/nats': [
    'src/errors.ts',
    'src/digest.ts',
    'src/schema.ts',
    'src/files',
    WIRE,
    'src/measure',
    'src/service',
    'src/service/evaluators',
  ],
  'src/evaluation': ['src/errors.ts', 'src/ecg', 'src/model', 'src/dataset', 'src/measure', 'src/client'],
  'src/charts': [
    'src/errors.ts',
    'src/schema.ts',
    'src/approx',
    'src/model',
    'src/evaluation',
    'src/measure',
  ],
};
const ALL = [...Object.keys(ROOMS), 'src/index.ts', 'src/client.ts', 'src/node.ts'];
/**
 * Those that may use every other but the command line; of src, it alone uses training, and only when it is
 * asked to train. Nobody uses attacks.
 */
const OPEN: Record<string, string[]> = {
  'src/index.ts': ALL,
  'src/client.ts': ALL,
  'src/node.ts': ALL,
  'src/cli': [...ALL, 'training'],
  training: ALL,
  attacks: [...ALL, 'training'],
};
/** Rooms and files that need Node; all others run in a browser too. */
const NODE_ONLY = [
  'src/files',
  'src/dataset',
  'src/measure/machine.ts',
  'src/measure/version.ts',
  'src/client/request-log.ts',
  'src/client/request-files.ts',
  'src/client/key-storage/key-folder.ts',
  'src/service/http',
  'src/service/key-file.ts',
  'src/service/key-store.ts',
  'src/service/tokens.ts',
  'src/cli',
  'src/ecg/files.ts',
  'src/model/files.ts',
  'src/service/processes',
  'src/service/evaluators',
  'src/service/nats',
];

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
  for (const target of importsOf(file)) if (isOurs(target)) reach(target, seen);
  return seen;
}

function isOurs(target: string): boolean {
  return /^(src|training|attacks)\//.test(target);
}

function isIn(file: string, room: string): boolean {
  return file === room || file.startsWith(`${room}/`);
}

function filesUnder(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
    .filter((file) => file.endsWith('.ts') && !file.includes('/assembly/'));
}

const SOURCES = filesUnder('src');
const FILES = [...SOURCES, ...filesUnder('training'), ...filesUnder('attacks')];
const RULES = { ...ROOMS, ...OPEN };

function roomOf(file: string): string | undefined {
  return Object.keys(RULES)
    .filter((room) => isIn(file, room))
    .sort((a, b) => b.length - a.length)[0];
}

describe('rooms', () => {
  test.each(Object.entries(RULES))(
    'when the files of %s are read, then they import only from %j',
    (room, allowed) => {
      const files = FILES.filter((file) => roomOf(file) === room);
      expect(files, `${room} has no file: a rule without a room says nothing`).not.toEqual([]);
      const wrong = files.flatMap((file) =>
        importsOf(file)
          .filter(isOurs)
          .filter((target) => ![room, ...allowed].includes(roomOf(target) ?? target))
          .map((target) => `${file} imports ${target}`),
      );
      expect(wrong).toEqual([]);
    },
  );

  test('when every file is looked at, then it is in a room', () => {
    expect(FILES.filter((file) => roomOf(file) === undefined)).toEqual([]);
  });

  test('when imports are followed, then every one of ours leads to a file', () => {
    const targets = new Set(FILES.flatMap(importsOf).filter(isOurs));
    expect(targets.size).toBeGreaterThan(100);
    expect([...targets].filter((target) => !existsSync(join(ROOT, target)))).toEqual([]);
  });
});

/** The rooms that a file reaches, and the files. */
function reached(file: string): { files: string[]; rooms: Set<string | undefined> } {
  const files = [...reach(file)];
  return { files, rooms: new Set(files.map(roomOf)) };
}

describe('roles', () => {
  test.each([
    'src/ckks/server.ts',
    'src/service/server-process.ts',
    'src/service/evaluators/worker-process.ts',
  ])('when the server is followed from %s, then it never reaches the secret room or the client', (file) => {
    const { files, rooms } = reached(file);
    expect(rooms).toContain(EVALUATOR);
    expect(rooms).toContain('src/ckks/evaluator/fast');
    expect(rooms).not.toContain('src/ckks/secret');
    expect(rooms).not.toContain('src/client');
    expect(files).not.toContain('src/ckks/client.ts');
    for (const reachedFile of files.filter((f) => f !== 'src/ckks/seal/seal.ts'))
      expect(readFileSync(join(ROOT, reachedFile), 'utf8')).not.toMatch(/SecretKey|Decryptor|KeyGenerator/);
  });

  test.each(['src/service/http/app.ts', 'src/service/nats/evaluators.ts'])(
    'when the front door is followed from %s, then it reaches no secret, no client and nothing that computes',
    (file) => {
      const { rooms } = reached(file);
      expect(rooms).toContain(WIRE);
      for (const room of ['src/ckks/secret', 'src/client', EVALUATOR, CIRCUIT, 'src/ckks/planner'])
        expect(rooms).not.toContain(room);
    },
  );

  test('when the client is followed, then it never reaches the weights, the planner or the server', () => {
    const { rooms } = reached('src/ckks/client.ts');
    expect([...rooms].sort()).toEqual([
      'src/ckks',
      KEYSWITCH,
      RING,
      SEAL,
      'src/ckks/secret',
      WIRE,
      'src/digest.ts',
      'src/ecg',
      'src/errors.ts',
      'src/schema.ts',
    ]);
    expect([...reach('src/ckks/client.ts')].filter((file) => roomOf(file) === 'src/ckks')).toEqual([
      'src/ckks/client.ts',
    ]);
  });

  test('when a session is followed, then it knows no plan, no weights and no process', () => {
    const { files, rooms } = reached('src/client/session.ts');
    expect([...rooms].sort()).toEqual([
      'src/ckks',
      KEYSWITCH,
      RING,
      SEAL,
      'src/ckks/secret',
      WIRE,
      'src/client',
      'src/digest.ts',
      'src/ecg',
      'src/errors.ts',
      'src/measure',
      'src/schema.ts',
    ]);
    expect(files.filter((file) => roomOf(file) === 'src/client').sort()).toEqual([
      'src/client/session.ts',
      'src/client/transport.ts',
    ]);
    expect(files.flatMap(importsOf).filter((target) => target.startsWith('node:'))).toEqual([]);
  });

  test('when the client library is followed, then a browser can load all of it, and no weights come along', () => {
    const { files, rooms } = reached('src/client.ts');
    expect(files).toContain('src/client/remote-client.ts');
    for (const room of [EVALUATOR, CIRCUIT, 'src/ckks/planner', 'src/service', 'src/files'])
      expect(rooms).not.toContain(room);
    expect(files.filter((file) => roomOf(file) === 'src/model')).toEqual(['src/model/classify.ts']);
    expect(files.flatMap(importsOf).filter((target) => target.startsWith('node:'))).toEqual([]);
  });

  test('when SEAL as the server sees it is typed, then it has no secret key', () => {
    type Forbidden = Extract<keyof ServerModule, 'SecretKey' | 'KeyGenerator' | 'Decryptor'>;
    const none: [Forbidden] extends [never] ? true : false = true; // does not compile otherwise
    expect(none).toBe(true);
  });
});

describe('doors', () => {
  const usersOf = (use: RegExp) => SOURCES.filter((file) => use.test(readFileSync(join(ROOT, file), 'utf8')));

  test('when files are read, then by the one reader; ours, and what is downloaded, aside', () => {
    const readers = usersOf(
      /\{[^}]*\b(?:open|openSync|readFile|readFileSync|createReadStream)\b[^}]*\} from 'node:fs|\.readFile\(/,
    );
    expect(readers.filter((file) => !file.startsWith('src/dataset/download/')).sort()).toEqual([
      'src/ckks/seal/seal.ts', // node-seal's module
      'src/files/append.ts',
      'src/files/input.ts',
      'src/files/output.ts',
      'src/measure/version.ts', // our package.json
    ]);
  });

  test('when something is written to a terminal, then by the one that cleans it', () => {
    expect(usersOf(/std(?:out|err)\.write|console\./)).toEqual(['src/cli/terminal/io.ts']);
  });
});

describe('fuzzing', () => {
  const files = filesUnder('fuzz');

  test("when its files are read, then they import the product, its tests' random models and themselves", () => {
    const targets = files.flatMap(importsOf).filter((target) => !target.startsWith('node:'));
    const foreign = targets.filter((target) => !/^(src|fuzz)\//.test(target));
    expect([...new Set(foreign)]).toEqual(['test/helpers/random-model.ts']);
  });

  test('when its oracles are read, then they import nothing of what they judge', () => {
    const oracles = files.filter((file) => file.endsWith('oracle.ts') || file.endsWith('oracles.ts'));
    expect(oracles.length).toBe(3);
    expect(oracles.flatMap(importsOf).filter((target) => !/^(fuzz\/|node:crypto)/.test(target))).toEqual([]);
  });

  test('when the product is read, then nothing of it imports fuzzing', () => {
    expect(FILES.flatMap(importsOf).filter((target) => isIn(target, 'fuzz'))).toEqual([]);
  });
});

describe('packages', () => {
  const importersOf = (prefix: string, files = SOURCES) =>
    files.filter((file) => importsOf(file).some((target) => target.startsWith(prefix)));

  test('when node-seal is looked for, then one file imports it', () => {
    expect(importersOf('node-seal', FILES)).toEqual(['src/ckks/seal/seal.ts']);
  });

  test.each([
    ['mathjs', 'src/approx/expressions.ts'],
    ['ml-matrix', 'src/approx/remez.ts'],
    ['vega', 'src/charts/svg.ts'],
  ])('when %s is looked for at run time, then %s alone imports it', (name, file) => {
    const importers = SOURCES.filter((source) =>
      [...readFileSync(join(ROOT, source), 'utf8').matchAll(/(?:from|import\()\s*'([^']+)'/g)].some(
        ([statement, target]) => target.split('/')[0] === name && !statement.startsWith('import type'),
      ),
    );
    expect(importers).toEqual([file]);
  });

  test('when TensorFlow.js is looked for, then training imports it and nothing of src does', () => {
    expect(importersOf('@tensorflow', FILES)).not.toEqual([]);
    expect(importersOf('@tensorflow')).toEqual([]);
  });

  test('when Node modules are looked for, then only rooms that a browser does not load import them', () => {
    const users = importersOf('node:');
    expect(users.filter((file) => !NODE_ONLY.some((room) => isIn(file, room)))).toEqual([]);
    expect(NODE_ONLY.filter((room) => !users.some((file) => isIn(file, room)))).toEqual([]);
  });
});
