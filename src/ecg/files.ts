import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { BlindbeatError } from '../errors.ts';
import { parseCsv } from './csv.ts';
import type { Recording } from './recording.ts';
import { decodeWfdb, parseHeader } from './wfdb.ts';

/** What a file does not say. */
export interface ReadOptions {
  /** Samples per second of a CSV file without a time column. */
  rate?: number;
}

const TABLES = ['.csv', '.tsv', '.txt'];
const WFDB = ['.hea', '.mat', '.dat'];

/**
 * Reads an ECG: a WFDB record by its `.hea`, `.mat`, `.dat` or its name without an extension, or a table of
 * numbers (`.csv`, `.tsv`, `.txt`).
 *
 * @throws BlindbeatError FILE if there is no such file, ECG if it cannot be understood
 */
export async function readRecording(path: string, options: ReadOptions = {}): Promise<Recording> {
  const extension = extname(path).toLowerCase();
  if (TABLES.includes(extension)) {
    const text = new TextDecoder().decode(await read(path, 'an ECG'));
    return parseCsv(text, { name: basename(path), rate: options.rate });
  }
  if (extension === '.hea') return readWfdb(path);
  if (WFDB.includes(extension)) {
    await read(path, 'an ECG');
    return readWfdb(`${path.slice(0, -extension.length)}.hea`);
  }
  if (await exists(`${path}.hea`)) return readWfdb(`${path}.hea`);
  if (await exists(path)) {
    throw new BlindbeatError(
      'ECG',
      `${path}: unknown kind of file. Expected ${[...WFDB, ...TABLES].join(', ')}, or the name of a WFDB record.`,
    );
  }
  throw new BlindbeatError(
    'FILE',
    `There is no ECG at ${path} (nor ${path}.hea). Expected ${[...WFDB, ...TABLES].join(', ')}, or the name of a WFDB record.`,
  );
}

async function readWfdb(path: string): Promise<Recording> {
  const header = parseHeader(new TextDecoder().decode(await read(path, 'a WFDB header')));
  const files = new Map<string, Uint8Array>();
  for (const name of new Set(header.signals.map((s) => s.file))) {
    files.set(name, await read(join(dirname(path), name), `the signal file that ${basename(path)} names`));
  }
  return decodeWfdb(header, files);
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() ?? false;
}

async function read(path: string, what: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code;
    const problem = reason === 'ENOENT' ? 'there is no such file' : `it cannot be read (${reason})`;
    throw new BlindbeatError('FILE', `Expected ${what} at ${path}: ${problem}. Check the path.`, { cause });
  }
}
