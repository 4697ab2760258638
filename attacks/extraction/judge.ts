import { computeMetrics } from '../../src/evaluation/metrics.ts';
import { argmaxRows } from '../../training/metrics.ts';
import type { AnswerKind } from './answers.ts';

/** How well a student copies the network that it asked, on records that it never saw. */
export interface Judgement {
  /** Share of the records that both name alike. */
  agreement: number;
  /** CinC score of the student against the labels. */
  cincScore: number;
  /** Mean |difference| of scores, each less the mean of its record: what class and probabilities depend on. */
  scoreDifference: number;
}

/** One student of the table. */
export interface Result extends Judgement {
  student: 'network' | 'ridge';
  answers: AnswerKind;
  queries: number;
  /** Of training, of the network. */
  steps?: number;
  /** Of training and judging. */
  seconds: number;
}

/** Judges a student's scores [count * classes] by the teacher's and the labels [count]. */
export function judge(
  student: Float32Array,
  teacher: Float32Array,
  labels: Uint8Array,
  classes: string[],
): Judgement {
  const width = classes.length;
  const [ours, theirs] = [argmaxRows(student, width), argmaxRows(teacher, width)];
  const same = ours.reduce((sum, c, i) => sum + (c === theirs[i] ? 1 : 0), 0);
  const [a, b] = [centred(student, width), centred(teacher, width)];
  return {
    agreement: same / labels.length,
    cincScore: computeMetrics(labels, ours, classes).cincScore,
    scoreDifference: a.reduce((sum, s, i) => sum + Math.abs(s - b[i]), 0) / a.length,
  };
}

function centred(scores: Float32Array, width: number): Float32Array {
  const out = scores.slice();
  for (let i = 0; i < out.length; i += width) {
    let mean = 0;
    for (let c = 0; c < width; c++) mean += out[i + c] / width;
    for (let c = 0; c < width; c++) out[i + c] -= mean;
  }
  return out;
}
