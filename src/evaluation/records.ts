import type { DatasetRecord } from '../dataset/cinc2017.ts';
import { Random } from '../ecg/random.ts';
import { BlindbeatError } from '../errors.ts';

/** The parts of the CinC 2017 split, and all records. */
export const PARTS = ['test', 'validation', 'train', 'all'] as const;

/** Which records of a data set are evaluated. */
export interface RecordChoice {
  /** Name of the data set, for messages. */
  data: string;
  split: (typeof PARTS)[number];
  /** At most so many, drawn by the seed; default: all of the part. */
  limit?: number;
  seed: number;
}

/**
 * The records of the asked part in the order of their ids, and what is to be said of them: records that a
 * model may have been trained on.
 *
 * @throws BlindbeatError USAGE if the set has none of the part
 */
export async function chooseRecords(
  all: DatasetRecord[],
  { data, split: part, limit, seed }: RecordChoice,
): Promise<{ records: DatasetRecord[]; warnings: string[] }> {
  // Loaded here: a list that other commands need not read.
  const [{ partFinder }, { default: split }] = await Promise.all([
    import('../dataset/split.ts'),
    import('../dataset/splits/cinc2017.json', { with: { type: 'json' } }),
  ]);
  const partOf = partFinder(split);
  // A name that the split does not know is in its train part only if the data set is the split's.
  const isSplit = all.some(({ id }) => partOf(id) !== 'train');
  const found = part === 'all' ? all : all.filter(({ id }) => isSplit && partOf(id) === part);
  if (found.length === 0) {
    throw new BlindbeatError(
      'USAGE',
      `${data} holds none of the records that src/dataset/splits/cinc2017.json counts as its ${part} ` +
        'part: it is no part of the CinC 2017 training set that the split is of. To evaluate all of its ' +
        `${all.length} records: --split all`,
    );
  }
  const records = drawRecords(found, limit ?? found.length, seed);
  const trained = isSplit ? records.filter(({ id }) => partOf(id) === 'train').length : 0;
  const warning =
    `${trained} of the records are in the split's train part: ` +
    'what a model was trained on says little of new records';
  return { records, warnings: trained > 0 ? [warning] : [] };
}

/**
 * `count` of the records, drawn by the seed and in their old order; a smaller draw lies within a larger one.
 */
export function drawRecords<T>(records: T[], count: number, seed: number): T[] {
  const drawn = new Set(new Random(seed).shuffle([...records]).slice(0, count));
  return records.filter((record) => drawn.has(record));
}
