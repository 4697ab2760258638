import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Split } from '../../src/dataset/split.ts';
import split from '../../src/dataset/splits/cinc2017.json' with { type: 'json' };
import { BlindbeatError } from '../../src/errors.ts';
import { loadModel } from '../../src/model/files.ts';
import type { Model } from '../../src/model/model.ts';
import { type Corpus, loadCorpus, type Parts, partsOf } from '../../training/data.ts';
import { type Queries, recordsOf } from './queries.ts';

/** What attacks that are measured on CinC 2017 are told. */
export interface DataOptions {
  /** Path of the data set. */
  data: string;
  model: string;
  seed: number;
  /** Folder of the prepared records. */
  work: string;
}

/**
 * `--data PATH [--model NAME|DIR] [--seed 1] [--work runs]`.
 *
 * @throws BlindbeatError USAGE without a data set
 */
export function dataOptions(): DataOptions {
  const { values } = parseArgs({
    options: {
      data: { type: 'string' },
      model: { type: 'string', default: 'deepcardio-deg2' },
      seed: { type: 'string', default: '1' },
      work: { type: 'string', default: 'runs' },
    },
  });
  const { data, ...others } = values;
  if (data === undefined)
    throw new BlindbeatError(
      'USAGE',
      'expected --data PATH, the CinC 2017 data set (blindbeat data cinc2017)',
    );
  return { ...others, data, seed: Number(values.seed) };
}

/** A model, the data set as it is prepared for it, its parts, and the records of the test part. */
export async function openTestPart(
  { data, work }: DataOptions,
  name: string,
  onRecord?: (done: number, total: number) => void,
): Promise<{ model: Model; corpus: Corpus; parts: Parts; tested: Queries }> {
  const model = await loadModel(name);
  const corpus = await loadCorpus(data, model.preprocessing, join(work, 'cache'), onRecord);
  const parts = partsOf(corpus.records, split as Split);
  return { model, corpus, parts, tested: recordsOf(corpus, parts.test, model) };
}
