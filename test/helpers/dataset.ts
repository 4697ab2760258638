import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Id, label, and the signal in mV at 300 Hz. */
export type TestRecord = [string, string, Float64Array];

/** A record's files as PhysioNet's are: a WFDB header and a MATLAB v4 file of whole microvolts. */
export function recordFiles([id, , mv]: TestRecord): Record<string, Uint8Array> {
  const bytes = Buffer.alloc(24 + 2 * mv.length);
  for (const [i, field] of [30, 1, mv.length, 0, 4].entries()) bytes.writeInt32LE(field, 4 * i);
  bytes.write('val\0', 20, 'latin1');
  mv.forEach((x, i) => {
    bytes.writeInt16LE(Math.round(1000 * x), 24 + 2 * i);
  });
  const header = `${id} 1 300 ${mv.length}\n${id}.mat 16+24 1000/mV 16 0 0 0 0 ECG\n`;
  return { [`${id}.hea`]: new TextEncoder().encode(header), [`${id}.mat`]: bytes };
}

/** REFERENCE-v3.csv */
export function referenceText(records: TestRecord[]): string {
  return records.map(([id, label]) => `${id},${label}\n`).join('');
}

/** A folder laid out as the CinC 2017 set, with its labels. */
export function writeDataset(at: string, records: TestRecord[]): void {
  mkdirSync(at, { recursive: true });
  for (const record of records) {
    for (const [name, bytes] of Object.entries(recordFiles(record))) writeFileSync(join(at, name), bytes);
  }
  writeFileSync(join(at, 'REFERENCE-v3.csv'), referenceText(records));
}

/** What is left of a signal in such a file, in mV. */
export function quantised(mv: Float64Array): Float64Array {
  return mv.map((x) => Math.round(1000 * x) / 1000);
}
