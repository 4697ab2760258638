import { Random } from '../../src/ecg/random.ts';
import type { Model } from '../../src/model/model.ts';
import { variedInput, vary } from '../../training/augment.ts';
import type { Augmentation } from '../../training/config.ts';
import { type Corpus, rowsOf } from '../../training/data.ts';

/** Segments that an attacker asks about, or is judged on. */
export interface Queries {
  /** [count * samples], as the client would encrypt them. */
  segments: Float32Array;
  /** [count]: the label of each one's record, as an index into the classes; the attacker may not know it. */
  labels: Uint8Array;
  count: number;
}

/** The queries at these indices of a corpus. */
export function recordsOf(corpus: Corpus, indices: number[], { samples, classes }: Model): Queries {
  return {
    segments: rowsOf(corpus.segments, indices, samples),
    labels: Uint8Array.from(indices, (i) => classes.indexOf(corpus.records[i].label)),
    count: indices.length,
  };
}

/**
 * `count` queries: records in a seeded order, each once, then varied ones of the same records. A smaller
 * count gives the beginning of the same list.
 *
 * @param indices which records of the corpus the attacker has
 */
export function drawQueries(
  corpus: Corpus,
  indices: number[],
  model: Model,
  augmentation: Augmentation,
  count: number,
  seed: number,
): Queries {
  const { samples, classes, preprocessing: p } = model;
  const order = new Random(seed).shuffle(indices.slice());
  const random = new Random(seed + 0.5);
  const segments = new Float32Array(count * samples);
  const labels = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const record = order[i % order.length];
    const { offset, length, label } = corpus.records[record];
    const segment =
      i < order.length
        ? corpus.segments.subarray(record * samples, (record + 1) * samples)
        : variedInput(vary(corpus.signals.subarray(offset, offset + length), p, augmentation, random), p);
    segments.set(segment, i * samples);
    labels[i] = classes.indexOf(label);
  }
  return { segments, labels, count };
}

/** The first `count` of some queries. */
export function firstOf({ segments, labels, ...queries }: Queries, count: number): Queries {
  const samples = segments.length / queries.count;
  return { segments: segments.subarray(0, count * samples), labels: labels.subarray(0, count), count };
}
