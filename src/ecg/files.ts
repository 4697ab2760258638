import { basename, dirname, extname, join } from 'node:path';
import { BlindbeatError } from '../errors.ts';
import { isFile, readHead, readWhole } from '../files/input.ts';
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
/** No text or record of one lead is larger; a day at 1000 Hz as CSV is not either. */
const MOST_ECG_BYTES = 500e6;
/** Hundreds of leads, with comments. */
const MOST_HEADER_BYTES = 100e3;

/**
 * Reads an ECG: a WFDB record by its `.hea`, `.mat`, `.dat` or its name without an extension, or a table of
 * numbers (`.csv`, `.tsv`, `.txt`).
 *
 * @throws BlindbeatError FILE if there is no such file or it is no ordinary one, ECG if it is larger than any
 * ECG or cannot be understood
 */
export async function readRecording(path: string, options: ReadOptions = {}): Promise<Recording> {
  const extension = extname(path).toLowerCase();
  if (TABLES.includes(extension)) {
    const text = new TextDecoder().decode(await readEcg(path, 'an ECG'));
    return parseCsv(text, { name: basename(path), rate: options.rate });
  }
  if (extension === '.hea') return readWfdb(path);
  if (WFDB.includes(extension)) {
    await readHead(path, 0, { what: 'an ECG' }); // it must be there, whatever the header names
    return readWfdb(`${path.slice(0, -extension.length)}.hea`);
  }
  if (isFile(`${path}.hea`)) return readWfdb(`${path}.hea`);
  if (isFile(path)) {
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
  const text = await readWhole(path, { what: 'a WFDB header', limit: MOST_HEADER_BYTES, tooLarge: 'ECG' });
  const header = parseHeader(new TextDecoder().decode(text));
  const files = new Map<string, Uint8Array>();
  for (const name of new Set(header.signals.map((s) => s.file))) {
    files.set(name, await readEcg(join(dirname(path), name), `the signal file that ${basename(path)} names`));
  }
  return decodeWfdb(header, files);
}

async function readEcg(path: string, what: string): Promise<Uint8Array> {
  return readWhole(path, { what, limit: MOST_ECG_BYTES, tooLarge: 'ECG' });
}
