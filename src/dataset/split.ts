import { Random } from '../ecg/random.ts';

/** Which records are kept from training: `validation` for choosing, `test` for the report alone. */
export interface Split {
  format: 'blindbeat-split';
  version: 1;
  seed: number;
  /** Record names in ascending order; every record that is in neither list is trained on. */
  validation: string[];
  test: string[];
}

/** What a split needs to know of a record. */
export interface LabelledRecord {
  name: string;
  label: string;
  /** The same for records with the same signal: a checksum. */
  content: string;
}

/** The parts that a split sorts records into. */
export type PartName = 'train' | 'validation' | 'test';

/** Gives a function from a record's name to its part: what the split does not name is trained on. */
export function partFinder(split: Pick<Split, 'validation' | 'test'>): (name: string) => PartName {
  const validation = new Set(split.validation);
  const test = new Set(split.test);
  return (name) => (test.has(name) ? 'test' : validation.has(name) ? 'validation' : 'train');
}

/**
 * Splits records at random, by class: of each label the same share goes to each part. The same records, in
 * any order, and the same seed give the same split. CinC 2017 names no patients, so records of one person may
 * be in several parts; records of equal content are all in `train`.
 */
export function makeSplit(
  records: LabelledRecord[],
  seed: number,
  shares: { validation: number; test: number },
): Split {
  const random = new Random(seed);
  const validation: string[] = [];
  const test: string[] = [];
  const times = new Map<string, number>();
  for (const r of records) times.set(r.content, (times.get(r.content) ?? 0) + 1);
  const labels = [...new Set(records.map((r) => r.label))].sort();
  for (const label of labels) {
    const all = records.filter((r) => r.label === label);
    // Twins stay together in training: a part for judging gains nothing from the same record twice.
    const single = all.filter((r) => times.get(r.content) === 1).map((r) => r.name);
    const shuffled = random.shuffle(single.sort());
    const tests = Math.round(all.length * shares.test);
    test.push(...shuffled.slice(0, tests));
    validation.push(...shuffled.slice(tests, tests + Math.round(all.length * shares.validation)));
  }
  return { format: 'blindbeat-split', version: 1, seed, validation: validation.sort(), test: test.sort() };
}
