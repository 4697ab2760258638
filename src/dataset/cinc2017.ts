import type { Recording } from '../ecg/recording.ts';
import { decodeWfdb, parseHeader } from '../ecg/wfdb.ts';
import { BlindbeatError } from '../errors.ts';

/** The labels of the PhysioNet/CinC Challenge 2017: normal, atrial fibrillation, other rhythm, noise. */
export const CINC_CLASSES = ['N', 'A', 'O', '~'] as const;
export type CincClass = (typeof CINC_CLASSES)[number];

/** One record of the set, read when it is asked for. */
export interface DatasetRecord {
  id: string;
  label: CincClass;
  recording(): Recording;
}

/** The bytes of a data set's files by name, wherever they lie: a folder, a zip file. */
export interface FileSource {
  has(name: string): boolean;
  read(name: string): Uint8Array;
}

/**
 * Parses `REFERENCE-v3.csv`: one line `A00001,N` per record, no header.
 *
 * @throws BlindbeatError ECG with the number of the line that does not fit
 */
export function parseReference(text: string): Map<string, CincClass> {
  const labels = new Map<string, CincClass>();
  text.split(/\r?\n/).forEach((line, i) => {
    if (line.trim() === '') return;
    const [id, label] = line.split(',').map((field) => field.trim());
    if (!/^\w+$/.test(id) || !CINC_CLASSES.includes(label as CincClass)) {
      throw new BlindbeatError(
        'ECG',
        `REFERENCE-v3.csv, line ${i + 1}: expected a record and its label (${CINC_CLASSES.join(', ')}), such as "A00001,N".`,
      );
    }
    labels.set(id, label as CincClass);
  });
  return labels;
}

/** The labelled records that `source` holds, by id, and the ids of those that it lacks. */
export function listRecords(source: FileSource, labels: Map<string, CincClass>) {
  const records: DatasetRecord[] = [];
  const missing: string[] = [];
  for (const [id, label] of [...labels].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!source.has(`${id}.hea`) || !source.has(`${id}.mat`)) {
      missing.push(id);
      continue;
    }
    records.push({
      id,
      label,
      recording: () => {
        const header = parseHeader(new TextDecoder().decode(source.read(`${id}.hea`)));
        return decodeWfdb(header, new Map([[`${id}.mat`, source.read(`${id}.mat`)]]));
      },
    });
  }
  return { records, missing };
}
