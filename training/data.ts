import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDataset } from '../src/dataset/open.ts';
import { type PartName, partFinder, type Split } from '../src/dataset/split.ts';
import { conditionSignal, type Preprocessing, prepareSegment } from '../src/ecg/preprocess.ts';
import { selectLead } from '../src/ecg/recording.ts';
import { BlindbeatError } from '../src/errors.ts';
import { makeFolder, OutputFiles } from '../src/files/output.ts';

/** A data set made ready for training: read once, then kept in a cache folder. */
export interface Corpus {
  records: CorpusRecord[];
  /** All conditioned records (mV at the network's rate), one after the other: for augmentation. */
  signals: Float32Array;
  /** [records][samples]: what `prepareSegment` makes of each record, the very path of the client. */
  segments: Float32Array;
  /** Records that `prepareSegment` refuses, with the reason. */
  refused: { name: string; reason: string }[];
}

/** One recording of the corpus. */
export interface CorpusRecord {
  name: string;
  label: string;
  /** Where the record lies in `signals`. */
  offset: number;
  length: number;
  /** SHA-256 of the conditioned record: equal records are kept on one side of a split. */
  content: string;
}

/** Raised whenever this file or src/ecg would make other numbers of the same data. */
const CACHE_VERSION = 1;

/**
 * Reads and conditions every record of the data set at `data`, or takes them from `cache`, a folder of about
 * 250 MB that this function writes. `onProgress` receives records done and in all.
 *
 * @throws BlindbeatError ENVIRONMENT if there is no data set, ECG for labels or records that do not fit, FILE
 * if `cache` cannot be written
 */
export async function loadCorpus(
  data: string,
  p: Preprocessing,
  cache: string,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<Corpus> {
  const { records } = openDataset(data);
  const key = createHash('sha256')
    .update(JSON.stringify([CACHE_VERSION, p, records.map((r) => [r.id, r.label])]))
    .digest('hex')
    .slice(0, 16);
  const file = (name: string) => join(cache, `corpus-${key}.${name}`);
  if (existsSync(file('json'))) {
    const index = JSON.parse(readFileSync(file('json'), 'utf8')) as Pick<Corpus, 'records' | 'refused'>;
    return { ...index, signals: readFloats(file('signals')), segments: readFloats(file('segments')) };
  }
  const done: CorpusRecord[] = [];
  const refused: Corpus['refused'] = [];
  const signals: Float32Array[] = [];
  const segments: Float32Array[] = [];
  let offset = 0;
  records.forEach((record, i) => {
    onProgress(i, records.length);
    const recording = record.recording();
    const { mv } = selectLead(recording);
    try {
      const segment = prepareSegment(mv, recording.rate, p);
      const signal = Float32Array.from(conditionSignal(mv, recording.rate, p));
      const content = createHash('sha256').update(new Uint8Array(signal.buffer)).digest('hex').slice(0, 16);
      done.push({ name: record.id, label: record.label, offset, length: signal.length, content });
      segments.push(segment.samples);
      signals.push(signal);
      offset += signal.length;
    } catch (error) {
      if (!(error instanceof BlindbeatError) || error.code !== 'ECG') throw error;
      refused.push({ name: record.id, reason: error.message });
    }
  });
  onProgress(records.length, records.length);
  const corpus = { records: done, refused, signals: joined(signals), segments: joined(segments) };
  await makeFolder(cache);
  await using files = new OutputFiles();
  await files.write(file('signals'), bytesOf(corpus.signals));
  await files.write(file('segments'), bytesOf(corpus.segments));
  // Last: it says that the others are there.
  await files.write(file('json'), JSON.stringify({ records: done, refused }));
  await files.commit();
  return corpus;
}

/** Indices of the corpus's records in each part of a split. */
export type Parts = Record<PartName, number[]>;

/** Sorts a corpus into the parts; a record that the split does not name is trained on. */
export function partsOf(records: CorpusRecord[], split: Split): Parts {
  const partOf = partFinder(split);
  const parts: Parts = { train: [], validation: [], test: [] };
  records.forEach((record, i) => {
    parts[partOf(record.name)].push(i);
  });
  return parts;
}

/** Copies rows [indices] of a matrix of rows of `width`. */
export function rowsOf(matrix: Float32Array, indices: ArrayLike<number>, width: number): Float32Array {
  const out = new Float32Array(indices.length * width);
  for (let i = 0; i < indices.length; i++) {
    out.set(matrix.subarray(indices[i] * width, (indices[i] + 1) * width), i * width);
  }
  return out;
}

function joined(parts: Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, p) => sum + p.length, 0));
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function readFloats(path: string): Float32Array {
  const bytes = readFileSync(path);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}
