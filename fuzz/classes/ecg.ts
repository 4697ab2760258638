/** Cases of ECG files: tables of numbers and WFDB records. */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readRecording } from '../../src/ecg/files.ts';
import { DEFAULT_PREPROCESSING, prepareSegment } from '../../src/ecg/preprocess.ts';
import type { Random } from '../../src/ecg/random.ts';
import { type Recording, selectLead } from '../../src/ecg/recording.ts';
import { synthesise, toCsv } from '../../src/ecg/synth.ts';
import { BlindbeatError } from '../../src/errors.ts';
import { directed, pick, randomBytes, type Subject, type Trial } from '../trial.ts';

const FIXTURES = join(import.meta.dirname, '../../test/ecg/fixtures');
const TABLES = ['.csv', '.tsv', '.txt'];
/** Longer recordings are read, and only some of them prepared. */
const MOST_LEADS = 4;

type Files = Record<string, Uint8Array>;
/** Files of one recording, and which of them is opened. */
interface Record_ {
  files: Files;
  open: string;
}

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder('latin1').decode(bytes);

const FIELDS = [
  ...[
    '',
    '0',
    '-0',
    '1e999',
    '-1e999',
    '1e-999',
    'NaN',
    'nan',
    'Infinity',
    '0x10',
    '1_000',
    '1,5',
    '.',
    '-',
    '1e',
    '٣',
  ],
  ...[
    '"1"',
    "'1'",
    '=1+1',
    '\u202e1',
    '1\u00a0',
    '\u0000',
    '1'.repeat(400),
    '0.'.concat('0'.repeat(400), '1'),
    '-32768',
  ],
  ...['😀', '\u001b[31m', '1e308', '5e-324', '045', '--1', '+1', '１'],
];

/** Changes of text, line by line. */
const TABLE_CHANGES: Record<string, (text: string, random: Random) => string | Uint8Array> = {
  'nothing changed': (text) => text,
  'a field changed': (text, random) => field(text, random, () => pick(random, FIELDS)),
  'several fields changed': (text, random) =>
    [1, 2, 3].reduce((t) => field(t, random, () => pick(random, FIELDS)), text),
  'separators changed': (text, random) =>
    text.replaceAll(
      pick(random, [',', '\t', ' ', '\n']),
      pick(random, [';', ',', '\t', ' ', '|', '\r', '\u2028', ',,']),
    ),
  'decimal commas': (text, random) =>
    text.replaceAll(',', pick(random, [';', '\t', ','])).replaceAll('.', ','),
  'a line removed': (text, random) => lines(text, random, (all, at) => all.splice(at, 1)),
  'a line twice': (text, random) => lines(text, random, (all, at) => all.splice(at, 0, all[at])),
  'lines in another order': (text, random) => random.shuffle(text.split('\n')).join('\n'),
  'a title in between': (text, random) => lines(text, random, (all, at) => all.splice(at, 0, 'time,ECG')),
  'titles with units': (text, random) => `${title(random)}\n${text}`,
  'titles over two lines': (text, random) => `${title(random)}\n${title(random)}\n${text}`,
  'a title that a terminal obeys': (text) => `time [s],\u001b[2J\u202eECG [mV]\n${numbers(text)}`,
  'a title of many brackets': (text) => `time [s],${'['.repeat(30_000)}\n${numbers(text)}`,
  'a title of many blanks': (text) => `time [s],x${' '.repeat(60_000)}x\n${numbers(text)}`,
  'a title of many quotes': (text) => `time [s],${'"'.repeat(60_000)}x\n${numbers(text)}`,
  'a number of very many digits': (text) => `${numbers(text)}\n${'1'.repeat(100_000)}x,1\n`,
  'a number of very many zeros behind the point': (text) => `${numbers(text)}\n0.${'0'.repeat(200_000)}x,1\n`,
  'one very long line': () => `${'1,'.repeat(200_000)}1\n`,
  'very many columns': () => `${'1,'.repeat(50_000)}1\n${'2,'.repeat(50_000)}2\n`,
  'very many short lines': () => '0\n1\n'.repeat(100_000),
  'very many comments': (text) => `${'#\n'.repeat(100_000)}${text}`,
  'only blanks': () => ' \t\n'.repeat(50_000),
  'only separators': () => ',;\t'.repeat(50_000),
  'times backwards': (text) => text.split('\n').reverse().join('\n'),
  'times that stand still': () => Array.from({ length: 2000 }, (_, i) => `0,${Math.sin(i)}`).join('\n'),
  'times of almost nothing apart': () =>
    Array.from({ length: 2000 }, (_, i) => `${i * 1e-12},${Math.sin(i)}`).join('\n'),
  'times beyond all': () => Array.from({ length: 20 }, (_, i) => `${i}e307,${Math.sin(i)}`).join('\n'),
  'values beyond all': () =>
    Array.from({ length: 6000 }, (_, i) => `${i / 300},${i % 2 ? '' : '-'}1e308`).join('\n'),
  'volts beyond all': () =>
    `time [s],ECG [V]\n${Array.from({ length: 6000 }, (_, i) => `${i / 300},${i % 2 ? '' : '-'}1e307`).join('\n')}`,
  'infinite values': () =>
    Array.from({ length: 6000 }, (_, i) => `${i / 300},${i === 5 ? '1e999' : Math.sin(i)}`).join('\n'),
  'values of almost nothing': () =>
    Array.from({ length: 6000 }, (_, i) => `${i / 300},${i % 7}e-320`).join('\n'),
  'cut off': (text, random) => text.slice(0, random.below(text.length)),
  'a byte changed': (text, random) => {
    const bytes = encode(text);
    bytes[random.below(bytes.length)] = random.below(256);
    return bytes;
  },
  'bytes at random': (_, random) => randomBytes(random, random.below(2000)),
  'UTF-16': (text) => new Uint8Array(Buffer.from(`\ufeff${text}`, 'utf16le')),
  'a byte-order mark': (text) => `\ufeff${text}`,
  empty: () => '',
};

/** Changes of a WFDB header. */
const HEADER_CHANGES: Record<string, (text: string, random: Random) => string> = {
  'a field of the header changed': (text, random) => headerField(text, random),
  'several fields of the header changed': (text, random) =>
    [1, 2, 3].reduce((t) => headerField(t, random), text),
  'a header line removed': (text, random) => lines(text, random, (all, at) => all.splice(at, 1)),
  'a header line twice': (text, random) => lines(text, random, (all, at) => all.splice(at, 0, all[at])),
  'a header cut off': (text, random) => text.slice(0, random.below(text.length)),
  'a gain of almost nothing': (text) => text.replace(/ \d[\d.]*(\(-?\d+\))?\/mV/g, ' 1e-320$1/mV'),
  'a gain beyond all': (text) => text.replace(/ \d[\d.]*(\(-?\d+\))?\/mV/g, ' 1e308$1/V'),
  'a baseline beyond all': (text) => text.replace(/ \d[\d.]*(\(-?\d+\))?\/mV/g, ` 1(${'9'.repeat(400)})/mV`),
  'a unit that a terminal obeys': (text) => text.replaceAll('/mV', '/\u001b[2J\u202e'),
  'a signal that a terminal obeys': (text) => text.replace(/^(\S+ \S+ .*)$/gm, '$1 \u001b[2J\u202e'),
  'a file that a terminal obeys': (text) => text.replace(/\S+\.(dat|mat)/g, '\u001b[2J\u202e.dat'),
  'a record name that a terminal obeys': (text) =>
    text.replace(/^\S+/, '\u001b[2J\u202e').replaceAll('/mV', '/kg'),
  'very many samples': (text) => text.replace(/^(\S+ \S+ \S+) \S+/, '$1 9007199254740991'),
  'more samples than numbers have digits for': (text) =>
    text.replace(/^(\S+ \S+ \S+) \S+/, `$1 ${'9'.repeat(400)}`),
  'no number of samples': (text) => text.replace(/^(\S+ \S+ \S+) \S+/, '$1'),
  'an offset beyond all': (text) => text.replace(/ (16|212)(\+\d+)? /g, ' $1+9007199254740991 '),
  'very many signals': (text) => many(text, 4000),
  'very many signals, and one file for each': (text) =>
    many(text, 4000, (line, i) => line.replace(/^\S+/, `x${i}.dat`)),
  'very many signals announced': (text) => text.replace(/^(\S+) \S+/, '$1 4294967295'),
  'a file in another folder': (text) => text.replace(/\S+\.(dat|mat)/g, '../$&'),
  'a file of the system': (text) => text.replace(/\S+\.(dat|mat)/g, '/etc/passwd'),
  'the header as its own signal': (text) => text.replace(/\S+\.(dat|mat)/g, 'x.hea'),
  'a name of very many characters': (text) => text.replace(/^\S+/, 'x'.repeat(200_000)),
  'a file name of very many characters': (text) => text.replace(/\S+\.(dat|mat)/g, `${'x'.repeat(5000)}.dat`),
  'blanks without end': (text) => text.replaceAll(' ', ' '.repeat(3000)),
  'another rate': (text, random) =>
    text.replace(
      /^(\S+ \S+) \S+/,
      `$1 ${pick(random, ['0', '-1', '1e999', 'NaN', '1e-300', '1e300', '99.9', '2001', '360/1(0)'])}`,
    ),
};

/** Changes of a signal file. */
const DATA_CHANGES: Record<string, (bytes: Uint8Array, random: Random) => Uint8Array> = {
  'signals cut off': (bytes, random) => bytes.slice(0, random.below(bytes.length)),
  'signals longer': (bytes, random) =>
    new Uint8Array(Buffer.concat([bytes, randomBytes(random, 1 + random.below(50))])),
  'signals at random': (bytes, random) => randomBytes(random, bytes.length),
  'signals all missing': (bytes) => bytes.map((_, i) => (i % 2 ? 0x80 : 0)),
  'no signals': () => new Uint8Array(),
};

function field(text: string, random: Random, value: () => string): string {
  return lines(text, random, (all, at) => {
    const parts = all[at].split(/([,;\t ]+)/);
    parts[2 * random.below((parts.length + 1) / 2)] = value();
    all[at] = parts.join('');
  });
}

function headerField(text: string, random: Random): string {
  const wild = [
    '-1',
    '0',
    '1e999',
    '212',
    '16',
    '80',
    '16x2',
    '16:1',
    '16+1',
    '200',
    '0/mV',
    '1(0)/uV',
    '-5/V',
    'x/y',
    '~',
    '-',
    '#',
  ];
  return field(text, random, () => pick(random, random.below(2) ? wild : FIELDS));
}

function lines(text: string, random: Random, change: (all: string[], at: number) => void): string {
  const all = text.split('\n');
  change(all, random.below(Math.min(all.length, random.below(2) ? 4 : all.length)));
  return all.join('\n');
}

function title(random: Random): string {
  const names = ['time', 't', 'ECG', 'II', '', '[', '"x', 'Zeit', '__proto__'];
  const units = ['s', 'ms', 'mV', 'uV', 'V', 'kg', '', 'constructor', 'µV', '__proto__'];
  const one = () =>
    `${pick(random, names)} ${pick(random, ['[%]', '(%)', '%', '[%', '%)']).replace('%', pick(random, units))}`;
  return Array.from({ length: 1 + random.below(3) }, one).join(',');
}

/** The lines of a table that begin with a number. */
function numbers(text: string): string {
  return text
    .split('\n')
    .filter((line) => /^[-\d.]/.test(line))
    .join('\n');
}

function many(text: string, count: number, each = (line: string, _: number) => line): string {
  const [record, signal] = text.split('\n');
  const head = record.split(' ');
  head[1] = String(count);
  return [head.join(' '), ...Array.from({ length: count }, (_, i) => each(signal ?? '', i))].join('\n');
}

/** Good and bad recordings: the fixtures of the tests, and synthetic ones. */
function seeds(): { tables: Record_[]; records: Record_[] } {
  const names = readdirSync(FIXTURES);
  const of = (...files: string[]): Record_ => ({
    files: Object.fromEntries(
      files.map((name) => [name, new Uint8Array(readFileSync(join(FIXTURES, name)))]),
    ),
    open: files[0],
  });
  const tables = names.filter((name) => TABLES.some((end) => name.endsWith(end))).map((name) => of(name));
  const records = names
    .filter((name) => name.endsWith('.hea'))
    .map((name) => {
      const text = readFileSync(join(FIXTURES, name), 'latin1');
      return of(
        name,
        ...new Set((text.match(/^\S+\.(dat|mat)/gm) ?? []).filter((file) => names.includes(file))),
      );
    });
  const recording = synthesise({ rhythm: 'normal', seconds: 20, rate: 200, seed: 1 });
  const { mv } = recording.leads[0];
  const stored = new Uint8Array(Int16Array.from(mv, (x) => Math.round(1000 * x)).buffer);
  const header = `synth 1 200 ${mv.length}\nsynth.dat 16 1000(0)/mV 16 0 0 0 0 ECG\n`;
  const synthetic = { open: 'synth.hea', files: { 'synth.hea': encode(header), 'synth.dat': stored } };
  const table = { open: 'synth.csv', files: { 'synth.csv': encode(toCsv(recording)) } };
  // The synthetic ones are long enough for a segment, so they come up as often as all fixtures together.
  return {
    tables: [...tables, ...tables.map(() => table)],
    records: [...records, ...records.map(() => synthetic)],
  };
}

/** Recordings, as files in a folder that each case has for itself. */
export async function openEcg(): Promise<Subject> {
  const root = mkdtempSync(join(tmpdir(), 'blindbeat-fuzz-'));
  const folder = join(root, 'case');
  const { tables, records } = seeds();
  const special = specialFiles(join(root, 'special'));
  const tableChanges = Object.keys(TABLE_CHANGES);
  const recordChanges = [...Object.keys(HEADER_CHANGES), ...Object.keys(DATA_CHANGES)];
  const first = [...Object.keys(special), ...tableChanges, ...recordChanges];

  const make = (index: number, random: Random): { attack: string; record: Record_; format: string } => {
    const rare = [...tableChanges.slice(0, 9), ...recordChanges.slice(0, 6)];
    const attack = directed(random, index, first, 0.05) ?? pick(random, random.below(4) ? rare : first);
    const fixed = index < first.length;
    if (attack in TABLE_CHANGES) {
      const seed = fixed ? tables[tables.length - 1] : pick(random, tables);
      const made = TABLE_CHANGES[attack](decode(seed.files[seed.open]), random);
      const name = random.next() < 0.1 ? `x${pick(random, TABLES)}` : seed.open;
      const content = typeof made === 'string' ? encode(made) : made;
      return { attack, format: 'table', record: { open: name, files: { [name]: content } } };
    }
    const seed = fixed ? records[records.length - 1] : pick(random, records);
    const [hea, ...data] = Object.keys(seed.files);
    const files = { ...seed.files };
    if (attack in HEADER_CHANGES) files[hea] = encode(HEADER_CHANGES[attack](decode(files[hea]), random));
    else for (const name of data) files[name] = DATA_CHANGES[attack]?.(files[name], random) ?? files[name];
    return { attack, format: 'WFDB record', record: { open: hea, files } };
  };

  return {
    trial: (index, random): Trial => {
      const codes = ['ECG', 'FILE'];
      if (index < Object.keys(special).length) {
        const attack = first[index];
        const expected = () => ({ must: 'refuse', why: 'no ordinary file' }) as const;
        return { format: 'no file', attack, codes, act: () => readRecording(special[attack]), expected };
      }
      const { attack, format, record } = make(index, random);
      const rate = random.below(4) === 0 ? 250 : undefined;
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder);
      for (const [name, bytes] of Object.entries(record.files)) writeFileSync(join(folder, name), bytes);
      const bytes = Object.values(record.files).reduce((sum, file) => sum + file.length, 0);
      return {
        attack,
        format,
        codes,
        act: async () => {
          const recording = await readRecording(join(folder, record.open), { rate });
          return { recording, prepared: segments(recording) };
        },
        expected: () => ({
          must: 'either',
          why: 'finite samples, a rate, a segment within its bounds or none',
        }),
        inspect: (result) => {
          const { recording, prepared } = result as { recording: Recording; prepared: string | null };
          return recordingProblem(recording, bytes) ?? prepared ?? nameProblem(recording);
        },
      };
    },
    control: async () => {
      const { open, files } = records[records.length - 1];
      for (const [name, bytes] of Object.entries(files)) writeFileSync(join(root, name), bytes);
      const { leads, rate } = await readRecording(join(root, open));
      return rate === 200 && leads[0].mv.length === 4000 ? null : 'a good record is read otherwise';
    },
    resources: () => ({ handles: 0, kernelBytes: 0 }),
    renew: async () => {},
    close: () => rmSync(root, { recursive: true }),
  };
}

/** What is wrong with the segments of a recording, or null; that there is none is no fault. */
function segments({ leads, rate }: Recording): string | null {
  const p = DEFAULT_PREPROCESSING;
  for (const { mv } of leads.slice(0, MOST_LEADS)) {
    try {
      const { samples } = prepareSegment(mv, rate, p);
      const energy = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
      if (samples.length !== p.samples || !samples.every((x) => Math.abs(x) <= p.bound))
        return 'a segment out of its bounds';
      if (!(Math.sqrt(energy) <= p.rmsLimit)) return 'a segment with more than its rms';
    } catch (error) {
      if (!(error instanceof BlindbeatError && error.code === 'ECG')) throw error;
    }
  }
  return null;
}

function recordingProblem({ rate, leads }: Recording, bytes: number): string | null {
  if (!(rate > 0 && Number.isFinite(rate))) return 'a rate that is none';
  if (leads.length === 0) return 'no lead';
  if (leads.some(({ mv }) => mv.length !== leads[0].mv.length)) return 'leads of different lengths';
  const samples = leads.reduce((sum, { mv }) => sum + mv.length, 0);
  if (samples > bytes) return `${samples} samples out of ${bytes} bytes`;
  const infinite = leads.some(({ mv }) => mv.some((x) => Math.abs(x) === Number.POSITIVE_INFINITY));
  return infinite ? 'samples that are infinite: only NaN may stand for a missing one' : null;
}

/** Whether the message about a lead that there is not repeats names as they are. */
function nameProblem(recording: Recording): string | null {
  try {
    selectLead(recording, 'no such lead');
    return null;
  } catch (error) {
    const raw = /[^\p{L}\p{M}\p{N}\p{P}\p{S} \n]/u.test((error as Error).message);
    return raw ? 'the names of leads reach the message as they are' : null;
  }
}

/** What is at a path and is no ordinary file. */
function specialFiles(root: string): Record<string, string> {
  mkdirSync(root);
  const at = (name: string) => join(root, name);
  mkdirSync(at('folder.csv'));
  symlinkSync(at('loop.csv'), at('loop.csv'));
  symlinkSync(at('nowhere'), at('broken.csv'));
  writeFileSync(at('data.hea'), 'data 1 200 100\nfolder.csv 16 200\n');
  const always = {
    'a folder': at('folder.csv'),
    'a link to itself': at('loop.csv'),
    'a link to nothing': at('broken.csv'),
    'signals that are a folder': at('data.hea'),
  };
  if (!existsSync('/dev/zero')) return always;
  for (const name of ['zero.csv', 'zero.hea', 'zero.dat']) symlinkSync('/dev/zero', at(name));
  for (const name of ['pipe.csv', 'pipe.hea', 'pipe.dat']) execFileSync('mkfifo', [at(name)]);
  writeFileSync(at('endless.hea'), 'endless 1 200\nzero.dat 16 200\n');
  writeFileSync(at('waiting.hea'), 'waiting 1 200\npipe.dat 16 200\n');
  return {
    ...always,
    'a table that never ends': at('zero.csv'),
    'a header that never ends': at('zero.hea'),
    'signals that never end': at('endless.hea'),
    'a table that is a pipe': at('pipe.csv'),
    'a header that is a pipe': at('pipe.hea'),
    'signals that are a pipe': at('waiting.hea'),
  };
}
