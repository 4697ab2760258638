import type { Recording } from '../ecg/recording.ts';
import { decodeWfdb, parseHeader } from '../ecg/wfdb.ts';
import { BlindbeatError } from '../errors.ts';

/** The labels of the PhysioNet/CinC Challenge 2017: normal, atrial fibrillation, other rhythm, noise. */
export const CINC_CLASSES = ['N', 'A', 'O', '~'] as const;
/** One of `CINC_CLASSES`. */
export type CincClass = (typeof CINC_CLASSES)[number];

/** One record of the set. */
export interface DatasetRecord {
  /** Such as `A00001`. */
  id: string;
  label: CincClass;
  /**
   * Reads the record, anew at each call.
   *
   * @throws BlindbeatError ECG if its files are no record in the set's format
   */
  recording(): Recording;
}

/** The bytes of a data set's files by name, wherever they lie: a folder, a zip file. */
export interface FileSource {
  /** Names have no folder: `A00001.hea`. */
  has(name: string): boolean;
  read(name: string): Uint8Array;
}

/**
 * Parses `REFERENCE-v3.csv`, one line `A00001,N` per record and no header, into labels by id.
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
        `REFERENCE-v3.csv, line ${i + 1}: expected a record and its label (${CINC_CLASSES.join(', ')}), ` +
          'such as "A00001,N".',
      );
    }
    labels.set(id, label as CincClass);
  });
  return labels;
}

/** A data set as it was found. */
export interface Dataset {
  /** In the order of their ids. */
  records: DatasetRecord[];
  /** Ids that the reference labels but the set does not hold. */
  missing: string[];
}

/** Sorts labelled records into those that `source` holds, header and signal, and those that it lacks. */
export function listRecords(source: FileSource, labels: Map<string, CincClass>): Dataset {
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
